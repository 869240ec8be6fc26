"""What every setting of a config is, as rows of a table, from the classes themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*)$")
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}
HIGHEST = 2**31  # above all whole numbers, and so not worth a word
NAMES = {"integer": "whole number", "boolean": "true or false", "string": "text", "null": "none"}


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        name: the key.
        kind: what may be given, in words; groups by the names of their classes.
        default: as YAML has it; None where it must be given.
        meaning: from the docstring of the class.
    """

    name: str
    kind: str
    default: str | None
    meaning: str


def reference(config: type[BaseModel]) -> list[Setting]:
    """The settings of a class of configs, in their order.

    Raises:
        ValueError: one has no meaning in the docstring of the class.
    """
    meanings: dict[str, str] = {}
    for base in reversed(config.__mro__):
        meanings |= described(base) if issubclass(base, BaseModel) else {}
    schema = config.model_json_schema()["properties"]
    rows = []
    for name, field in config.model_fields.items():
        if name not in meanings:
            raise ValueError(f"{config.__name__}.{name} is not among the Attributes of its class")
        default = None if field.is_required() else _written(field.get_default())
        rows.append(Setting(name, in_words(schema[name]), default, meanings[name]))
    return rows


def described(config: type) -> dict[str, str]:
    """What the section `Attributes` of a docstring says, by name."""
    found: dict[str, str] = {}
    names: list[str] = []
    text = inspect.cleandoc(config.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
    for line in text.splitlines():
        if entry := ENTRY.match(line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith(" " * 8):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return found


def in_words(schema: dict[str, Any]) -> str:
    """A JSON schema, such as `whole number, at least 1`."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(in_words(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return (
            "[" + ", ".join(in_words(item) for item in items) + ("]" if len(items) > 1 else " …]")
        )
    kind = schema.get("format") or schema.get("type", "anything")
    name = NAMES.get(kind, kind)
    shown = {key: value for key, value in schema.items() if value != HIGHEST}
    bounds = [f"{words} {shown[key]}" for key, words in BOUNDS.items() if key in shown]
    return ", ".join([name, *bounds])


def _written(value: Any) -> str:
    """A default as one would write it; a group by what differs from its own defaults."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        given = {k: v for k, v in value if k == "kind" or v != fields[k].default}
        if set(given) == {"kind"} and given["kind"] is not None:
            return str(given["kind"])
        return "{" + ", ".join(f"{k}: {_written(v)}" for k, v in given.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_written(v) for v in value) + "]"
    if value is None or isinstance(value, bool) or value is PydanticUndefined:
        return {None: "null", True: "true", False: "false"}.get(value, "")
    return str(value)
