"""Motion: level 0 says how frames move, and all levels say the frames as they stand still.

    frames     0 | 1 2 ... 8 | 9 10 ... 16 | ...      a unit is one latent of level 0 in time
    velocity   0 |     v     |      v      |          pixels per frame, two latents of level 0

    x ── estimate ─► v      x, v ── still ─► bottom-up      head ── moved by v ─► x̂

Within a unit, frame t shows at p + d what its middle shows at p, with d = (t - middle) v(p) and v
interpolated between positions of level 0. A few cosines over time say frames that stand still far
better than such that move, so they are aligned before they are encoded, and moved back when they
have been decoded. Every unit is aligned by itself: streams and prefixes are as without.

The velocity is not learned. It is where the change over time that is left vanishes (Lucas & Kanade
1981, coarse to fine), and is kept where the linear code that a ladder starts as, see
`transform.py`, loses less with it than without, the way there and back included. Else it is 0, so
what stands still goes through untouched. It is the posterior's mean of its two latents; how exactly
it is told, and what it costs, is learned, and priors that remember know it from the unit before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import transform
from .config import MOTION_LATENTS, Level, ModelConfig
from .gaussian import Gaussian
from .past import Past
from .posteriors import RoundedPosterior

FASTEST = 8.0  # pixels per frame
UNIT = 2.0  # of the latents, in pixels per frame
LOG_NOISE = -5.0  # of a new posterior of them: some hundredths of a pixel per frame
STEEPEST = 0.5  # most that displacements change per pixel towards the border, so that none folds
GRID = 4  # pixels: on this grid displacements are inverted
SCALES = (8, 4, 2)  # pixels at which velocities are looked for, coarse to fine
TIMES = 2  # at each
STILL = 2e-5  # squared steepness, of values in [-1, 1], below which nothing is seen to move
INVERSIONS = 4  # fixed-point steps: the error halves with each, at the least
ROUNDS = 2  # of leaving out velocities that do not pay, as that changes those between
LEAST = 1e-5  # mean squared error that does not count
RESAMPLED = 2.0  # weight of what is lost on the way there and back: it stays, whatever is learned


class Motion(nn.Module):
    """Finds the velocities of units of frames, and moves these by them.

    Everywhere, frames are `[B, C, T, H, W]` of whole groups, velocities are latents
    `[B, 2, t, h, w]`, x and y, in units of `UNIT` pixels per frame, at the stride of level 0.
    `past` says whether a first frame, which does not move, begins a stream.
    """

    def __init__(self, config: ModelConfig, channels: transform.Channels) -> None:
        super().__init__()
        self.domain = config.axes
        self.unit, *cell = config.levels[0].stride
        self.cell = tuple(cell)
        self.strides, told, before = [level.stride for level in config.levels], 0.0, 1
        for k, level in enumerate(config.levels):
            block = math.prod(level.stride)
            told = told * block / before + config.pictures(level) * level.groups
            before = block
            basis = transform.basis(self.domain, channels, level.stride, round(told))
            grey = int((basis.index[:, -1] == 0).sum())  # of the brightness, which is the first
            self.register_buffer(f"cosines_{k}", self._cosines(level, grey), persistent=False)

    def _cosines(self, level: Level, count: int) -> Tensor:
        """By which blocks of grey values make `count` coefficients `[values, count]`."""
        grey = transform.apart(1)
        basis = transform.basis(self.domain, grey, level.stride, count)
        matrix = transform.merge(transform.samples(self.domain, grey), basis)
        return matrix[..., 0].float()

    def extra_repr(self) -> str:
        return f"unit={self.unit}, cell={list(self.cell)}"

    @torch.no_grad()
    def begin(self, posterior: nn.Module) -> None:
        """Let a new posterior of level 0 tell velocities with little noise."""
        rounded = isinstance(posterior, RoundedPosterior)
        log_std = posterior.log_std if rounded else posterior.evidence.out.bias
        log_std[-MOTION_LATENTS:] = LOG_NOISE

    def told(self, posterior: Gaussian, velocity: Tensor) -> Gaussian:
        """The posterior of level 0 with these velocities as its last means."""
        parts = posterior.mean[:, :-MOTION_LATENTS], velocity.float()
        mean = torch.cat([part.movedim(1, -1) for part in parts], -1)  # channels stay last
        return replace(posterior, mean=mean.movedim(-1, 1))

    @torch.no_grad()
    def estimate(self, x: Tensor, past: Past) -> Tensor:
        """The velocities of frames."""
        first, units = self._units(x.float(), past)
        grid = tuple(n // c for n, c in zip(x.shape[3:], self.cell, strict=True))
        found = x.new_zeros(x.shape[0], MOTION_LATENTS, first.shape[2], *grid)
        if len(units):
            with torch.autocast(x.device.type, enabled=False):
                grey = units.mean(1, keepdim=True)
                v, lost = self._seen(grey[:, 0]).clamp(-FASTEST, FASTEST), self._lost(grey)
                for _ in range(ROUNDS):
                    before, v = v, v * self._pays(grey, v, lost)
                    if torch.equal(before, v):
                        break
            later = v.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
            found = torch.cat([found, (later / UNIT).to(x.dtype)], 2)
        return found

    def still(self, x: Tensor, velocity: Tensor, past: Past) -> Tensor:
        """Frames as they would be if what they show stood still."""
        return self._all(x, velocity, past, back=False)

    def moved(self, x: Tensor, latents: Tensor, past: Past) -> Tensor:
        """What `still` has aligned, moved back; by all latents of level 0, the last of which are
        the velocities."""
        return self._all(x, latents[:, -MOTION_LATENTS:], past, back=True)

    def field(self, latents: Tensor, size: Sequence[int]) -> Tensor:
        """By how many pixels per frame things move, to the right and down, `[B, 2, *size]`; all
        latents of level 0, of frames of `size` that begin a stream, say it."""
        v = UNIT * latents[:, -MOTION_LATENTS:].float()
        first, later = v[:, :, :1], v[:, :, 1:].repeat_interleave(self.unit, 2)
        frames = torch.cat([first, later], 2).transpose(1, 2)
        padded = [n * c for n, c in zip(v.shape[3:], self.cell, strict=True)]
        dense = _interpolated(frames.flatten(0, 1), padded).unflatten(0, frames.shape[:2])
        return self.domain.crop(dense.transpose(1, 2), size)

    def resized(self, latents: Tensor, share: float) -> Tensor:
        """All latents of level 0, of frames of `share` of their size: what moves there moves by as
        much less."""
        by = latents.new_ones(latents.shape[1])
        by[-MOTION_LATENTS:] = share
        return latents * by.view(-1, *[1] * (latents.ndim - 2))

    def _all(self, x: Tensor, velocity: Tensor, past: Past, back: bool) -> Tensor:
        first, units = self._units(x.float(), past)
        if not len(units):
            return x
        later = velocity.narrow(2, first.shape[2], velocity.shape[2] - first.shape[2])
        with torch.autocast(x.device.type, enabled=False):
            v = UNIT * later.float().transpose(1, 2).flatten(0, 1)
            units = self._displaced(units, v, back)
        later = units.unflatten(0, (x.shape[0], -1)).transpose(1, 2).flatten(2, 3)
        return torch.cat([first, later], 2).to(x.dtype)

    def _units(self, x: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """The frame that begins a stream, if any, and units `[N, C, unit, H, W]`."""
        start = 0 if past.started else 1
        later = x[:, :, start:].unflatten(2, (-1, self.unit))
        return x[:, :, :start], later.transpose(1, 2).flatten(0, 1)

    # displacements ----------------------------------------------------------------------------

    def _from_middle(self, like: Tensor) -> Tensor:
        """Frames that each frame of a unit is away from its middle `[unit]`."""
        return torch.arange(self.unit, device=like.device) - (self.unit - 1) / 2

    def _displaced(self, units: Tensor, v: Tensor, back: bool) -> Tensor:
        """Units `[N, C, unit, H, W]`, every frame read where v `[N, 2, h, w]` says, or back."""
        d = self._displacements(v, units.shape[3:], back)
        frames = units.transpose(1, 2).flatten(0, 1)
        return _read(frames, d, "bicubic").unflatten(0, (-1, self.unit)).transpose(1, 2)

    def _displacements(self, v: Tensor, size: Sequence[int], back: bool) -> Tensor:
        """In pixels, of every frame of units `[N unit, 2, *size]`."""
        height, width = (n // GRID for n in size)
        dense = _interpolated(v, (height, width))
        d = torch.einsum("t,nchw->ntchw", self._from_middle(v), dense).flatten(0, 1)
        x, y = (GRID * (torch.arange(n, device=v.device) + 0.5) for n in (width, height))
        # nobody looks across the border: what lies there would be lost
        d = torch.stack([_within(d[:, 0], x, size[1]), _within(d[:, 1], y[:, None], size[0])], 1)
        if back:  # the inverse is where q + d = p
            forth, d = d, -d
            for _ in range(INVERSIONS):
                d = -_read(forth, d / GRID, "bilinear")
        return _interpolated(d, size)

    # estimates --------------------------------------------------------------------------------

    def _seen(self, grey: Tensor) -> Tensor:
        """Velocities in pixels per frame `[N, 2, h, w]` by which units `[N, unit, H, W]` change
        least over time."""
        size, middle = grey.shape[2:], self._from_middle(grey)
        v = grey.new_zeros(len(grey), 2, *(n // c for n, c in zip(size, self.cell, strict=True)))
        for scale in SCALES:
            small = F.avg_pool2d(grey, scale)
            cell = [c // scale for c in self.cell]
            for _ in range(TIMES):
                d = torch.einsum("t,nchw->ntchw", middle, _interpolated(v, small.shape[2:]))
                frames = _read(small.flatten(0, 1)[:, None], d.flatten(0, 1) / scale, "bilinear")
                frames = frames.view_as(small)
                slope = torch.einsum("t,nthw->nhw", middle, frames) / middle.square().sum()
                v = (v + scale * _step(frames.mean(1), slope, v / scale, cell)).detach()
        return v

    def _lost(self, units: Tensor) -> Tensor:
        """Mean squared error of the linear code of grey values at each prefix of levels, by
        position of level 0 `[levels, N, 1, h, w]`."""
        errors, going_on = [], Past({})
        for k, stride in enumerate(self.strides):
            blocks = self.domain.fold(units, stride, going_on).movedim(1, -1)
            kept = (blocks @ self.get_buffer(f"cosines_{k}")).square().sum(-1)
            error = (blocks.square().sum(-1) - kept).clamp(min=0) / blocks.shape[-1]
            by = [c // f for c, f in zip(self.cell, stride[1:], strict=True)]
            errors.append(F.avg_pool2d(error.mean(1, keepdim=True), by))
        return torch.stack(errors)

    def _pays(self, units: Tensor, v: Tensor, lost: Tensor) -> Tensor:
        """1 where units lose less with v than `lost`, on average over prefixes and in the last one,
        else 0 `[N, 1, h, w]`."""
        still = self._displaced(units, v, back=False)
        apart = (self._displaced(still, v, back=True) - units).square().mean((1, 2))
        apart = RESAMPLED * F.avg_pool2d(apart[:, None], self.cell)
        ratio = torch.log((self._lost(still) + apart + LEAST) / (lost + LEAST))
        return ((ratio.mean(0) < 0) & (ratio[-1] < 0)).to(v)


def _interpolated(v: Tensor, size: Sequence[int]) -> Tensor:
    # kernels round otherwise where channels are last in memory
    return F.interpolate(v.contiguous(), tuple(size), mode="bilinear", align_corners=False)


def _within(d: Tensor, position: Tensor, size: int) -> Tensor:
    """Displacements along one axis that lead no further than part of the way to its ends."""
    return torch.minimum(torch.maximum(d, -STEEPEST * position), STEEPEST * (size - position))


def _read(frames: Tensor, d: Tensor, how: str) -> Tensor:
    """`[N, C, H, W]` at every position plus d `[N, 2, H, W]`, in samples."""
    height, width = frames.shape[2:]
    x, y = (torch.arange(n, device=d.device) + 0.5 for n in (width, height))
    at = torch.stack([(x + d[:, 0]) * (2 / width), (y[:, None] + d[:, 1]) * (2 / height)], -1) - 1
    return F.grid_sample(frames.contiguous(), at, how, padding_mode="border", align_corners=False)


def _step(picture: Tensor, slope: Tensor, v: Tensor, cell: Sequence[int]) -> Tensor:
    """What to add to v `[N, 2, h, w]`, given pictures and their change per frame `[N, H, W]`: least
    squares over three by three cells, and towards 0 where there is little to see."""
    around = F.pad(picture[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    x = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]) / 2
    y = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]) / 2
    sums = F.avg_pool2d(torch.stack([x * x, x * y, y * y, x * slope, y * slope], 1), cell)
    sums = F.avg_pool2d(F.pad(sums, (1, 1, 1, 1), mode="replicate"), 3, 1)
    xx, xy, yy, xt, yt = sums.unbind(1)
    xx, yy = xx + STILL, yy + STILL
    right, down = (-t - STILL * v[:, i] for i, t in enumerate((xt, yt)))
    across = xx * yy - xy.square()
    step = torch.stack([yy * right - xy * down, xx * down - xy * right], 1) / across[:, None]
    return step.clamp(-1, 1)
