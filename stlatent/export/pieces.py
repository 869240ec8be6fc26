"""Samples that go through a ladder piece by piece: one by one, in tiles, some frames at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from diffusers.models.autoencoders.vae import AutoencoderMixin
from torch import Tensor

from ..media.tiles import Tile
from ..model import choose as choosing
from ..model.choose import Choose, Held
from ..model.ladder import Ladder
from ..model.packing import Packing
from ..model.passes import Encoded
from ..model.past import Past
from ..model.stream import decode_chunk, encode_chunk, encode_end
from .noise import WholeNoise
from .posterior import log_vars
from .tiling import Tiles

Choices = Callable[[Tile | None], Choose]  # how a tile, or the whole where there are none, chooses


class Pieces(AutoencoderMixin):
    """What an autoencoder of `diffusers` has to save memory, for packed latents of a ladder.

    Attributes:
        ladder: that encodes and decodes.
        packing: of its first levels as one tensor.
        use_slicing: one sample at a time.
        use_tiling: tiles of pictures, some frames at a time; is not there where a domain has no
            pictures, as in classes of `diffusers` that have no tiles.
        tiles: which.
    """

    ladder: Ladder
    packing: Packing
    tiles: Tiles

    def _start_whole(self) -> None:
        """Switch everything off."""
        self.use_slicing = False
        if self.ladder.domain.pictures:
            self.use_tiling = False
            self.tiles = Tiles.usual(self._unit, self._group)

    def enable_tiling(
        self,
        tile_sample_min_height: int | bool | None = None,
        tile_sample_min_width: int | None = None,
        tile_sample_stride_height: int | None = None,
        tile_sample_stride_width: int | None = None,
        tile_sample_min_num_frames: int | None = None,
        tile_sample_stride_num_frames: int | None = None,
        tile_overlap_factor_height: float | None = None,
        tile_overlap_factor_width: float | None = None,
        use_tiling: bool = True,
    ) -> None:
        """Encode and decode in tiles of so many pixels, and so many frames at a time.

        Time is exact, since the ladder streams; tiles of a picture are not quite, see
        `media/tiles.py`. What is not given stays as it is, but tiles of a new size overlap by
        a quarter unless a stride or a factor says otherwise.

        Args:
            tile_sample_min_height: or whether to tile at all, as older classes take it.
            tile_sample_stride_num_frames: without effect: frames need no overlap.
            tile_overlap_factor_height, tile_overlap_factor_width: in place of a stride, how much of
                a tile lies in the next one.
            use_tiling: whether to tile at all.

        Raises:
            ValueError: tiles that do not begin and end between latents of level 0, or overlap by
                more than half.
            NotImplementedError: the domain has no pictures.
        """
        if not self.ladder.domain.pictures:
            raise NotImplementedError(
                f"tiles are made of pictures, and domain '{self.ladder.domain.name}' has none"
            )
        if isinstance(tile_sample_min_height, bool):
            tile_sample_min_height, use_tiling = None, tile_sample_min_height
        size = tile_sample_min_height, tile_sample_min_width
        stride = tile_sample_stride_height, tile_sample_stride_width
        shares = tile_overlap_factor_height, tile_overlap_factor_width
        tiles = self.tiles.but(size, stride, tile_sample_min_num_frames, self._unit)
        tiles = tiles.overlapping(shares, self._unit)
        tiles.check(self._unit, self._group)
        self.tiles, self.use_tiling = tiles, use_tiling

    # in slices and tiles ------------------------------------------------------------------------

    def _moments(self, x: Tensor, noise: WholeNoise | None) -> Tensor:
        """Packed latents, drawn with `noise` or their means, and their log-variances, side by side
        `[B, 2 C, *grid]`."""
        rows = self._slices(len(x))
        return _joined([self._tiled_moments(x[r], _choices(noise, r)) for r in rows])

    def _pixels(self, z: Tensor, noise: WholeNoise | None) -> Tensor:
        """Decoded; levels that are not packed are drawn with `noise`, or their means."""
        rows = self._slices(len(z))
        return _joined([self._tiled_pixels(z[r], _choices(noise, r)) for r in rows])

    def _slices(self, batch: int) -> list[slice]:
        step = 1 if self.use_slicing else max(batch, 1)
        return [slice(first, first + step) for first in range(0, max(batch, 1), step)]

    def _tiled_moments(self, x: Tensor, choices: Choices) -> Tensor:
        if not self._tiled:
            return self._encode(x, choices(None))
        space = self.ladder.domain.of_space(self.packing.stride)
        tiling = self.tiles.over(x.shape[-2:], self._unit)
        pieces = [self._encode(x[(..., *tile.slices)], choices(tile)) for tile in tiling.tiles]
        levels = self.ladder.levels[: len(self.packing.level_channels)]
        codes = any(level.codebook for level in levels)
        return tiling.gather(pieces, space, codes)

    def _tiled_pixels(self, z: Tensor, choices: Choices) -> Tensor:
        if not self._tiled:
            return self._decode(z, choices(None))
        space = self.ladder.domain.of_space(self.packing.stride)
        size = self.ladder.domain.samples(z.shape[2:], self.packing.stride)
        tiling = self.tiles.over(size[-2:], self._unit)
        cut = zip(tiling.tiles, tiling.split(z, space), strict=True)
        return tiling.join(self._decode(piece, choices(tile)) for tile, piece in cut)

    # some frames at a time ----------------------------------------------------------------------

    def _encode(self, x: Tensor, choose: Choose) -> Tensor:
        if not self._in_chunks:
            return self._packed(self.ladder.encode(x, choose), False)
        domain, state, pieces = self.ladder.domain, None, []
        for frames in domain.chunks(x, self.tiles.frames):
            started = state is not None
            encoded, state = encode_chunk(self.ladder, frames, state, choose)
            pieces.append(self._packed(encoded, started))
        pieces.append(self._packed(encode_end(self.ladder, state, choose)[0], True))
        return domain.joined(pieces)

    def _decode(self, z: Tensor, rest: Choose) -> Tensor:
        domain, stride = self.ladder.domain, self.packing.stride
        if not self._in_chunks:
            return self.decode_step(z, Past(), rest)
        size = domain.of_space(domain.samples(z.shape[2:], stride))
        each, total = self.tiles.frames // domain.of_time(stride), domain.of_time(z.shape[2:])
        first = each - domain.of_time(self.packing.unit) + 1  # the first step is alone
        state, pieces = None, []
        for edges in itertools.pairwise([0, *range(first, total, each), total]):
            part = domain.steps(z, *edges)
            levels = self.packing.unpack(part, state is not None)
            frames, state = decode_chunk(self.ladder, levels, size, state, rest)
            pieces.append(frames)
        return domain.joined(pieces)

    def encode_step(
        self, x: Tensor, past: Past, choose: Choose = choosing.mean
    ) -> tuple[Tensor, Tensor]:
        """Packed latents of `x` as chosen, and their log-variances `[B, C, *grid]`.

        Args:
            past: of a stream, which `past.state` carries on; a new one for a whole input.
        """
        both = self._packed(self.ladder.encode(x, choose, past), past.started)
        return tuple(both.chunk(2, 1))

    def _packed(self, encoded: Encoded, started: bool) -> Tensor:
        """Latents and their log-variances, packed, side by side `[B, 2 C, *grid]`."""
        levels = len(self.packing.level_channels)
        latents = self.packing.pack(encoded.levels[:levels], started)
        return torch.cat(
            [latents, self.packing.pack_log_var(log_vars(encoded, levels), started)], 1
        )

    def decode_step(self, z: Tensor, past: Past, rest: Choose = choosing.mean) -> Tensor:
        """All that packed latents cover `[B, C, *axes]`; the levels they lack chosen by `rest`."""
        held = Held(dict(enumerate(self.packing.unpack(z, past.started))), rest)
        size = self.ladder.domain.samples(z.shape[2:], self.packing.stride, past.started)
        return self.ladder.generate(held, size, z.shape[0], past)

    @property
    def _unit(self) -> int:
        """Pixels of a latent of level 0 along each side."""
        return self.ladder.domain.of_space(self.ladder.levels[0].stride)[0]

    @property
    def _group(self) -> int:
        """Frames of a latent of level 0."""
        return self.ladder.domain.of_time(self.ladder.levels[0].stride)

    @property
    def _tiled(self) -> bool:
        return getattr(self, "use_tiling", False)

    @property
    def _in_chunks(self) -> bool:
        """Whether videos go through some frames at a time."""
        return self._tiled and self.ladder.domain.has_time


def _choices(noise: WholeNoise | None, rows: slice) -> Choices:
    if noise is None:
        return lambda tile: choosing.mean
    return lambda tile: noise.part(rows, tile)


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]
