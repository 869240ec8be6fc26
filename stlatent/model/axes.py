"""The axes of a tensor, and sizes along them. With `domain.py`, which says what is done to tensors,
the only file that knows about dimensions.

An axis has a kind, and the kind says how it is treated:

    space    padded on both sides            n  ->  ceil(n / f)            h, w, x, y, z, u, v
    causal   padded on the past side only    1 + k f  ->  1 + k            t
    index    never convolved or resampled    n  ->  n                      the planes of a triplane

A causal axis starts with one step of its own, so that one frame is a valid video:

    frames   0 | 1 2 3 4 | 5 6 7 8 | ...        grouped by f = 4
    latents  0 |    1    |    2    | ...        later groups never change earlier ones
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["space", "causal", "index"]


@dataclass(frozen=True)
class Axis:
    """One axis of a domain; `size` is fixed for index axes and free (None) for the others."""

    name: str
    kind: Kind
    size: int | None = None


@dataclass(frozen=True)
class DomainAxes:
    """An ordered set of axes, and all that can be said of sizes along them.

    Args:
        name: how configs call it.
        axes: in the order in which they follow the channels; at most one of them is causal.
    """

    name: str
    axes: tuple[Axis, ...]

    # axes -------------------------------------------------------------------------------------

    @property
    def causal(self) -> int | None:
        """Position of the causal axis among the axes, or None."""
        return next((i for i, axis in enumerate(self.axes) if axis.kind == "causal"), None)

    @property
    def has_time(self) -> bool:
        """Whether samples go on in time: they can be streamed, and hold one step or many."""
        return self.causal is not None

    @property
    def space(self) -> tuple[int, ...]:
        """Positions of the space axes among the axes."""
        return tuple(i for i, axis in enumerate(self.axes) if axis.kind == "space")

    @property
    def pictures(self) -> bool:
        """Whether samples are pictures, or made of them."""
        return [axis.name for axis in self.axes][-2:] == ["h", "w"]

    def of_space(self, values: Sequence[int]) -> tuple[int, ...]:
        """Of one value per axis, such as a size or a stride, those of the space axes."""
        return tuple(values[i] for i in self.space)

    def of_time(self, values: Sequence[int]) -> int:
        """Of one value per axis, that of the causal axis; 1 where there is none."""
        return 1 if self.causal is None else values[self.causal]

    def size(self, steps: int, space: Sequence[int]) -> tuple[int, ...]:
        """Of a sample of so many steps in time, where there is any, and of size `space`."""
        sides = iter(space)
        return tuple(
            steps if axis.kind == "causal" else axis.size or next(sides) for axis in self.axes
        )

    def with_time(self, values: Sequence[int], steps: int) -> tuple[int, ...]:
        """One value per axis, that of the causal axis replaced by `steps`."""
        return tuple(steps if i == self.causal else n for i, n in enumerate(values))

    @property
    def time_first(self) -> tuple[int, ...]:
        """The dimensions of `[C, *axes]` with time in front of them, where there is time: so they
        lie on disk, where they are read step by step."""
        others = range(1 + len(self.axes))
        if self.causal is None:
            return tuple(others)
        return 1 + self.causal, *(i for i in others if i != 1 + self.causal)

    @property
    def time_last(self) -> tuple[int, ...]:
        """The dimensions of `[B, C, *axes]` with time behind them, where there is time."""
        return (0, 1, *(2 + i for i in range(len(self.axes)) if i != self.causal)) + (
            () if self.causal is None else (2 + self.causal,)
        )

    # sizes ------------------------------------------------------------------------------------

    def shape(
        self, size: Sequence[int], stride: Sequence[int], started: bool = False
    ) -> tuple[int, ...]:
        """Size of the grid that covers `size` samples at `stride`, rounded up.

        With `started`, a causal axis goes on after its first step, so it has whole groups only.
        """
        first = [0 if started or axis.kind != "causal" else 1 for axis in self.axes]
        return tuple(
            a - (a - n) // f
            for a, n, f in zip(first, size, stride, strict=True)  # rounded up
        )

    def samples(
        self, grid: Sequence[int], stride: Sequence[int], started: bool = False
    ) -> tuple[int, ...]:
        """Number of samples that a grid covers: the inverse of `shape` on whole groups."""
        first = [0 if started or axis.kind != "causal" else 1 for axis in self.axes]
        return tuple(a + (n - a) * f for a, n, f in zip(first, grid, stride, strict=True))

    def check(self, size: Sequence[int]) -> None:
        """Raise ValueError unless `size` can be the axes of a tensor of this domain."""
        if not isinstance(size, Sequence) or any(isinstance(n, float) for n in size):
            raise ValueError(f"size is {size!r}; give one integer per axis of domain '{self.name}'")
        if len(size) != len(self.axes):
            names = [axis.name for axis in self.axes]
            still = [name if i != self.causal else "1" for i, name in enumerate(names)]
            of_one = f" (of a single step [B, C, {', '.join(still)}])" if self.has_time else ""
            raise ValueError(
                f"a tensor of domain '{self.name}' is [B, C, {', '.join(names)}]{of_one}, but "
                f"{len(size)} axes after B, C were given ({tuple(size)})"
            )
        for axis, n in zip(self.axes, size, strict=True):
            legal = axis.size or max(n, 1)
            if n != legal:
                raise ValueError(
                    f"axis '{axis.name}' of domain '{self.name}' has size {n}; "
                    f"the nearest legal size is {legal}"
                )

    def check_stride(self, stride: Sequence[int]) -> None:
        """Raise ValueError unless `stride` is a legal stride of this domain."""
        if len(stride) != len(self.axes):
            names = ", ".join(axis.name for axis in self.axes)
            raise ValueError(
                f"stride {list(stride)} has {len(stride)} entries; domain '{self.name}' "
                f"needs one each for {names}"
            )
        for axis, f in zip(self.axes, stride, strict=True):
            if f < 1 or (axis.kind == "index" and f != 1):
                raise ValueError(
                    f"axis '{axis.name}' of domain '{self.name}' cannot have stride {f}; "
                    f"the nearest legal stride is 1"
                )
