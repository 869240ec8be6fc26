"""Read ahead in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items in the same order, made in a thread, at most `depth` ahead of their use.

    What the thread raises is raised here, in its turn.
    """
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(next, items, _END) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not _END:
                ahead.append(pool.submit(next, items, _END))
                yield item
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
