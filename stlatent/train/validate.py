"""What held-out clips look like from every prefix of levels, during training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data import Source, centre_clip, to_uint8
from ..evaluate.metrics import psnr
from ..gaussian import BITS_PER_NAT
from ..ladder import Ladder
from .config import RunConfig

SHOWN_CLIPS = 4


class Validation:
    """Held-out clips, read once: first frames, centre crop, `[1, C, *axes]` in [-1, 1]."""

    def __init__(self, sources: Sequence[Source], config: RunConfig) -> None:
        self.out = config.out
        still = config.model.axes.causal is None
        wanted = config.data.validation
        size = (1 if still else wanted.frames, wanted.crop, wanted.crop)
        self.clips = [centre_clip(source.path, size)[0] for source in sources]
        if still:
            self.clips = [clip.squeeze(2) for clip in self.clips]

    @torch.no_grad()
    def measure(self, model: Ladder, step: int) -> dict[str, object]:
        """PSNR per prefix and bits per level, means over the clips; writes a picture grid."""
        device = next(model.parameters()).device
        quality, bits, rows = [], [], []
        for number, clip in enumerate(self.clips):
            clip = clip.to(device)
            out = model(clip)
            latents = model.encode(clip)
            decoded = [model.decode(latents, k + 1) for k in range(len(model.levels))]
            quality.append([float(psnr(x, clip)) for x in decoded])
            bits.append([float(kl.sum()) * BITS_PER_NAT / clip.numel() for kl in out.kl])
            if number < SHOWN_CLIPS:
                rows.append(torch.cat([_last_frame(x) for x in (clip, *decoded)], -1))
        self._picture(rows, step)
        return {
            "psnr_db": [round(float(p), 4) for p in np.mean(quality, 0)],
            "bits_per_value": [round(float(b), 5) for b in np.mean(bits, 0)],
        }

    def _picture(self, rows: Sequence[Tensor], step: int) -> None:
        """Rows: clips. Columns: the original, then each prefix, coarse to fine."""
        height = max(row.shape[-2] for row in rows)
        padded = [torch.nn.functional.pad(r, (0, 0, 0, height - r.shape[-2])) for r in rows]
        frame = to_uint8(torch.cat(padded, -2).unsqueeze(1))[0]
        folder = self.out / "reconstructions"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(folder / f"{step:07d}.png")


def _last_frame(x: Tensor) -> Tensor:
    """`[1, C, (T,) H, W] -> [C, H, W]`."""
    return (x[0, :, -1] if x.ndim == 5 else x[0]).float().cpu()
