"""JSON that someone else wrote, into records; whatever is wrong with it is one short line."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from ..model.config import Strict, parse

SAID = 500  # characters about one file; a file that is wrong all over has more to say
Record = TypeVar("Record", bound=Strict)


def parse_json(content: bytes, source: str) -> Any:
    """What a JSON file holds; ValueError if it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source} cannot be read: {error}"[:SAID]) from None


def parse_record(schema: type[Record], values: Any, source: str) -> Record:
    """What a JSON file says, as a record; ValueError if it does not keep to the schema."""
    try:
        return parse(schema, values, source)
    except ValueError as error:
        raise ValueError(str(error)[:SAID]) from None
    except RecursionError:
        raise ValueError(f"{source} cannot be read: it is nested too deeply") from None
