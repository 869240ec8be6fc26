"""One self-describing file per model: safetensors with the config inside. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from . import hub
from .foundation.autoencoder import FoundationAutoencoder
from .foundation.frozen import FrozenAutoencoder
from .foundation.opening import check_named, empty_foundation, open_foundation
from .model.config import DecoderConfig, ModelConfig, Strict, parse
from .model.device import check_device
from .model.documents import from_json
from .model.fingerprint import claimed_weights
from .model.ladder import Ladder
from .model.torch_modules import closed
from .shipped import FILE, check_may_be_model, meant, shipped_models, shipped_pipelines
from .sparse.ladder import SparseLadder
from .triplane.autoencoder import TriplaneAutoencoder
from .triplane.fields import FieldDecoder
from .weights import filled, header_of, read, write

Model = Ladder | TriplaneAutoencoder | FoundationAutoencoder  # a SparseLadder is a Ladder

FORMAT = "stlatent.model.2"  # 1: configs whose settings all stand side by side
DECODER_FORMAT = "stlatent.field.1"
EXPORTED = "diffusion_pytorch_model.safetensors"  # the name that diffusers gives
PLACES = ("best", "last", ".")  # where a run folder keeps its models, first choice first


class ModelHeader(Strict):
    """The metadata of a model's file.

    Attributes:
        format: of the file.
        config: JSON of a `ModelConfig`.
        about: JSON of anything that `save` was given.
    """

    format: Literal["stlatent.model.1", "stlatent.model.2"] = FORMAT
    config: str
    about: str = "{}"


class DecoderHeader(Strict):
    """The metadata of a file of what reads a field from planes.

    Attributes:
        format: of the file.
        config: JSON of a `DecoderConfig`.
        planes: channels of the planes.
    """

    format: Literal["stlatent.field.1"] = DECODER_FORMAT
    config: str
    planes: Annotated[int, Field(ge=1, le=4096)]


def build(config: ModelConfig, frozen: FrozenAutoencoder | None = None) -> Model:
    """A new model, its weights random or those of a linear code: what `config` describes.

    Args:
        frozen: its foundation, where it is open already.
    """
    if config.foundation:
        return FoundationAutoencoder(config, frozen)
    if config.axes.sparse:
        return SparseLadder(config)
    return TriplaneAutoencoder(config) if config.field else Ladder(config)


def save(
    model: Model, path: str | Path, about: Mapping[str, object] | None = None, half: bool = False
) -> None:
    """Write `model` to one safetensors file, atomically.

    Args:
        about: anything JSON-able that goes along, such as the recipe and measured figures.
        half: store weights in float16, half the size, but for those that are to make the latents of
            another model (`ModelConfig.latents_of`); they are computed with in float32.
    """
    kept = claimed_weights(model) if half else ()
    tensors = {k: _stored(v, half, k in kept) for k, v in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "config": model.config.model_dump_json(),
        "about": json.dumps(about or {}),
    }
    write(path, tensors, metadata)


def load(reference: str | Path, device: str | torch.device = "cpu") -> Model:
    """Open a model for use: in evaluation mode, without gradients, in float32.

    Args:
        reference: a shipped model by name (`video`), a run folder, a model file or its folder, a
            folder that `stlatent.export` has written, or a model on the Hugging Face hub
            (`user/model`, `user/model@revision`), which is kept in its cache.

    A model on a foundation names where that lies: a folder of this machine, or a model of the hub
    at a fixed commit, which is then fetched unless it is in the cache. Only safetensors are read.

    Raises:
        ValueError: nothing of the kind is there, the file is no model of this library, its tensors
            are not those that its config asks for, its foundation is elsewhere, or the device
            cannot be used.
    """
    check_device(device)
    path = locate(reference)
    if path.name == EXPORTED:
        config, tensors, frozen = _read_exported(path)
    else:
        (config, tensors), frozen = _read_model(path), None
    if config.foundation and not frozen:  # its weights lie in files of their own
        check_named(config.foundation, str(path))
        frozen = open_foundation(config.foundation)
    return filled(lambda: build(config, frozen), tensors, path).to(device)


def save_decoder(decoder: FieldDecoder, path: str | Path) -> None:
    """Write what reads a field from planes to one safetensors file, atomically."""
    metadata = {
        "format": DECODER_FORMAT,
        "config": decoder.config.model_dump_json(),
        "planes": str(decoder.planes),
    }
    write(path, {k: _stored(v) for k, v in decoder.state_dict().items()}, metadata)


def load_decoder(path: str | Path) -> FieldDecoder:
    """Open what `save_decoder` has written, for use.

    Raises:
        ValueError: the file is anything else.
    """
    path = Path(path)
    tensors, metadata = read(path)
    header = header_of(DecoderHeader, metadata, path, "decoder of planes")
    config = parse(DecoderConfig, from_json(header.config, f"config of {path}"), str(path))
    return filled(lambda: FieldDecoder(header.planes, config), tensors, path)


def _read_model(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    tensors, metadata = read(path)
    header = header_of(ModelHeader, metadata, path, "model")
    return parse(ModelConfig, from_json(header.config, f"config of {path}"), str(path)), tensors


def _read_exported(
    path: Path,
) -> tuple[ModelConfig, dict[str, Tensor], FrozenAutoencoder | None]:
    """The whole ladder of an `AutoencoderLadder`, however many of its levels are packed, and the
    foundation that lies beside it."""
    file = path.with_name("config.json")
    values = from_json(file.read_bytes(), str(file)) if file.is_file() else None
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise ValueError(f"{file} holds no config of a ladder, so {path} is no exported model")
    config = parse(ModelConfig, values["model"], str(file))
    if config.field:
        raise ValueError(
            f"{path.parent} holds the ladder over planes of a model of volumes, without what makes "
            f"planes of a volume; give the model that was exported"
        )
    parts: dict[str, dict[str, Tensor]] = {"ladder": {}, "frozen": {}}
    for name, tensor in read(path)[0].items():
        part, _, inner = name.partition(".")
        if part in parts:
            parts[part][inner] = tensor
    frozen = None
    if isinstance(below := values.get("foundation"), dict) and config.foundation:
        module = filled(lambda: empty_foundation(below), parts["frozen"], path)
        dtype = getattr(torch, config.foundation.dtype)
        frozen = FrozenAutoencoder(module.to(dtype), known=config.foundation)
    axes, start = len(config.axes.axes), "ladder." if config.foundation else ""
    ladder = {k.removeprefix(start): v for k, v in parts["ladder"].items() if k.startswith(start)}
    others = {k: v for k, v in parts["ladder"].items() if not k.startswith(start)}
    return config, others | {start + k: v for k, v in closed(ladder, axes).items()}, frozen


def _stored(tensor: Tensor, half: bool = False, kept: bool = False) -> Tensor:
    small = tensor.half() if half and tensor.is_floating_point() else tensor
    return (tensor if kept and (small != tensor).any() else small).contiguous()


def about(reference: str | Path) -> dict[str, object]:
    """What was written beside the weights by `save`; nothing, where others wrote them.

    Raises:
        ValueError: no model is there.
    """
    path = locate(reference)
    if path.name == EXPORTED:
        return {}
    header = header_of(ModelHeader, read(path, tensors=False)[1], path, "model")
    return from_json(header.about, f"what {path} says about its model")


def locate(reference: str | Path) -> Path:
    """The model file that `reference` means; see `load`."""
    names = shipped_models()
    allowed = (
        f"give a shipped model ({', '.join(names) or 'none'}), a run folder, an exported folder, "
        f"a {FILE} file, or user/model on the Hugging Face hub"
    )
    if not isinstance(reference, str | os.PathLike):
        raise ValueError(f"{type(reference).__name__} names no model; {allowed}")
    path = Path(reference)
    for file in (path, *(path / place / FILE for place in PLACES), path / EXPORTED):
        if file.is_file():
            return file
    if str(reference) in names:  # though a folder of other things is called so
        return names[str(reference)]
    check_may_be_model(str(reference))
    if name := hub.named(reference):
        return hub.fetch(name, ((FILE,), (EXPORTED, "config.json")))
    near = meant(reference, [*names, *shipped_pipelines()])
    raise ValueError(f"no model at '{reference}'; {allowed}{near}")
