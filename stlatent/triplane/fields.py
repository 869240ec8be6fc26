"""Between volumes, planes and fields: what stands before and behind a ladder over planes.

    volume ── lift ──► planes ── ladder ──► planes ── decoder, at any point ──► distance, colour

Both ends start as a cosine transform along the axis that a plane lacks, so that training begins at
a recognisable shape: channel k of a plane holds the k-th cosine of the column behind each sample,
and the decoder adds up what the three planes say. The product of a plane with functions of the
third axis is that of Chen et al. 2022 (TensoRF); the rest is learned.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import transform
from ..model.blocks import blocks
from ..model.config import DecoderConfig, ModelConfig
from ..model.layers import Conv, Down
from ..model.likelihoods import Likelihood
from ..model.past import Past
from ..model.transform import Channels, cosines
from .planes import fold_volume, lacking, sample_planes, sample_volume

POINTS = 65_536  # decoded at a time where no gradient is kept
COLOUR_SHARE = 8  # of the planes' channels, one in so many starts with each colour

COLOUR_VARIANCE = 0.05  # colours are known in so small a part of a volume, relative to distances


def cosine_of(planes: int, channels: int) -> Tensor:
    """What each channel of the planes starts as `[planes, 2]`: of which channel of the field, and
    which cosine."""
    colour = max(planes // COLOUR_SHARE, 1) if channels > 1 else 0
    counts = [planes - (channels - 1) * colour] + [colour] * (channels - 1)
    return torch.tensor([(c, k) for c, count in enumerate(counts) for k in range(count)])


def columns(planes: int, channels: int, voxels: int) -> tuple[Tensor, Tensor]:
    """What takes a column of a field to channels of the planes: orthonormal cosines
    `[planes, channels * voxels]`, and their units `[planes]`, so that a column is the sum of
    cosines of amplitude 1."""
    channel, k = cosine_of(planes, channels).T
    matrix = torch.zeros(planes, channels, voxels)
    matrix[torch.arange(planes), channel] = cosines(voxels)[k % voxels].float()
    return matrix.flatten(1), torch.where(k > 0, 2 / voxels, 1 / voxels).sqrt()


def cosine_planes(volume: Tensor, planes: int, stride: int = 1) -> Tensor:
    """The planes `[B, planes, 3, n / stride, n / stride]` that stand for a volume `[B, C, n, n, n]`
    before anything is learned; 0 is all outside."""
    folded = fold_volume(volume)
    small = F.avg_pool2d(folded.flatten(1, 2), stride).unflatten(1, folded.shape[1:3])
    matrix, unit = (t.to(volume) for t in columns(planes, volume.shape[1], volume.shape[2]))
    found = torch.einsum("pc,bcimn->bpimn", matrix * unit[:, None], small)
    found[:, 0] -= 1
    return found


def expected_channels(config: ModelConfig) -> Channels:
    """What a new ladder expects of the planes that it reads."""
    voxels = config.field.resolution
    channel, k = cosine_of(config.channels, config.field.channels).T
    expected = transform.variances(voxels, transform.RHO["space"])[k % voxels] / voxels
    shown = torch.where(channel > 0, COLOUR_VARIANCE, 1)
    return transform.apart(config.channels, expected * torch.where(k > 0, 2, 1) * shown)


class Lift(nn.Module):
    """Planes from a volume: `[B, C, N, N, N]` in [-1, 1] -> `[B, P, 3, N / stride, N / stride]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        field, stage, axes = config.field, config.field.lift, config.axes
        self.size = (field.channels, *[field.resolution] * 3)
        self.down = Down(axes, field.channels * field.resolution, stage.width, stage.stride)
        self.blocks = blocks(config, stage.width, stage.blocks, rising=True)
        self.out = Conv(axes, stage.width, config.channels)
        initialise_lift(self, config)

    def forward(self, volume: Tensor) -> Tensor:
        if tuple(volume.shape[1:]) != self.size:
            raise ValueError(
                f"volume is {list(volume.shape)}; this model makes planes of "
                f"[B, {', '.join(map(str, self.size))}]: make fields of resolution {self.size[1]}"
            )
        past = Past()
        return self.out(self.blocks(self.down(fold_volume(volume), past), past), past)


@torch.no_grad()
def initialise_lift(lift: Lift, config: ModelConfig) -> None:
    """Begin with the cosines of each column, means over the block of a sample."""
    matrix, unit = columns(config.channels, config.field.channels, config.field.resolution)
    n = min(len(matrix), len(lift.down.conv.weight))
    weight = lift.down.conv.weight.flatten(1).unflatten(1, (-1, matrix.shape[1]))
    weight[:n] = matrix[:n, None] / weight.shape[1]
    lift.down.conv.bias[0] = -1 / unit[0]  # what is far outside becomes 0
    lift.out.weight.zero_()
    lift.out.weight[torch.arange(n), torch.arange(n)] = unit[:n].view(-1, 1, 1, 1)


class FieldDecoder(nn.Module):
    """A field from planes, at any point: `[B, P, 3, n, n]`, `[B, N, 3]` -> `[B, N, C]`, float32.

    Channel 0 is a signed distance, negative inside, in units of its truncation; the others are
    red, green and blue in [-1, 1], up to over- and undershoot.
    """

    def __init__(self, planes: int, config: DecoderConfig) -> None:
        super().__init__()
        self.planes, self.config = planes, config
        cosine = cosine_of(planes, config.channels)
        self.register_buffer("frequency", cosine[:, 1] * (math.pi / 2), persistent=False)
        widths = [6 * planes, *[config.hidden] * config.layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(config.hidden, config.channels)
        self.sum = nn.Linear(3 * planes, config.channels, bias=False)
        with torch.no_grad():
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)[0] = 1  # planes of zeros are all outside
            own = torch.arange(config.channels)[:, None] == cosine[:, 0]
            self.sum.weight.copy_(own.repeat(1, 3) / 3)

    def forward(self, planes: Tensor, points: Tensor) -> Tensor:
        every = torch.is_grad_enabled()
        count = max(1, points.shape[1] if every else POINTS // len(points))
        with torch.autocast(planes.device.type, enabled=False):
            planes = planes.float()
            parts = [self._read(planes, part) for part in points.float().split(count, 1)]
        return torch.cat(parts, 1)

    def _read(self, planes: Tensor, points: Tensor) -> Tensor:
        seen = sample_planes(planes, points)
        waves = torch.cos((lacking(points) + 1)[..., None] * self.frequency)
        behind = (seen * waves).flatten(2)
        h = torch.cat([seen.flatten(2), behind], 2)
        for layer in self.hidden:
            h = F.silu(layer(h))
        return self.sum(behind) + self.out(h)


class Points(Likelihood):
    """Of planes: the field that they stand for is judged, at points drawn anew every time.

    parameters are the planes `[B, P, 3, n, n]`; what they are compared with is a volume.
    """

    def __init__(self, planes: int, config: DecoderConfig, judge: Likelihood) -> None:
        super().__init__(planes)
        self.config, self.judge = config, judge
        self.decoder = FieldDecoder(planes, config)

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        points, values = draw_points(x, self.config.near, self.config.uniform)
        return self.judge.values(self.decoder(parameters, points).transpose(1, 2), values)


@torch.no_grad()
def on_grid(decoder: FieldDecoder, planes: Tensor, resolution: int) -> Tensor:
    """The field of planes as a volume `[B, C, N, N, N]`, a layer at a time."""
    centres = (2 * torch.arange(resolution, device=planes.device) + 1) / resolution - 1
    layers = []
    for x in centres:
        layer = torch.cartesian_prod(x[None], centres, centres).expand(len(planes), -1, -1)
        layers.append(decoder(planes, layer).transpose(1, 2))
    return torch.stack(layers, 2).unflatten(3, (resolution, resolution))


@torch.no_grad()
def draw_points(volume: Tensor, near: int, uniform: int) -> tuple[Tensor, Tensor]:
    """Points of the cube and what a volume `[B, C, n, n, n]` says there.

    Args:
        near: points by the surface, in a voxel that is the likelier the nearer it is to it.
        uniform: points anywhere.

    Returns:
        Points `[B, near + uniform, 3]` and values `[B, C, near + uniform]`: the trilinear distance
        and, mixed of the voxels that know one, the colour; 0 where the nearest do not.
    """
    n = volume.shape[2]
    weight = (1 - volume[:, 0].abs()).clamp_min(1e-6).flatten(1)
    chosen = torch.searchsorted(
        weight.double().cumsum(1),
        torch.rand(len(volume), near, dtype=torch.float64, device=volume.device)
        * weight.double().sum(1, keepdim=True),
    ).clamp_max(n**3 - 1)
    index = torch.stack([chosen // n**2, chosen // n % n, chosen % n], -1)
    by_surface = (2 * (index + torch.rand(index.shape, device=volume.device)) / n) - 1
    anywhere = torch.rand(len(volume), uniform, 3, device=volume.device) * 2 - 1
    points = torch.cat([by_surface, anywhere], 1)
    if volume.shape[1] == 1:
        return points, sample_volume(volume, points)
    known = (volume[:, 1:] != 0).any(1, keepdim=True).to(volume)
    values = sample_volume(torch.cat([volume, known], 1), points)
    share = values[:, -1:]
    colour = values[:, 1:-1] / share.clamp_min(1e-6) * (share > 0.5)
    return points, torch.cat([values[:, :1], colour], 1)
