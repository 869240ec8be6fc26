"""What the axes of a tensor mean. The only file that knows about dimensions.

Tensors are always `[B, C, *axes]`. An axis has a kind, and the kind says how it is treated:

    space    padded on both sides            n  ->  ceil(n / f)            h, w, x, y, z, u, v
    causal   padded on the past side only    1 + k f  ->  1 + k            t
    index    never convolved or resampled    n  ->  n                      the planes of a triplane

A causal axis starts with one step of its own, so that one frame is a valid video:

    frames   0 | 1 2 3 4 | 5 6 7 8 | ...        grouped by f = 4
    latents  0 |    1    |    2    | ...        later groups never change earlier ones

Inside a group everything may look at everything: the group is the unit of streaming anyway.

Tensors are kept with channels last in memory (`[B, *axes, C]` seen as `[B, C, *axes]`), which is
the layout in which convolutions are fastest on CPUs and GPUs alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .past import Past

Kind = Literal["space", "causal", "index"]


@dataclass(frozen=True)
class Axis:
    """One axis of a domain; `size` is fixed for index axes and free (None) for the others."""

    name: str
    kind: Kind
    size: int | None = None


@dataclass(frozen=True)
class Domain:
    """An ordered set of axes and every operation whose meaning depends on them.

    Args:
        name: how configs call it.
        axes: in the order in which they follow the channels.
        square: axes that must be of equal size, since planes exchange along them.
    """

    name: str
    axes: tuple[Axis, ...]
    square: bool = False

    # sizes ------------------------------------------------------------------------------------

    @property
    def causal(self) -> int | None:
        """Position of the causal axis among the axes, or None."""
        return next((i for i, axis in enumerate(self.axes) if axis.kind == "causal"), None)

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
        names = ", ".join(axis.name for axis in self.axes)
        if len(size) != len(self.axes):
            raise ValueError(
                f"a tensor of domain '{self.name}' is [B, C, {names}], but {len(size)} axes after "
                f"B, C were given ({tuple(size)}): reshape it to {len(self.axes)} axes"
            )
        for axis, n in zip(self.axes, size, strict=True):
            legal = axis.size or max(n, 1)
            if n != legal:
                raise ValueError(
                    f"axis '{axis.name}' of domain '{self.name}' has size {n}; "
                    f"the nearest legal size is {legal}"
                )
        sides = [n for axis, n in zip(self.axes, size, strict=True) if axis.kind == "space"]
        if self.square and len(set(sides)) > 1:
            raise ValueError(
                f"the planes of domain '{self.name}' share their axes, so they must be square; "
                f"{tuple(sides)} was given, the nearest legal size is {(max(sides),) * len(sides)}"
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

    def pad(self, x: Tensor, stride: Sequence[int], started: bool = False) -> Tensor:
        """Repeat the last sample along each axis until whole groups of `stride` are full."""
        full = self.samples(self.shape(x.shape[2:], stride, started), stride, started)
        for dim, n in enumerate(full, start=2):
            if missing := n - x.shape[dim]:
                last = x.narrow(dim, x.shape[dim] - 1, 1)
                x = torch.cat([x, last.expand(*x.shape[:dim], missing, *x.shape[dim + 1 :])], dim)
        return x

    def crop(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """The first `size` samples along each axis: undoes `pad`."""
        return x[(..., *(slice(n) for n in size))]

    # resampling -------------------------------------------------------------------------------

    def fold(self, x: Tensor, factors: Sequence[int], past: Past | None = None) -> Tensor:
        """Space to channel, exactly: `[B, C, n f, ...] -> [B, C prod(f), n, ...]`.

        The first step of a causal axis is repeated to fill its group, unless `past` says that the
        stream has started already.
        """
        causal = self.causal
        if causal is not None and factors[causal] > 1 and not (past and past.started):
            first = x.narrow(2 + causal, 0, 1)
            x = torch.cat([first] * (factors[causal] - 1) + [x], 2 + causal)
        names, blocks = self._names()
        factor = dict(zip((f"f{name}" for name in names), factors, strict=True))
        inner = " ".join(factor)
        return rearrange(x, f"b c {blocks} -> b {' '.join(names)} ({inner} c)", **factor).movedim(
            -1, 1
        )

    def unfold(self, x: Tensor, factors: Sequence[int], past: Past | None = None) -> Tensor:
        """Channel to space: the exact inverse of `fold`."""
        names, blocks = self._names()
        factor = dict(zip((f"f{name}" for name in names), factors, strict=True))
        inner = " ".join(factor)
        x = rearrange(
            x.movedim(1, -1), f"b {' '.join(names)} ({inner} c) -> b {blocks} c", **factor
        ).movedim(-1, 1)
        causal = self.causal
        if causal is not None and factors[causal] > 1 and not (past and past.started):
            surplus = factors[causal] - 1
            x = x.narrow(2 + causal, surplus, x.shape[2 + causal] - surplus)
        return x

    def _names(self) -> tuple[list[str], str]:
        """Axes for einops: their names, and each as a grid of blocks, such as `(t ft) (h fh)`."""
        names = [axis.name for axis in self.axes]
        return names, " ".join(f"({name} f{name})" for name in names)

    def pool(self, x: Tensor, factors: Sequence[int]) -> Tensor:
        """Mean over blocks of the space axes; a causal axis is never pooled (it leaks the future).

        `[B, C, *axes] -> [B, C, *axes / factors]`, with the causal and index axes left as they are.
        """
        for dim, (axis, f) in enumerate(zip(self.axes, factors, strict=True), start=2):
            if axis.kind == "space" and f > 1:
                x = x.unflatten(dim, (x.shape[dim] // f, f)).mean(dim + 1)
        return x

    # mixing -----------------------------------------------------------------------------------

    def kernel(self, space: int, causal: int) -> tuple[int, ...]:
        """Kernel size per axis."""
        size = {"space": space, "causal": causal, "index": 1}
        return tuple(size[axis.kind] for axis in self.axes)

    def conv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: int,
        past: Past,
        layer: str = "",
    ) -> Tensor:
        """Convolution with `weight` `[C_out, C_in / groups, *kernel]` that keeps every size.

        layer: under which name `past` keeps what it remembers.

        Axes whose kernel is 1 go into the batch or next to each other, so that most convolutions
        of video and triplanes run as 2-D ones, and pointwise ones as a matrix product.
        """
        kernel = weight.shape[2:]
        if max(kernel) == 1 and groups == 1:
            return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        padding = [k // 2 for k in kernel]
        if (causal := self.causal) is not None and kernel[causal] > 1:
            x = past.extend(layer, x, 2 + causal, kernel[causal] - 1)
            padding[causal] = 0
        if len(kernel) == 2:
            return F.conv2d(x, weight, bias, padding=padding, groups=groups)
        if kernel[0] == 1:  # the first axis joins the batch
            flat = x.transpose(1, 2).flatten(0, 1)
            y = F.conv2d(flat, weight.squeeze(2), bias, padding=padding[1:], groups=groups)
            return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        if kernel[1:] == (1, 1):  # the last two axes become one
            flat = x.movedim(1, -1).flatten(2, 3).movedim(-1, 1)
            y = F.conv2d(flat, weight.flatten(3), bias, padding=(padding[0], 0), groups=groups)
            return y.unflatten(3, x.shape[3:])
        if groups > 1:
            return _in_slices(x, weight, bias, padding, groups)
        return F.conv3d(x, weight, bias, padding=padding, groups=groups)

    def tokens(self, x: Tensor) -> Tensor:
        """`[B, C, *axes] -> [B', N, C]`: the space axes as a sequence, the others in the batch."""
        space = [2 + i for i, axis in enumerate(self.axes) if axis.kind == "space"]
        other = [2 + i for i, axis in enumerate(self.axes) if axis.kind != "space"]
        x = x.permute(0, *other, *space, 1)
        return x.flatten(0, len(other)).flatten(1, -2)

    def untokens(self, y: Tensor, like: Tensor) -> Tensor:
        """The inverse of `tokens` for a tensor with the batch and axes of `like`."""
        space = [i for i, axis in enumerate(self.axes) if axis.kind == "space"]
        other = [i for i, axis in enumerate(self.axes) if axis.kind != "space"]
        size = like.shape[2:]
        y = y.reshape(
            like.shape[0], *(size[i] for i in other), *(size[i] for i in space), y.shape[-1]
        )
        order = [1 + (other + space).index(i) for i in range(len(size))]
        return y.permute(0, y.ndim - 1, *order)

    def mix(self, x: Tensor) -> Tensor | None:
        """What the other planes know about the axes of each plane; None where there are none.

        Planes are xy, xz, yz, each indexed `[first, second]`. A plane sees, along each of its two
        axes, the mean of the plane that shares this axis (Wang et al. 2023, Rodin, 3D-aware
        convolution): `[B, C, 3, n, n] -> [B, 2 C, 3, n, n]`.
        """
        if not self.square:
            return None
        xy, xz, yz = x.unbind(2)

        def along_first(plane: Tensor, keep: int) -> Tensor:
            return plane.mean(5 - keep).unsqueeze(3).expand_as(plane)

        def along_second(plane: Tensor, keep: int) -> Tensor:
            return plane.mean(5 - keep).unsqueeze(2).expand_as(plane)

        first = [along_first(xz, 2), along_first(xy, 2), along_first(xy, 3)]
        second = [along_second(yz, 2), along_second(yz, 3), along_second(xz, 3)]
        return torch.cat([torch.stack(first, 2), torch.stack(second, 2)], 1)


def _in_slices(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], groups: int
) -> Tensor:
    """A 3-D convolution as the sum of 2-D ones, one per step of the kernel along the first axis.

    The gradients of depthwise 3-D convolutions are some 15 times slower than these on CPUs.
    """
    slices = F.pad(x.movedim(1, -1), (0, 0, 0, 0, 0, 0, padding[0], padding[0])).movedim(-1, 2)
    size = slices.shape[1] - weight.shape[2] + 1
    y = 0
    for i, flat in enumerate(weight.unbind(2)):
        shifted = slices[:, i : i + size].flatten(0, 1)
        y = y + F.conv2d(shifted, flat, bias if i == 0 else None, 1, tuple(padding[1:]), 1, groups)
    return y.unflatten(0, (x.shape[0], size)).transpose(1, 2)


def _space(*names: str) -> tuple[Axis, ...]:
    return tuple(Axis(name, "space") for name in names)


IMAGE = Domain("image", _space("h", "w"))
VIDEO = Domain("video", (Axis("t", "causal"), *_space("h", "w")))
VOXEL = Domain("voxel", _space("x", "y", "z"))
TRIPLANE = Domain("triplane", (Axis("plane", "index", 3), *_space("u", "v")), square=True)

DOMAINS = {domain.name: domain for domain in (IMAGE, VIDEO, VOXEL, TRIPLANE)}
