"""Which class a foundation is of, by the name in its `config.json`."""

from __future__ import annotations

from collections.abc import Callable

OFFERED: dict[str, Callable[[], type]] = {}  # besides those of diffusers


def register(cls: type) -> type:
    """Let foundations be of a class that `diffusers` does not have; usable as a decorator.

    It is built and saved as theirs are (`from_pretrained`, `config.json` with its name in
    `_class_name`), and has `encode` and `decode`.
    """
    offer(cls.__name__, lambda: cls)
    return cls


def offer(name: str, find: Callable[[], type]) -> None:
    """The same for a class that is not to be imported before a foundation is of it."""
    OFFERED[name] = find


def class_of(name: str) -> type | None:
    """An autoencoder's class; None is none that is known."""
    import diffusers

    find = OFFERED.get(name)
    cls = find() if find else getattr(diffusers, name, None)
    return cls if isinstance(cls, type) and hasattr(cls, "encode") else None
