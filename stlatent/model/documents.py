"""YAML and JSON from outside as plain values, in bounded time and memory."""

from __future__ import annotations

from typing import Any

import pydantic_core
import yaml

DEEPEST = 64  # groups inside each other
MOST_CHARACTERS = 2**22
MOST_VALUES = 100_000  # counted where an alias repeats them, too
LONGEST_REASON = 300  # characters of a parser's own words


class _Loader(yaml.SafeLoader):
    """YAML's safe types. A key that stands twice in a group is an error, and so is a document that
    is deeper or, with its aliases followed, larger than any config."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # of nodes that are complete, by identity

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        repeats, before = self.check_event(yaml.AliasEvent), self._count
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refused(f"more than {DEEPEST} groups lie inside each other", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if repeats and id(node) not in self._sizes:
            raise _refused("a group holds itself", mark)
        self._count += self._sizes[id(node)] if repeats else 1
        self._sizes.setdefault(id(node), self._count - before)
        if self._count > MOST_VALUES:
            raise _refused(f"there are more than {MOST_VALUES} values", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in seen:
                raise _refused(f"the key '{key.value[:60]}' is given twice", key.start_mark)
            seen.add(name)
        return node


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def from_yaml(text: str, source: str) -> Any:
    """The values of a YAML document.

    Args:
        source: what the text is, for the message of an error.

    Raises:
        ValueError: it is no YAML, gives a key twice, or is deeper or larger than any config.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{source} has {len(text)} characters; at most {MOST_CHARACTERS} are read")
    try:
        return _Loader(text).get_single_data()  # control characters are refused already here
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(f"{source} is not valid YAML: {_reason(error)}") from None


def from_json(text: str | bytes, source: str) -> Any:
    """The values of a JSON document; see `from_yaml`.

    Raises:
        ValueError: it is no JSON, or deeper than any config.
    """
    try:
        return pydantic_core.from_json(text)
    except ValueError as error:
        raise ValueError(f"{source} is not valid JSON: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """One line of bounded length."""
    words = str(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        at = error.problem_mark
        words = f"{error.problem}, line {at.line + 1}, column {at.column + 1}"
    words = " ".join(words.split())
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]} …"
