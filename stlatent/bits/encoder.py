"""The encoder's side of `bitstream.py`: a clip that comes in pieces, as bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..media.codes import Code
from ..media.video.coder import ClipEncoder
from ..model.ladder import Ladder
from ..model.past import Past
from .bitstream import check_mode, chunk_frames, exact
from .coding import Coding
from .quantise import Stream, Writing


class StreamEncoder(ClipEncoder):
    """Entropy-codes one clip, in pieces of any length, chunk by chunk. A latent that comes out is
    what is read again.

    Args:
        size, tile: as for `ClipEncoder`.

    Raises:
        ValueError: the model is in training mode; later, latents are too far from their priors.
    """

    def __init__(
        self, model: Ladder, size: Sequence[int], coding: Coding, tile: int | None = None
    ) -> None:
        check_mode(model)
        super().__init__(model, size, tile=tile)
        self._frames = chunk_frames(model, coding, size)
        self._choose = Writing(coding.step)
        self._steps_checked = coding.steps_checked
        self._pasts: list[dict[str, Tensor] | None] = [None] * len(self.tiling.tiles)
        self._waiting: Tensor | None = None  # uint8, until it fills a chunk
        self._begun = False

    def push(self, frames: np.ndarray) -> list[Code]:
        """As `ClipEncoder.push`, but whole chunks at a time."""
        x = self._resized(torch.from_numpy(frames).to(self.device))
        if not self.model.domain.has_time:
            return self._chunk(x)
        if self._waiting is not None:
            x = torch.cat([self._waiting, x], 1)
        chunks = []
        while x.shape[1] >= (count := self._frames + (not self._begun)):
            chunks.append(self._chunk(x[:, :count]))
            x = x[:, count:]
        self._waiting = x.clone() if x.shape[1] else None
        return [_together(parts) for parts in zip(*chunks, strict=True)]

    def end(self) -> list[Code]:
        """The frames that wait to fill a chunk, per level."""
        x, self._waiting = self._waiting, None
        return [] if x is None else self._chunk(x)

    def _chunk(self, x: Tensor) -> list[Code]:
        """uint8 `[B, t, H, W, 3]`, which goes through together; the last one need not be whole."""
        tiles, streams, begun = [], [], self._begun
        with exact(self.device):
            for i, cut in enumerate(self._cut(x)):
                tiles.append(self._chosen(i, cut))
                first = self._steps_checked and not begun and i == 0
                steps = [self._steps(k) for k in range(len(self.model.levels))] if first else None
                streams.append(self._choose.end_chunk(steps))
        self._begun = True
        return [
            self._code(k, latents, parts, begun)
            for k, (latents, parts) in enumerate(
                zip(zip(*tiles, strict=True), zip(*streams, strict=True), strict=True)
            )
        ]

    def _chosen(self, tile: int, x: Tensor) -> tuple[Tensor, ...]:
        """Latents of the next frames of a tile."""
        if not self.model.domain.has_time:
            return self.model.encode(x[:, :, 0], self._choose).levels
        past = Past(self._pasts[tile])
        levels = self.model.encode(x, self._choose, past).levels
        self._pasts[tile] = past.state
        return levels

    def _code(
        self, level: int, latents: Sequence[Tensor], streams: Sequence[Stream], begun: bool
    ) -> Code:
        content, one = b"".join(stream.content for stream in streams), self.model.levels[level]
        stride = self.model.domain.of_space(one.stride)
        return Code(
            self.tiling.gather(latents, stride, bool(one.codebook)).cpu(),
            torch.tensor([sum(stream.bits for stream in streams)], dtype=torch.float64),
            stream=content if begun else self._steps(level) + content,
            tolerance=min(stream.tolerance for stream in streams),
        )

    def _steps(self, level: int) -> bytes:
        """Of its groups side by side; none of codes."""
        groups = [steps for site, steps in self._choose.steps.items() if site.level == level]
        return b"".join(s.view(torch.int16).numpy().astype("<i2").tobytes() for s in groups)


def _together(chunks: Sequence[Code]) -> Code:
    """Chunks that follow each other in time, as one."""
    return Code(
        torch.cat([code.latents for code in chunks], 2),
        torch.stack([code.bits for code in chunks]).sum(0),
        stream=b"".join(code.stream for code in chunks),
        tolerance=min(code.tolerance for code in chunks),
    )
