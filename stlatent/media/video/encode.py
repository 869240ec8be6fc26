"""Videos and pictures through the network, into the items of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...model.device import chunk_pixels
from ...model.ladder import Ladder
from ..coder import CoderFor, TiledEncoder
from ..codes import Code
from ..encoder import About, Named, Sink, SinkItem, SourceEncoder
from ..options import SourceOptions
from .pixels import scaled

GATHERED_BYTES = 256 * 2**20  # of frames that wait for others of their size


@dataclass
class Clip:
    """A clip under way: `encoder` is None for a short one, whose frames are gathered."""

    item: SinkItem
    left: int
    size: tuple[int, int]
    encoder: TiledEncoder | None
    frames: list[np.ndarray] = field(default_factory=list)


class VideoEncoder(SourceEncoder):
    """Encodes videos and pictures.

    Long clips go through piece by piece. Short ones of equal shape wait for each other and go
    through together, at most as many as fill the device; which, depends on the sources alone.

    Args:
        coder: see `Medium.encoder`.
    """

    too_large = "its frames are too large for the memory; give a smaller --tile"

    def __init__(
        self,
        model: Ladder,
        options: SourceOptions,
        sink: Sink,
        std: bool = False,
        coder: CoderFor | None = None,
    ) -> None:
        super().__init__(model, sink, std)
        self.options, self.coder = options, coder
        self.pixels = chunk_pixels(self.device)
        self._clip: Clip | None = None
        self._groups: dict[tuple[int, ...], list[Clip]] = {}

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        clip = self._clip = self._clip or self._begin(source, about, values)
        clip.left -= len(values)
        if clip.encoder is None:
            clip.frames.append(values.copy())
        else:
            _append(clip.item, clip.encoder.push(self._entered(values[None], clip.size)))
        if not clip.left:
            self._clip = None
            if clip.encoder is None:
                self._gather(clip)
            else:
                _append(clip.item, clip.encoder.end())
                self._end(clip, about["count"])
        return len(values)

    def finish(self) -> None:
        while self._groups:
            self._flush(next(iter(self._groups)))

    def _begin(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> Clip:
        size = tuple(about["size"])
        cuts = self.options.clip_frames is not None or self.options.scenes
        cut = cuts and about["moves"]
        item = self.sink.item(
            About(
                name=f"{source.name}/{about['start']:07d}" if cut else source.name,
                source=source.name,
                start=about["start"],
                kind="video" if source.kind == "image" and about["moves"] else source.kind,
                fps=about["fps"],
            )
        )
        count = about["count"]
        # who reads bits computes what the writer did, clip by clip
        short = not self.coder and 2 * count * size[0] * size[1] <= self.pixels
        return Clip(item, count, size, None if short else self._encoder(size))

    def _entered(self, frames: np.ndarray, size: tuple[int, int]) -> Tensor:
        """uint8 frames `[B, t, H, W, 3]` as the model reads them, resized as training does it."""
        x = scaled(torch.from_numpy(frames).to(self.device), size).movedim(-1, 1)
        return x if self.model.domain.has_time else x.squeeze(2)

    def _encoder(self, size: tuple[int, int]) -> TiledEncoder:
        if self.coder:
            return self.coder(size)
        return TiledEncoder(self.model, size, self.std, self.options.tile)

    def _gather(self, clip: Clip) -> None:
        clip.frames = [np.concatenate(clip.frames)]
        key = clip.frames[0].shape
        group = self._groups.setdefault(key, [])
        group.append(clip)
        if (len(group) + 1) * key[0] * clip.size[0] * clip.size[1] > self.pixels:
            self._flush(key)
        while sum(len(g) * int(np.prod(k)) for k, g in self._groups.items()) > GATHERED_BYTES:
            self._flush(next(iter(self._groups)))

    def _flush(self, key: tuple[int, ...]) -> None:
        group = self._groups.pop(key)
        codes = []
        with self.failing(*(clip.item.about.source for clip in group)):
            encoder, size = self._encoder(group[0].size), group[0].size
            frames = np.stack([clip.frames[0] for clip in group])
            codes = [encoder.push(self._entered(frames, size)), encoder.end()]
        for i, clip in enumerate(group if codes else ()):
            with self.failing(clip.item.about.source):
                for part in codes:
                    _append(clip.item, part, i)
                self._end(clip, key[0])

    def _end(self, clip: Clip, count: int) -> None:
        still = not self.model.domain.has_time
        clip.item.end(clip.size if still else (count, *clip.size))

    def fail(self, source: str, stage: str, reason: str) -> None:
        super().fail(source, stage, reason)
        if self._clip and self._clip.item.about.source == source:
            self._clip = None
        groups = {
            key: [clip for clip in group if clip.item.about.source != source]
            for key, group in self._groups.items()
        }
        self._groups = {key: group for key, group in groups.items() if group}


def _append(item: SinkItem, codes: Sequence[Code], index: int = 0) -> None:
    """Add sample `index` of a batch of codes; none have come yet where nothing is complete."""
    if codes:
        item.append([code.sample(index) for code in codes])
