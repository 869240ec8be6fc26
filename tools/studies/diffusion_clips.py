"""The clips of `study_diffusion.py`: moving shapes, and a classifier that names what they do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from synthetic import moving_shapes
from torch import Tensor, nn

from stlatent import Ladder, Latents
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.weights import read, write

FRAMES, SIDE = 17, 32
SIZE = (FRAMES, SIDE, SIDE)
HELD_OUT = 10_000_000  # seeds from here on are never trained on
LADDER = {
    "domain": "video",
    "stem": {"stride": [2, 2, 2], "width": 32, "blocks": 1},
    "levels": [
        {"stride": [8, 16, 16], "width": 128, "latent": 4, "blocks": 1, "attention": True},
        {"stride": [4, 8, 8], "width": 96, "latent": 4, "blocks": 1},
        {"stride": [4, 4, 4], "width": 64, "latent": 4, "blocks": 1},
    ],
    "likelihood": "fitted",
}
LOSS = {
    "rate": {"weight": 1.0, "warmup_steps": 1000},
    "prefix": {"share": 0.3, "preview": 0.3},
}


@dataclass(frozen=True)
class Clips:
    """Clips `[N, 17, 32, 32, 3]` uint8, and what they show `[N]`."""

    frames: Tensor
    motion: Tensor
    texture: Tensor

    @property
    def classes(self) -> Tensor:
        """0 to 3: motion and texture at once."""
        return 2 * self.motion + self.texture

    def __getitem__(self, which: slice) -> Clips:
        return Clips(self.frames[which], self.motion[which], self.texture[which])

    def floats(self) -> Tensor:
        """`[N, 3, 17, 32, 32]` in [-1, 1]."""
        return to_float(self.frames)


def clips(first_seed: int, count: int, file: Path) -> Clips:
    """Draw clips by seed, or read them from `file`."""
    if not file.exists():
        drawn = [moving_shapes(first_seed + i, FRAMES, SIDE) for i in range(count)]
        tensors = {
            "frames": torch.stack([torch.from_numpy(to_uint8(clip.video)) for clip in drawn]),
            "motion": torch.tensor([clip.motion for clip in drawn]),
            "texture": torch.tensor([clip.texture for clip in drawn]),
        }
        write(file, tensors, {})
    return Clips(**read(file)[0])


class Classifier(nn.Module):
    """Names motion and texture; its features are what Fréchet distances are measured in.

    Motion is seen at half the size in every other frame, texture at the full size in a few single
    frames: one network for both never learned the texture.

    Args:
        motions, textures: how many there are of each.
    """

    WIDTH = 32  # features of each

    def __init__(self, motions: int = 2, textures: int = 2) -> None:
        super().__init__()
        width = self.WIDTH
        self.clip = nn.Sequential(
            *_stage(nn.Conv3d(6, 24, 3, (1, 2, 2), 1)),
            *_stage(nn.Conv3d(24, width, 3, 2, 1)),
        )
        self.frame = nn.Sequential(
            *_stage(nn.Conv2d(3, 16, 5, 1, 2)),
            *_stage(nn.Conv2d(16, 32, 3, 2, 1)),
            *_stage(nn.Conv2d(32, width, 3, 2, 1)),
        )
        self.moves = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())
        self.looks = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())
        self.motion, self.texture = nn.Linear(width, motions), nn.Linear(width, textures)

    def features(self, x: Tensor) -> Tensor:
        """`[B, 3, 17, 32, 32]` -> `[B, 64]`: of motion, for which where and when is told as further
        channels, and of texture."""
        small = F.avg_pool3d(x[:, :, ::2], (1, 2, 2))
        ranges = [torch.linspace(-1, 1, n, device=x.device) for n in small.shape[2:]]
        where = torch.stack(torch.meshgrid(*ranges, indexing="ij")).expand(len(x), -1, -1, -1, -1)
        moves = self.moves(_pooled(self.clip(torch.cat([small, where], 1))))
        frames = x[:, :, ::8].transpose(1, 2).flatten(0, 1)
        looks = _pooled(self.frame(frames)).unflatten(0, (len(x), -1)).mean(1)
        return torch.cat([moves, self.looks(looks)], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        moves, looks = self.features(x).chunk(2, 1)
        return self.motion(moves), self.texture(looks)


def _stage(conv: nn.Module) -> tuple[nn.Module, ...]:
    return conv, nn.GroupNorm(8, conv.out_channels), nn.GELU()


def _pooled(maps: Tensor) -> Tensor:
    """Mean and maximum of every channel `[B, 2 C]`."""
    maps = maps.flatten(2)
    return torch.cat([maps.mean(2), maps.amax(2)], 1)


def classifier(data: Clips, minutes: float, file: Path) -> Classifier:
    """Train on real clips with noise of any size up to 0.2, or read from `file`."""
    torch.manual_seed(0)
    model = Classifier()
    if file.exists():
        model.load_state_dict(read(file)[0])
        return model.eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    began, rate = time.monotonic(), optimiser.param_groups[0]["lr"]
    while (spent := (time.monotonic() - began) / 60) < minutes:
        rows = torch.randint(len(data.frames), (64,))
        x = to_float(data.frames[rows])
        x = x + 0.2 * torch.rand(len(x), 1, 1, 1, 1) * torch.randn_like(x)
        motion, texture = model(x)
        loss = F.cross_entropy(motion, data.motion[rows])
        loss = loss + F.cross_entropy(texture, data.texture[rows])
        optimiser.param_groups[0]["lr"] = rate * (1 - spent / minutes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    write(file, model.state_dict(), {})
    return model.eval()


class Judge:
    """Compares clips with real ones, and names what they show.

    Args:
        reference: real clips, which the classifier never saw.
    """

    def __init__(self, network: Classifier, reference: Clips) -> None:
        self.network = network
        self.reference = self._seen(reference.floats())[0]

    def __call__(self, x: Tensor, classes: Tensor | None) -> dict[str, float]:
        """Fréchet distance; and the share of clips `[N, 3, T, H, W]` that show the motion and the
        texture of their class `[N]`, see `Clips.classes`."""
        features, motion, texture = self._seen(x)
        row = {"frechet": frechet_distance(features, self.reference)}
        if classes is not None:
            row["motion_accuracy"] = float((motion == classes // 2).float().mean())
            row["texture_accuracy"] = float((texture == classes % 2).float().mean())
        return row

    @torch.no_grad()
    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features `[N, 64]`, motions and textures `[N]`."""
        network = self.network
        rows = [(network.features(part), *network(part)) for part in x.clamp(-1, 1).split(100)]
        features, motion, texture = (torch.cat(column) for column in zip(*rows, strict=True))
        return features, motion.argmax(1), texture.argmax(1)


def decoded(
    ladder: Ladder, levels: Sequence[Tensor], kept: int, size: tuple[int, ...] = SIZE
) -> Tensor:
    """Clips from the first levels of their latents."""
    parts = zip(*(z.split(50) for z in levels), strict=True)
    return torch.cat([ladder.decode(Latents(part, size), kept) for part in parts])


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Between Gaussians fitted to features `[N, D]` (Heusel et al. 2017)."""
    a, b = a.double(), b.double()
    covariances = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    spread = sum(c.trace() for c in covariances) - 2 * cross
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)
