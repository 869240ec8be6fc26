"""Strict configuration: YAML files and `key.sub=value` overrides into frozen pydantic models."""

from __future__ import annotations

import difflib
import functools
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from .documents import from_yaml

UNKNOWN_KEY = "unknown_key"
MOST_REASONS = 8  # named at a time
LONGEST_NAME = 60  # characters of a key or a value from outside that a message repeats
LONGEST_REASON = 400
_short = reprlib.Repr()
_short.maxstring = _short.maxother = LONGEST_NAME


class Strict(BaseModel):
    """A frozen model in which an unknown key is an error that names the nearest valid one, and
    every number is finite.

    Attributes:
        former: names that fields once had, and those of today, under which such values are read.
    """

    former: ClassVar[Mapping[str, str]] = {}
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        names = {old: new for old, new in cls.former.items() if new not in values}
        values = {names.get(key, key): value for key, value in values.items()}
        if unknown := set(values) - set(cls.model_fields):
            keys = sorted(str(key)[:LONGEST_NAME] for key in unknown)[:MOST_REASONS]
            raise ValidationError.from_exception_data(
                cls.__name__, [cls._unknown(key) for key in keys]
            )
        return values

    @classmethod
    def _unknown(cls, key: str) -> InitErrorDetails:
        near = difflib.get_close_matches(key, cls.model_fields, 1, 0.0)
        hint = f", the nearest valid key is '{near[0]}'" if near else ""
        if key in cls.former:
            hint = f", which is called '{cls.former[key]}' now, and is given as well"
        return {"type": PydanticCustomError(UNKNOWN_KEY, hint), "loc": (key,), "input": None}


Positive = Annotated[int, Field(ge=1, lt=2**31)]
Model = TypeVar("Model", bound=BaseModel)


class OneOf:
    """Marks a union of `Strict` classes that differ in the names that their `kind` may have.

    Such a value is written `{kind: name, ...}`, or `name` alone where all else is at its default;
    without `kind`, it is the first class's default kind.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        kinds = _kinds(source)
        chosen = functools.partial(_chosen, kinds)
        return core_schema.no_info_before_validator_function(chosen, handler(source))


def kinds_of(union: Any) -> dict[str, type[BaseModel]]:
    """The class of every kind of `Annotated[..., OneOf()]`, by name; the default kind first."""
    return _kinds(get_args(union)[0])


def _kinds(union: Any) -> dict[str, type[BaseModel]]:
    members = get_args(union) or (union,)
    fields = [(member, member.model_fields["kind"]) for member in members]
    kinds = {name: member for member, kind in fields for name in get_args(kind.annotation)}
    return {fields[0][1].default: members[0]} | kinds


def _chosen(kinds: Mapping[str, type[BaseModel]], value: Any) -> Any:
    """The member of a union that a value from outside describes."""
    if isinstance(value, tuple(kinds.values())):
        return value
    given = {"kind": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise ValueError(f"give a kind, {', '.join(kinds)}, or a group of its settings")
    kind = given.get("kind", next(iter(kinds)))
    if not isinstance(kind, str) or kind not in kinds:
        near = difflib.get_close_matches(str(kind)[:LONGEST_NAME], kinds, 1, 0.0)
        hint = f", the nearest is '{near[0]}'" if near else ""
        raise ValueError(f"{_short.repr(kind)} is none of {', '.join(kinds)}{hint}")
    return kinds[kind].model_validate({**given, "kind": kind})


def parse(schema: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """Validate `values` against `schema`.

    Raises:
        ValueError: one line per wrong entry, with its dotted name and the nearest valid key.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = [_explain(entry)[:LONGEST_REASON] for entry in error.errors()[:MOST_REASONS]]
        more = error.error_count() - len(lines)
        lines += [f"and {more} more"] if more else []
        raise ValueError(f"{source}: " + "; ".join(lines)) from None


def load(schema: type[Model], path: str | Path, overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, apply `key.sub=value` overrides and validate the result.

    An override's value is YAML, but where a path is asked for it is the text itself, such as
    `out=2026-11-29` or `data.root=007`.

    Raises:
        ValueError: the file is missing or no YAML mapping, an override is malformed, or a key or
            value is not allowed.
    """
    values = read(path)
    texts = {}
    for override in overrides:
        key, text, value = _override(override)
        _put(values, key, value)
        texts[key] = text
    for key in _no_paths(schema, values) & texts.keys():
        _put(values, key, texts[key] or None)
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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"config {path} is no text in UTF-8") from None
    values = from_yaml(text, f"config {path}")
    if not isinstance(values, dict):
        raise ValueError(f"config {path} holds no mapping of keys to values")
    return values


def dump(config: BaseModel) -> str:
    """The YAML text of a config, as `load` reads it."""
    values = config.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None)


def _no_paths(schema: type[BaseModel], values: Mapping[str, Any]) -> set[str]:
    """Names of entries that are to be paths, and are numbers, dates or whatever else."""
    try:
        schema.model_validate(values)
    except ValidationError as error:
        wrong = [entry["loc"] for entry in error.errors() if entry["type"] == "path_type"]
        return {".".join(map(str, where)) for where in wrong}
    return set()


def _override(override: str) -> tuple[str, str, Any]:
    """The key, the text behind it, and what that says as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"override '{override}' is not of the form key=value, such as out=runs/a")
    value = from_yaml(text, f"override '{override[:LONGEST_NAME]}'")
    if isinstance(value, str) and text.rstrip().startswith(f"{value} "):
        value = text.rstrip()  # and no comment: `data.root=my clips #1`
    return key, text, value


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node: Any = values
    for name in parents:
        node = node[_index(node, name, key)] if isinstance(node, list) else _child(node, name, key)
    node[_index(node, last, key) if isinstance(node, list) else last] = value


def _child(node: dict[str, Any], name: str, key: str) -> Any:
    child = node.get(name)
    if child is None or isinstance(child, str):  # the short form of a kind opens to its settings
        child = node[name] = {} if child is None else {"kind": child}
    if not isinstance(child, dict | list):
        raise ValueError(f"override '{key}': '{name}' is a value, not a group of keys")
    return child


def _index(node: list[Any], name: str, key: str) -> int:
    if not name.isdigit() or int(name) >= len(node):
        raise ValueError(f"override '{key}': '{name}' is not an index from 0 to {len(node) - 1}")
    return int(name)


def _explain(error: Any) -> str:
    """One entry of a `ValidationError`, on one line of bounded length."""
    name, message = ".".join(_shown(part) for part in error["loc"]), error["msg"]
    if error["type"] == UNKNOWN_KEY:
        return f"unknown key '{name}'{message}"
    message = message.removeprefix("Value error, ")
    if not name:
        return message
    given = "" if error["type"] == "missing" else f" (given: {_short.repr(error['input'])})"
    return f"{name}: {message[0].lower()}{message[1:]}{given}"


def _shown(part: str | int) -> str:
    """A part of a key as it may be printed."""
    text = str(part)[:LONGEST_NAME]
    return text if text.isprintable() else ascii(text)[1:-1]
