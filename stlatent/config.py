"""Strict configuration: YAML files and `key.sub=value` overrides into frozen pydantic models.

Levels are data: a model is a domain, a list of levels and a likelihood, and the same JSON stands in
the config file, the checkpoint and everything exported from it.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .domain import DOMAINS, Domain

Positive = Annotated[int, Field(ge=1)]
Stride = tuple[Positive, ...]
LikelihoodKind = Literal[
    "mse",
    "l1",
    "charbonnier",
    "gaussian",
    "laplace",
    "fitted",
    "bernoulli",
    "logistic_mixture",
    "sdf",
    "occupancy",
]


class Strict(BaseModel):
    """A frozen model in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Strict):
    """Features at one stride, without latents.

    Attributes:
        stride: input samples per feature and axis, absolute.
        width: channels.
        blocks: residual blocks, on the way up and on the way down each.
    """

    stride: Stride
    width: Positive
    blocks: Annotated[int, Field(ge=0)] = 1


class CodebookConfig(Strict):
    """Makes the latents of a level discrete.

    Attributes:
        kind: `ema`, vectors that follow the data (van den Oord et al. 2017); `fsq`, a grid of
            `steps` (Mentzer et al. 2023); `lfq`, one bit per dimension (Yu et al. 2023).
        size: codes of an `ema` or `lfq` codebook; a power of two for `lfq`.
        steps: values per dimension of `fsq`; the codes are their product.
        depth: codes per position of `ema`, each for what the former left over (Lee et al. 2022).
        decay: of the moving averages of `ema`.
        commitment: weight of the distance between evidence and code, relative to the distortion.
        restart_below: an `ema` code used less often per batch is replaced by a vector of the data.
        entropy: weight of the entropy term of `lfq`.
    """

    kind: Literal["ema", "fsq", "lfq"] = "ema"
    size: Annotated[int, Field(ge=2, le=65536)] = 512
    steps: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (8, 5, 5, 5)
    depth: Positive = 1
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    commitment: Annotated[float, Field(ge=0)] = 0.25
    restart_below: Annotated[float, Field(ge=0)] = 1.0
    entropy: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _kinds_differ(self) -> CodebookConfig:
        if self.kind != "ema" and self.depth > 1:
            raise ValueError(f"a codebook of kind '{self.kind}' has depth 1, not {self.depth}")
        if self.kind == "lfq" and self.size & (self.size - 1):
            nearest = 1 << (self.size.bit_length() - 1)
            raise ValueError(f"the size of an lfq codebook is a power of two, such as {nearest}")
        return self


class Level(Stage):
    """One scale of latents.

    Attributes:
        latent: channels of one group.
        groups: latent variables of this level, made one after the other.
        attention: whether each block stack of this level ends in attention over space.
        codebook: makes the latents codes instead of Gaussian variables.
    """

    latent: Positive
    groups: Positive = 1
    attention: bool = False
    codebook: CodebookConfig | None = None


