"""Training on clips of videos, and on pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..evaluate.metrics import psnr
from ..media.source import Source
from ..media.video.cache import FrameCache
from ..media.video.check import check_sources
from ..media.video.clips import Batch, ClipDataset, centre_clip, collate
from ..media.video.files import find_sources
from ..media.video.pixels import to_float, to_uint8
from ..model.ladder import Ladder
from .config import DataConfig, RunConfig
from .data import Figures, TrainingData
from .measure import measured, write_picture
from .order import Mixture, Order, loader

SHOWN_CLIPS = 4


class Clips(TrainingData):
    """Random clips of the files in a folder; of held-out ones the first frames, centre crop.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """

    quality = "psnr_db"

    def __init__(self, config: RunConfig) -> None:
        self.config, data = config, config.data
        self.still = config.model.axes.causal is None
        # to an image model, a folder of frames is so many pictures
        found = {s.name: s for s in find_sources(data.root, frame_folders=not self.still)}
        names = data.validation.names
        if unknown := [name for name in names if name not in found]:
            raise ValueError(
                f"data.validation.names lists '{unknown[0]}', which is not in {data.root}; "
                f"give names relative to data.root"
            )
        good, bad = check_sources([s for name, s in found.items() if name not in names])
        kinds = {"clips": self._dataset(good, 1 if self.still else data.frames)}
        if data.photos is not None:
            photos, unreadable = check_sources(find_sources(data.photos, frame_folders=False))
            kinds["photos"] = self._dataset(photos, 1)
            bad = bad + unreadable
        self.bad = {str(error.path): error.reason for error in bad}
        self.mixture = Mixture(kinds)
        size = (1 if self.still else data.validation.frames, *[data.validation.crop] * 2)
        held = {name: centre_clip(found[name].path, size)[0] for name in names}
        self.held_out = {n: clip.squeeze(2) if self.still else clip for n, clip in held.items()}

    def _dataset(self, sources: list[Source], frames: int) -> ClipDataset:
        data: DataConfig = self.config.data
        return ClipDataset(
            sources,
            frames,
            data.crop,
            data.frame_step if frames > 1 else (1, 1),
            data.scale,
            seed=self.config.seed,
            cache=FrameCache(data.cache) if data.cache else None,
            crops_per_read=data.crops_per_read,
        )

    def batches(self, step: int, rank: int = 0, processes: int = 1) -> Iterable[Batch]:
        data, config = self.config.data, self.config
        reads = {"clips": data.batch // data.crops_per_read}
        if data.photos is not None:  # they fill a batch with as many latents as clips do
            reads["photos"] = reads["clips"] * self._latents(data.frames) // self._latents(1)
        accumulate, seed = config.optimiser.accumulate, config.seed
        order = Order(reads, data.photo_share, accumulate, seed, rank, processes)
        return loader(self.mixture, order, step, data.workers, collate)

    def _latents(self, frames: int) -> int:
        """Positions of the finest level in a clip."""
        model, crop = self.config.model, self.config.data.crop
        size = (frames, crop, crop)[self.still :]
        coarsest, finest = model.levels[0].stride, model.levels[-1].stride
        padded = model.axes.samples(model.axes.shape(size, coarsest), coarsest)
        return math.prod(model.axes.shape(padded, finest))

    def enter(self, batch: Batch, device: torch.device) -> Tensor:
        """uint8 clips `[B, T, H, W, 3]` -> `[B, C, *axes]` in [-1, 1]."""
        x = to_float(batch.clips.to(device))
        return x.squeeze(2) if self.still else x

    def measure(self, model: Ladder, step: int) -> Figures | None:
        """PSNR per prefix and bits per level, means over the clips."""
        if not self.held_out:
            return None
        quality, bits, rows = [], [], []
        for clip in self.held_out.values():
            decoded, own_bits = measured(model, clip)
            quality.append([float(psnr(x, clip)) for x in decoded])
            bits.append(own_bits)
            if len(rows) < SHOWN_CLIPS:
                rows.append(torch.cat([_last_frame(x) for x in (clip, *decoded)], -1))
        write_picture(self.config.out, step, _stacked(rows))
        return {
            "psnr_db": [round(float(p), 4) for p in np.mean(quality, 0)],
            "bits_per_value": [round(float(b), 5) for b in np.mean(bits, 0)],
        }


def _stacked(rows: Sequence[Tensor]) -> np.ndarray:
    """Rows: clips. Columns: the original, then each prefix, coarse to fine; uint8 `[H, W, 3]`."""
    height = max(row.shape[-2] for row in rows)
    padded = [torch.nn.functional.pad(r, (0, 0, 0, height - r.shape[-2])) for r in rows]
    return to_uint8(torch.cat(padded, -2).unsqueeze(1))[0]


def _last_frame(x: Tensor) -> Tensor:
    """`[1, C, (T,) H, W] -> [C, H, W]`."""
    return (x[0, :, -1] if x.ndim == 5 else x[0]).float().cpu()
