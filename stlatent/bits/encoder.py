"""The encoder's side of `bitstream.py`: a clip that comes in pieces, as bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..media.coder import TiledEncoder
from ..media.codes import Code
from ..model.device import as_written
from ..model.ladder import Ladder
from ..model.past import Past
from .bitstream import check_mode, chunk_frames
from .coding import Coding
from .quantise import Stream, Writing


class StreamEncoder(TiledEncoder):
    """Entropy-codes one clip, in pieces of any length, chunk by chunk. A latent that comes out is
    what is read again.

    Args:
        size, tile: as for `TiledEncoder`.

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
        self._waiting: Tensor | None = None  # until it fills a chunk
        self._begun = False

    def push(self, x: Tensor) -> list[Code]:
        """As `TiledEncoder.push`, but whole chunks at a time."""
        axes = self.model.domain
        if not axes.has_time:
            return self._chunk(x)
        if self._waiting is not None:
            x = axes.joined([self._waiting, x])
        chunks = []
        while axes.of_time(x.shape[2:]) >= (count := self._frames + (not self._begun)):
            chunks.append(self._chunk(axes.steps(x, 0, count)))
            x = axes.steps(x, count, axes.of_time(x.shape[2:]))
        self._waiting = x.clone() if axes.of_time(x.shape[2:]) else None
        return [self._together(parts) for parts in zip(*chunks, strict=True)]

    def end(self) -> list[Code]:
        """The steps that wait to fill a chunk, per level."""
        x, self._waiting = self._waiting, None
        return [] if x is None else self._chunk(x)

    def _chunk(self, x: Tensor) -> list[Code]:
        """What goes through together; the last one need not be whole."""
        tiles, streams, begun = [], [], self._begun
        with torch.no_grad(), as_written(self.device):
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
        """Latents of the next steps of a tile."""
        if not self.model.domain.has_time:
            return self.model.encode(x, self._choose).levels
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

    def _together(self, chunks: Sequence[Code]) -> Code:
        """Chunks that follow each other in time, as one."""
        return Code(
            self.model.domain.joined(code.latents for code in chunks),
            torch.stack([code.bits for code in chunks]).sum(0),
            stream=b"".join(code.stream for code in chunks),
            tolerance=min(code.tolerance for code in chunks),
        )