class ModelConfig(Strict):
    """A ladder: what it reads, its levels from coarse to fine, and how its output is judged.

    Attributes:
        domain: `image`, `video`, `voxel` or `triplane`.
        channels: of the input.
        levels: coarsest first; strides are absolute and divide each other.
        stem: the finest features, where input is folded to channels without loss; its stride
            divides that of the last level, and only decoding runs at it on the way down.
        likelihood: see `likelihoods.py`.
        scale: fixed scale of the likelihoods `gaussian` and `laplace`; None learns it.
        posterior: how q(z | h, x) comes about, see `posteriors.py`.
        log_std_limit: logarithms of deviations stay below it in size, softly (NVAE: 5); None lets
            them go.
        cell: which residual blocks, see `blocks.py`.
        expand: width of the pointwise layers inside a `convnext` block, relative to its own.
        kernel: kernel size of a `convnext` block along space; a causal axis has 3.
        drop_path: share of samples for which a block is left out in training.
        factorised: convolve space and time one after the other, (2+1)D, and not jointly.
        checkpointing: recompute activations in the backward pass, to save memory.
    """

    domain: Literal["image", "video", "voxel", "triplane"]
    channels: Positive = 3
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    stem: Stage
    likelihood: LikelihoodKind = "fitted"
    scale: Annotated[float, Field(gt=0)] | None = None
    posterior: Literal["residual", "precision", "joint", "bottom_up"] = "residual"
    log_std_limit: Annotated[float, Field(gt=0)] | None = 6.0
    cell: Literal["convnext", "nvae", "vdvae"] = "convnext"
    expand: Positive = 2
    kernel: Positive = 3
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    factorised: bool = True
    checkpointing: bool = False

    @property
    def axes(self) -> Domain:
        return DOMAINS[self.domain]

    @model_validator(mode="after")
    def _strides_nest(self) -> ModelConfig:
        stages = [*self.levels, self.stem]
        for stage in stages:
            self.axes.check_stride(stage.stride)
        for level in self.levels:
            if level.attention and level.width % 64 and level.width > 64:
                raise ValueError(
                    f"a level with attention has width {level.width}; above 64 it must be a "
                    f"multiple of 64, such as {level.width // 64 * 64}"
                )
        for coarse, fine in itertools.pairwise(stages):
            if any(c % f for c, f in zip(coarse.stride, fine.stride, strict=True)):
                raise ValueError(
                    f"stride {list(coarse.stride)} is followed by {list(fine.stride)}, which does "
                    f"not divide it: list the levels coarsest first, each stride a multiple of "
                    f"the next one's"
                )
        if self.scale is not None and self.likelihood not in ("gaussian", "laplace"):
            raise ValueError(
                f"scale is {self.scale}, but likelihood '{self.likelihood}' has none to fix; "
                f"it belongs to gaussian and laplace"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; it must be odd, such as {self.kernel + 1}")
        return self


Model = TypeVar("Model", bound=BaseModel)


def parse(schema: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """Validate `values` against `schema`.

    Raises:
        ValueError: one line per wrong entry, with its dotted name and the nearest valid key.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = [_explain(schema, entry) for entry in error.errors()]
        raise ValueError(f"{source}: " + "; ".join(lines)) from None


def load(schema: type[Model], path: str | Path, overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, apply `key.sub=value` overrides and validate the result.

    Raises:
        ValueError: the file is missing or no YAML mapping, an override is malformed, or a key or
            value is not allowed.
    """
    values = read(path)
    for override in overrides:
        _override(values, override)
    return parse(schema, values, str(path))


def read(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, as it stands.

    Raises:
        ValueError: the file is missing or holds no YAML mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"config {path} does not exist; give the path of a YAML file")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(
            f"config {path} is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(values, dict):
        raise ValueError(f"config {path} holds no mapping of keys to values")
    return values


def dump(config: BaseModel) -> str:
    """The YAML text of a config, as `load` reads it."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"override '{override}' is not of the form key=value, such as out=runs/a")
    *parents, last = key.split(".")
    node: Any = values
    for name in parents:
        node = node[_index(node, name, key)] if isinstance(node, list) else _child(node, name, key)
    if isinstance(node, list):
        node[_index(node, last, key)] = yaml.safe_load(text)
    else:
        node[last] = yaml.safe_load(text)


def _child(node: dict[str, Any], name: str, key: str) -> Any:
    child = node.get(name)
    if child is None:
        child = node[name] = {}
    if not isinstance(child, dict | list):
        raise ValueError(f"override '{key}': '{name}' is a value, not a group of keys")
    return child


def _index(node: list[Any], name: str, key: str) -> int:
    if not name.isdigit() or int(name) >= len(node):
        raise ValueError(f"override '{key}': '{name}' is not an index from 0 to {len(node) - 1}")
    return int(name)


def _explain(schema: type[BaseModel], error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys(schema, error["loc"][:-1]), 1, 0.0)
        hint = f", the nearest valid key is '{near[0]}'" if near else ""
        return f"unknown key '{name}'{hint}"
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return message
    given = "" if error["type"] == "missing" else f" (given: {error['input']!r})"
    return f"{name}: {message[0].lower()}{message[1:]}{given}"


def _keys(schema: Any, location: Sequence[str | int]) -> list[str]:
    """Names of the fields at `location` inside `schema`."""
    for part in location:
        if isinstance(part, str):
            schema = schema.model_fields[part].annotation
        schema = _model_in(schema)
    return list(schema.model_fields)


def _model_in(annotation: Any) -> Any:
    """The first pydantic model inside an annotation such as `tuple[Level, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
