"""Which part of a frame is encoded, and at which size."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

Size = tuple[int, int]


class Framing(NamedTuple):
    """`[start, stop)` of the rows and columns of a frame that are kept, and what these are resized
    to, height and width."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    size: Size


def framing(source: Size, request: dict[str, Any]) -> Framing:
    """How frames of size `source` (height, width) are framed: whole at `short_side`, or resized to
    cover `size`, or the bucket nearest in aspect of those of at most `buckets` pixels, of which the
    centre is kept. See `options.py`."""
    target = request["size"]
    if request["buckets"]:
        target = bucket(source, request["buckets"], request["step"])
    if target is None:
        size = resized(source, request["short_side"])
        return Framing((0, source[0]), (0, source[1]), size)
    scale = min(source[0] / target[0], source[1] / target[1])
    kept = [max(1, min(n, round(t * scale))) for n, t in zip(source, target, strict=True)]
    rows, columns = (((n - k) // 2, (n - k) // 2 + k) for n, k in zip(source, kept, strict=True))
    return Framing(rows, columns, (target[0], target[1]))


def resized(source: Size, short_side: int | None) -> Size:
    """Height and width when the shorter one is `short_side`."""
    if short_side is None:
        return source[0], source[1]
    scale = short_side / min(source)
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def bucket(source: Size, pixels: int, step: int) -> Size:
    """The height and width, multiples of `step` of at most so many pixels in all, whose aspect is
    nearest to that of `source`; of several, the largest.

    Raises:
        ValueError: so few pixels hold no multiple of the step.
    """
    if pixels < step**2:
        raise ValueError(
            f"--buckets is {pixels} pixels; with this model a bucket has at least {step}x{step}"
        )
    sides = range(step, pixels // step + 1, step)
    wide = [(side, pixels // side // step * step) for side in sides]
    wanted = math.log(source[0] / source[1])
    found = {*wide, *((width, height) for height, width in wide)}

    def far(size: Size) -> tuple[float, int, Size]:
        return abs(math.log(size[0] / size[1]) - wanted), -math.prod(size), size

    return min(found, key=far)
