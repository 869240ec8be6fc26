"""What a reader gives, put through the network and into the items of a unit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ..bits.bitstream import StreamEncoder
from ..media.video.child import resized
from ..media.video.coder import ClipEncoder, Code
from ..model.ladder import Ladder
from ..store.records import Failure
from .device import chunk_pixels
from .options import EncodeOptions
from .reader import Done, Piece
from .unit import About, LatentItem, UnitWriter

GATHERED_BYTES = 256 * 2**20  # of frames that wait for others of their size

log = logging.getLogger(__name__)


@dataclass
class Clip:
    """A clip under way: `encoder` is None for a short one, whose frames are gathered."""

    item: LatentItem
    left: int
    size: tuple[int, int]
    encoder: ClipEncoder | None
    frames: list[np.ndarray] = field(default_factory=list)


class ClipUnit:
    """Encodes the videos and pictures of one unit.

    Long clips go through piece by piece. Short ones of equal shape wait for each other and go
    through together, at most as many as fill the device; which, depends on the unit alone.
    """

    def __init__(self, model: Ladder, options: EncodeOptions, unit: UnitWriter) -> None:
        self.model, self.options, self.unit = model, options, unit
        self.pixels = chunk_pixels(next(model.parameters()).device)
        self._clip: Clip | None = None
        self._lost: set[str] = set()
        self._groups: dict[tuple[int, ...], list[Clip]] = {}

    def take(self, event: Piece | Done | Failure) -> int:
        """The next thing that the reader says; how many frames it holds."""
        name = event.name if isinstance(event, Failure) else event.source.name
        if name in self._lost:
            return 0
        if isinstance(event, Failure):
            self._fail(event.name, event.stage, event.reason)
        elif isinstance(event, Piece):
            with self._failing(name):
                self._piece(event)
            return len(event.values)
        return 0

    def finish(self) -> None:
        """Encode what still waits."""
        while self._groups:
            self._flush(next(iter(self._groups)))

    def _piece(self, piece: Piece) -> None:
        clip = self._clip = self._clip or self._begin(piece)
        clip.left -= len(piece.values)
        if clip.encoder is None:
            clip.frames.append(piece.values.copy())
        else:
            _append(clip.item, clip.encoder.push(piece.values[None]))
        if clip.left:
            return
        self._clip = None
        if clip.encoder is None:
            self._gather(clip)
        else:
            _append(clip.item, clip.encoder.end())
            self._end(clip, piece.about["count"])

    def _begin(self, piece: Piece) -> Clip:
        source, height_width = piece.source, piece.values.shape[1:3]
        size = resized(height_width, self.options.short_side)
        cuts = self.options.clip_frames is not None or self.options.scenes
        cut = cuts and piece.about["moves"]
        item = self.unit.item(
            About(
                name=f"{source.name}/{piece.about['start']:07d}" if cut else source.name,
                source=source.name,
                start=piece.about["start"],
                kind="video" if source.kind == "image" and piece.about["moves"] else source.kind,
                fps=piece.about["fps"],
            )
        )
        count = piece.about["count"]
        # who reads bits computes what the writer did, clip by clip
        short = not self.options.entropy_code and 2 * count * size[0] * size[1] <= self.pixels
        return Clip(item, count, size, None if short else self._encoder(size))

    def _encoder(self, size: tuple[int, int]) -> ClipEncoder:
        header = self.unit.header
        if header.coding:
            return StreamEncoder(self.model, size, header.coding, self.options.tile)
        return ClipEncoder(self.model, size, header.std, self.options.tile)

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
        with self._failing(*(clip.item.about.source for clip in group)):
            encoder = self._encoder(group[0].size)
            frames = np.stack([clip.frames[0] for clip in group])
            codes = [encoder.push(frames), encoder.end()]
        for i, clip in enumerate(group if codes else ()):
            with self._failing(clip.item.about.source):
                for part in codes:
                    _append(clip.item, part, i)
                self._end(clip, key[0])

    def _end(self, clip: Clip, count: int) -> None:
        still = self.model.domain.causal is None
        clip.item.end(clip.size if still else (count, *clip.size))

    @contextmanager
    def _failing(self, *sources: str) -> Iterator[None]:
        """What goes wrong inside is the matter of these sources alone."""
        try:
            yield
            return
        except ValueError as error:
            reason = str(error)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and "allocate" not in str(error):
                raise
            reason = "its frames are too large for the memory; give a smaller --tile"
        for source in sources:
            if source not in self._lost:
                self._fail(source, "encode", reason)

    def _fail(self, source: str, stage: str, reason: str) -> None:
        log.warning("left out %s: %s", source, reason)
        self._lost.add(source)
        if self._clip and self._clip.item.about.source == source:
            self._clip = None
        groups = {
            key: [clip for clip in group if clip.item.about.source != source]
            for key, group in self._groups.items()
        }
        self._groups = {key: group for key, group in groups.items() if group}
        self.unit.fail(source, stage, reason)


def _append(item: LatentItem, codes: Sequence[Code], index: int = 0) -> None:
    """Add sample `index` of a batch of codes; none have come yet where nothing is complete."""
    if codes:
        item.append([code.sample(index) for code in codes])
