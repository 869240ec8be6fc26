"""One self-describing file per model: safetensors with the config inside. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .model.config import DecoderConfig, ModelConfig, parse
from .model.ladder import Ladder
from .shipped import FILE, shipped_models
from .triplane.autoencoder import TriplaneAutoencoder
from .triplane.fields import FieldDecoder

Model = Ladder | TriplaneAutoencoder
Module = TypeVar("Module", bound=nn.Module)

FORMAT = "stlatent.model.1"
DECODER_FORMAT = "stlatent.field.1"
PLACES = ("best", "last", ".")  # where a run folder keeps its models, first choice first


def build(config: ModelConfig) -> Model:
    """A new model, its weights random or those of a linear code: what `config` describes."""
    return TriplaneAutoencoder(config) if config.field else Ladder(config)


def save(
    model: Model, path: str | Path, about: Mapping[str, object] | None = None, half: bool = False
) -> None:
    """Write `model` to one safetensors file, atomically.

    Args:
        about: anything JSON-able that goes along, such as the recipe and measured figures.
        half: store weights in float16, half the size; they are computed with in float32.
    """
    tensors = {k: _stored(v, half) for k, v in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "config": model.config.model_dump_json(),
        "about": json.dumps(about or {}),
    }
    write(path, tensors, metadata)


def load(reference: str | Path, device: str | torch.device = "cpu") -> Model:
    """Open a model for use: in evaluation mode, without gradients, in float32.

    Args:
        reference: a shipped model by name (`video`), a run folder, or a model file or its folder.

    Raises:
        ValueError: nothing of the kind is there, or the file is no model of this library.
    """
    path = locate(reference)
    tensors, metadata = _read_as(FORMAT, path, "model")
    model = build(parse(ModelConfig, json.loads(metadata["config"]), str(path)))
    return _filled(model, tensors, path).to(device)


def save_decoder(decoder: FieldDecoder, path: str | Path) -> None:
    """Write what reads a field from planes to one safetensors file, atomically."""
    metadata = {
        "format": DECODER_FORMAT,
        "config": decoder.config.model_dump_json(),
        "planes": str(decoder.planes),
    }
    write(path, {k: _stored(v, False) for k, v in decoder.state_dict().items()}, metadata)


def load_decoder(path: str | Path) -> FieldDecoder:
    """Open what `save_decoder` has written, for use.

    Raises:
        ValueError: the file is anything else.
    """
    path = Path(path)
    tensors, metadata = _read_as(DECODER_FORMAT, path, "decoder of planes")
    config = parse(DecoderConfig, json.loads(metadata["config"]), str(path))
    return _filled(FieldDecoder(int(metadata["planes"]), config), tensors, path)


def _read_as(form: str, path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = read(path)
    if metadata.get("format") != form:
        raise ValueError(
            f"{path} is no stlatent {kind} (format {metadata.get('format')!r}, expected {form!r})"
        )
    return tensors, metadata


def _filled(module: Module, tensors: Mapping[str, Tensor], path: Path) -> Module:
    """`module` with stored weights, in evaluation mode and without gradients."""
    try:
        module.load_state_dict({name: _computed(tensor) for name, tensor in tensors.items()})
    except RuntimeError as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(f"{path}: weights and config do not fit: {first_line}") from None
    return module.eval().requires_grad_(False)


def _stored(tensor: Tensor, half: bool) -> Tensor:
    return (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()


def _computed(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def about(reference: str | Path) -> dict[str, object]:
    """What was written beside the weights by `save`."""
    return json.loads(read(locate(reference), tensors=False)[1].get("about", "{}"))


def fingerprint(model: Model) -> str:
    """16 hex digits that change whenever the config or any weight does."""
    # defaults are left out, so that a new option does not change the models that do without it
    digest = hashlib.sha256(model.config.model_dump_json(exclude_defaults=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def locate(reference: str | Path) -> Path:
    """The model file that `reference` means; see `load`."""
    path, names = Path(reference), shipped_models()
    if str(reference) in names and not path.exists():
        return names[str(reference)]
    if path.is_file():
        return path
    for place in PLACES:
        if (path / place / FILE).is_file():
            return path / place / FILE
    raise ValueError(
        f"no model at '{reference}'; give a shipped model ({', '.join(names) or 'none'}), "
        f"a run folder, or a {FILE} file"
    )


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, then move it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(dict(tensors), temporary, dict(metadata))
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (unless not wanted) and metadata of a safetensors file.

    Raises:
        ValueError: the file is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
            return found, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from None


def replace_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then move it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
