"""Which frequencies a level owns: what changes, band by band, when it alone is drawn anew.

Bands are octaves, named by wavelength: spatial ones by the radius of the frequency of each frame or
volume, temporal ones by frequency along time. A Hann window keeps the borders from leaking into
every band; it still spreads each frequency over its neighbours, so that wavelengths beyond a
quarter of the clip are told apart poorly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..media.base import Medium
from ..media.figures import Bands
from ..media.registry import medium_of
from ..model.ladder import Ladder
from .diagnostics import NO_CLIPS, redraw


@dataclass(frozen=True)
class BandShares:
    """Energy of the change that each level makes in each band.

    Attributes:
        unit: of the wavelengths, such as `px`.
        bands: names of the bands, longest wavelength first.
        energy: `[levels][bands]`, squared change summed over all clips.
    """

    unit: str
    bands: tuple[str, ...]
    energy: tuple[tuple[float, ...], ...]

    @property
    def of_band(self) -> tuple[tuple[float, ...], ...]:
        """Each level's share of the change in a band: columns sum to 1, or 0 without change."""
        totals = [sum(column) or 1.0 for column in zip(*self.energy, strict=True)]
        return tuple(tuple(e / t for e, t in zip(row, totals, strict=True)) for row in self.energy)

    @property
    def of_level(self) -> tuple[tuple[float, ...], ...]:
        """Each band's share of the change by a level: rows sum to 1, or 0 without change."""
        return tuple(tuple(e / (sum(row) or 1.0) for e in row) for row in self.energy)


class BandTally:
    """Collects `BandShares` clip by clip.

    Args:
        bands: along space and, if there is any, along time, by their names; by default those of
            `medium`, `spatial` and `temporal`.
        reach: values beyond it are cut, as they are where they are shown.
    """

    def __init__(
        self, medium: Medium, bands: Mapping[str, Bands] | None = None, reach: float = 1.0
    ) -> None:
        self.domain, self.reach = medium.config.axes, reach
        usual = {"spatial": medium.space_bands, "temporal": medium.time_bands}
        self.bands = dict(bands or usual)
        self.space = sum(axis.kind == "space" for axis in self.domain.axes)
        if medium.config.field:  # what is compared are the volumes that planes stand for
            self.space = 3
        self.energy: dict[str, Tensor] = {}

    def add(self, decoded: Tensor, redrawn: Sequence[Tensor]) -> None:
        """One clip `[1, C, (T,) *space]` as decoded, and with each level redrawn."""
        low, high = -self.reach, self.reach
        changes = [y.clamp(low, high) - decoded.clamp(low, high) for y in redrawn]
        space, time = self.bands
        if self.space:
            edges = self.bands[space].edges
            self._add(space, [spatial_energy(c, self.space, edges) for c in changes])
        if self.domain.of_time(changes[0].shape[2:]) > 1:
            edges, order = self.bands[time].edges, self.domain.time_last
            moving = [change.permute(order) for change in changes]
            self._add(time, [temporal_energy(change, edges, -1) for change in moving])

    def _add(self, name: str, rows: Sequence[Tensor]) -> None:
        self.energy[name] = torch.stack(list(rows)) + self.energy.get(name, 0)

    def result(self) -> dict[str, BandShares]:
        """As `band_shares` returns it; ValueError if there were no clips."""
        if not self.energy:
            raise ValueError(NO_CLIPS)
        return {name: shares(self.bands[name], energy) for name, energy in self.energy.items()}


def shares(bands: Bands, energy: Tensor) -> BandShares:
    """`[levels, bands]` as the energy of named bands."""
    return BandShares(bands.unit, _names(bands.edges), tuple(map(tuple, energy.tolist())))


@torch.no_grad()
def band_shares(
    model: Ladder, clips: Iterable[Tensor], generator: torch.Generator | None = None
) -> dict[str, BandShares]:
    """Redraw each level of each clip from its prior, the others held, and compare by frequency.

    Args:
        clips: `[1, C, *axes]` in [-1, 1], of any sizes.
        generator: source of the draws; None is torch's global one.

    Returns:
        `spatial`, and `temporal` if there was a clip of more than one frame.

    Raises:
        ValueError: no clips.
    """
    tally = BandTally(medium_of(model))
    for x in clips:
        latents = model.encode(x)
        redrawn = [redraw(model, latents, [k], generator) for k in range(len(latents.levels))]
        tally.add(model.decode(latents), redrawn)
    return tally.result()


def spatial_energy(
    change: Tensor, space: int = 2, edges: Sequence[int] = (64, 32, 16, 8, 4)
) -> Tensor:
    """`[..., *space]` -> squared change per octave of radial frequency `[bands]`, float64."""
    axes, window = tuple(range(-space, 0)), change.new_ones(1)
    radius = torch.zeros(1)
    for n in change.shape[-space:]:
        window = window.unsqueeze(-1) * _hann(n, change)
        radius = torch.hypot(radius.unsqueeze(-1), torch.fft.fftfreq(n))
    power = torch.fft.fftn(change.float() * window[0], dim=axes, norm="ortho").abs().square()
    return _binned(power.flatten(0, -space - 1).sum(0), radius[0], edges)


def temporal_energy(change: Tensor, edges: Sequence[int] = (16, 8, 4), dim: int = 2) -> Tensor:
    """Squared change per octave of frequency along `dim`, `[bands]`, float64."""
    frames = change.float().movedim(dim, -1)
    power = torch.fft.fft(frames * _hann(change.shape[dim], change), norm="ortho").abs().square()
    frequency = torch.fft.fftfreq(change.shape[dim]).abs()
    return _binned(power.flatten(0, -2).sum(0), frequency, edges)


def _hann(samples: int, like: Tensor) -> Tensor:
    """Without the zeros at its ends, so that no sample is lost."""
    return torch.hann_window(samples + 2, periodic=False, device=like.device)[1:-1]


def _binned(power: Tensor, frequency: Tensor, wavelengths: Sequence[int]) -> Tensor:
    """Sum `power` over bands of `frequency` (cycles per sample); an edge belongs to the higher."""
    edges = torch.tensor([1 / length for length in wavelengths])
    band = torch.bucketize(frequency, edges, right=True).flatten()
    return torch.bincount(band, power.cpu().double().flatten(), len(edges) + 1)


def _names(wavelengths: Sequence[int]) -> tuple[str, ...]:
    """`over 64`, `64-32`, ..., `under 4`."""
    inner = (f"{a}–{b}" for a, b in pairwise(wavelengths))
    return (f"over {wavelengths[0]}", *inner, f"under {wavelengths[-1]}")
