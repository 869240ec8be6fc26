"""Model configs as they were written before parts had kinds with settings of their own.

All settings stood side by side then, used or not: `cell: nvae, kernel: 7` was taken, and the kernel
ignored. Fingerprints are still made of that form, so that data sets find the models of that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from .kinds import CellConfig, CodebookConfig, LikelihoodConfig, PosteriorConfig
from .strict import kinds_of

Ignored = dict[tuple[str | int, ...], Any]  # by place, such as ("levels", 0, "codebook", "size")

PARTS = {
    "likelihood": kinds_of(LikelihoodConfig),
    "posterior": kinds_of(PosteriorConfig),
    "cell": kinds_of(CellConfig),
}
BESIDE = {  # what stood beside each part, in this order
    "likelihood": ("scale",),
    "posterior": ("log_noise", "log_std_limit"),
    "cell": ("expand", "kernel"),
}
FORGETFUL = {"recall": 0, "recall_threshold": 0.0}
CODEBOOKS = kinds_of(CodebookConfig)
CODEBOOK = ("size", "steps", "depth", "decay", "commitment", "restart_below", "entropy")


def is_former(values: Mapping[str, Any]) -> bool:
    """Whether a former version wrote this: every setting, read or not."""
    return all(key in values for keys in BESIDE.values() for key in keys if key != "log_noise")


def migrate(values: Mapping[str, Any]) -> tuple[dict[str, Any], Ignored]:
    """A config of that form, or of today's, in today's; and what nothing in the model reads, if it
    is more than a default."""
    values, ignored = dict(values), {}
    for part, keys in BESIDE.items():
        if given := {key: values.pop(key) for key in keys if key in values}:
            chosen = values.get(part, next(iter(PARTS[part])))
            values[part], foreign = _sorted_out(chosen, given, PARTS[part])
            ignored |= {(key,): value for key, value in foreign.items()}
    levels = values.get("levels")
    if isinstance(levels, Sequence) and not isinstance(levels, str):
        values["levels"] = [_level(k, level, ignored) for k, level in enumerate(levels)]
        if levels and all(_codebook_of(level) is not None for level in levels):
            _drop_posterior(values, ignored)
    return values, ignored


def former(config: BaseModel, ignored: Ignored) -> dict[str, Any]:
    """A `ModelConfig` in that form, without defaults, its keys in the order of that time.

    Args:
        ignored: what `migrate` has found besides.
    """
    values = config.model_dump(mode="json", exclude_defaults=True)
    for part, kinds in PARTS.items():
        values.pop(part, None)
        values |= _beside(part, getattr(config, part), next(iter(kinds)))
    for level, dumped in zip(config.levels, values["levels"], strict=True):
        if level.codebook is not None:
            dumped["codebook"] = _beside("kind", level.codebook, "ema")
    for (*path, key), value in ignored.items():
        node = values
        for name in path:
            node = node[name]
        node[key] = value
    for dumped in values["levels"]:
        if "codebook" in dumped:
            dumped["codebook"] = _in_order(dumped["codebook"], ("kind", *CODEBOOK))
    fields = type(config).model_fields
    return _in_order(values, [k for name in fields for k in (name, *BESIDE.get(name, ()))])


def digested(config: BaseModel) -> bytes:
    """What fingerprints are made of: JSON without defaults, so that a new option does not change
    the models that do without it. Where a foundation lies makes no difference, what it is does.
    Nor does it what priors remember: latents mean the same, see `recall.py`."""
    values = former(config.model_copy(update=FORGETFUL), config._ignored)
    if config.foundation:
        what = config.foundation.model_dump(mode="json", include={"stride", "mean", "unit"})
        values = {**values, "foundation": what}
    return to_json(values)


def _sorted_out(
    chosen: Any, given: Mapping[str, Any], kinds: Mapping[str, type[BaseModel]]
) -> tuple[Any, dict[str, Any]]:
    """The part with what its kind has of the settings `given` beside it; and the others, if they
    are more than defaults."""
    chosen = _spelled_out(chosen)
    kind = chosen.get("kind", next(iter(kinds))) if isinstance(chosen, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        return chosen, {}  # wrong already, and said so elsewhere
    own = {key: value for key, value in given.items() if key in kinds[kind].model_fields}
    foreign = {
        key: value
        for key, value in given.items()
        if key not in own and not _usual(key, value, kinds)
    }
    return {**chosen, **own}, foreign


def _level(number: int, level: Any, ignored: Ignored) -> Any:
    """A level, its codebook without what its kind has not."""
    if not isinstance(level, Mapping) or not isinstance(book := level.get("codebook"), Mapping):
        return level
    given = {key: value for key, value in book.items() if key in CODEBOOK}
    rest = {key: value for key, value in book.items() if key not in CODEBOOK}
    book, foreign = _sorted_out(rest, given, CODEBOOKS)
    ignored |= {("levels", number, "codebook", key): value for key, value in foreign.items()}
    return {**level, "codebook": book}


def _drop_posterior(values: dict[str, Any], ignored: Ignored) -> None:
    """A codebook stands in the place of a posterior: where every level has one, none is made."""
    chosen = _spelled_out(values.get("posterior"))
    if not isinstance(chosen, Mapping) or set(chosen) - {"kind", *BESIDE["posterior"]}:
        return
    del values["posterior"]
    for key, value in chosen.items():
        if not _usual(key, value, PARTS["posterior"]):
            ignored["posterior" if key == "kind" else key,] = value


def _beside(name: str, part: BaseModel, usual: str) -> dict[str, Any]:
    kind = {} if part.kind == usual else {name: part.kind}
    return kind | part.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})


def _spelled_out(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump()
    return {"kind": part} if isinstance(part, str) else part


def _codebook_of(level: Any) -> Any:
    return level.get("codebook") if isinstance(level, Mapping) else getattr(level, "codebook", None)


def _usual(key: str, value: Any, kinds: Mapping[str, type[BaseModel]]) -> bool:
    """Whether a setting is at its default."""
    fields = [kind.model_fields for kind in kinds.values()]
    default = next(field[key].default for field in fields if key in field)
    return default == (tuple(value) if isinstance(value, list) else value)


def _in_order(values: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in order if key in values}
