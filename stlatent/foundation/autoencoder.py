"""A ladder on a frozen autoencoder: pixels in, levels of latents of its latents, pixels out.

    pixels ── foundation ──► latents ── ladder ──► latents ── foundation ──► pixels
              (frozen)       [B, C, *grid]         any prefix  (frozen)

Sizes and strides are those of pixels for whoever uses it, and those of the foundation's latents in
the ladder. The foundation's weights are in no checkpoint, but for a decoder that was trained, see
tuned.py: a model knows where they are to be had, and what it was trained on is checked when they
are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..model import choose as choosing
from ..model import transform
from ..model.around import AroundLadder
from ..model.choose import Choose
from ..model.config import ModelConfig, Scaling
from ..model.decodes import Decodes
from ..model.ladder import Ladder
from ..model.passes import Encoded, Pass, Step
from ..model.past import Past
from .blur import blur_pixels, blurred
from .frozen import FrozenAutoencoder
from .opening import open_foundation
from .tuned import TunedAutoencoder


class LatentLadder(Ladder):
    """A ladder over latents, whose channels have nothing to do with each other."""

    def _expected_channels(self) -> transform.Channels:
        return transform.apart(self.config.channels)


class FoundationAutoencoder(AroundLadder, Decodes):
    """`config` is that of a ladder, with `foundation` and strides in pixels.

    Args:
        frozen: the foundation, if it is open already.

    Raises:
        ValueError: the foundation cannot be opened, does not suit the config, or is another one
            than the model was trained on.
    """

    def __init__(self, config: ModelConfig, frozen: FrozenAutoencoder | None = None) -> None:
        super().__init__()
        found = frozen or open_foundation(config.foundation)
        self.frozen = TunedAutoencoder(found) if config.foundation.own_decoder else found
        self.decoder = self.frozen.decoder
        self.config = _resolved(config, self.frozen)
        self.ladder = LatentLadder(_inner(self.config))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FoundationAutoencoder:
        # it goes where the model goes, and computes in the type that the config names
        self.frozen.teacher.module._apply(lambda x: fn(x).to(x.dtype))
        return super()._apply(fn, recurse)

    @property
    def foundation(self) -> nn.Module:
        """The module of `diffusers`, with the decoder of this model."""
        return self.frozen.module

    def forward(
        self,
        x: Tensor | np.ndarray,
        choose: Choose = choosing.mean,
        again: Tensor | None = None,
        rate_weights: Tensor | None = None,
    ) -> Pass:
        """A pass of the ladder over the foundation's latents of pixels `x` `[B, 3, *size]` in
        [-1, 1]: what it reads and what it decodes are latents. See `Ladder.forward`."""
        return self.ladder(self._latents(self.as_input(x)), choose, again, rate_weights)

    def encode(
        self, x: Tensor | np.ndarray, choose: Choose = choosing.mean, past: Past | None = None
    ) -> Encoded:
        """Latents on all levels of pixels `x` `[B, 3, *size]` in [-1, 1], of any size.

        Args:
            past: of a stream, see `model/stream.py`; None for a whole input.

        Raises:
            ValueError: `x` is no pixels, or not of this model's domain.
        """
        x = self.as_input(x)
        found = self.ladder.encode(self._latents(x, past), choose, past)
        return replace(found, size=tuple(x.shape[2:]))

    def rise(self, x: Tensor, past: Past) -> tuple[list[Tensor], tuple[int, ...]]:
        """Bottom-up features of pixels `x` `[B, 3, *size]`, see `Ladder.rise`."""
        return self.ladder.rise(self._latents(x, past), past)

    def generate(
        self, choose: Choose, size: Sequence[int], batch: int = 1, past: Past | None = None
    ) -> Tensor:
        """The top-down pass alone, at `size` pixels, and the foundation's decoder."""
        grid = self._grid(size, _started(past))
        z = self.ladder.generate(choose, grid, batch, past)
        return self.domain.crop(self.frozen.decode(z, past), size)

    def descend(
        self,
        choose: Choose,
        grid: Sequence[int],
        past: Past,
        features: Sequence[Tensor] | None = None,
        batch: int = 1,
        levels: int | None = None,
    ) -> tuple[list[Step], list[Tensor]]:
        """The ladder's top-down pass, see `Ladder.descend`; `grid` is that of the coarsest level,
        which is the same in pixels and in the foundation's latents."""
        return self.ladder.descend(choose, grid, past, features, batch, levels)

    def latent_shape(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Per level, the shape `(channels, *grid)` of the latents of one sample of `size` pixels.

        Raises:
            ValueError: `size` is none of this domain.
        """
        self.domain.check(size)
        return self.ladder.latent_shape(self._grid(size))

    def target(self, out: Pass, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """What a pass over pixels `x` is compared with: the foundation's latents.

        Args:
            keep: levels that each sample keeps `[B]`: where these are few, latents of pixels that
                are blurred as far, see `blur.py`; None compares all with sharp ones.
        """
        wanted = out.inputs
        for levels in range(1, len(self.config.levels)) if keep is not None else ():
            side, rows = blur_pixels(self.config, levels), keep == levels
            if side > max(self.domain.of_space(self.frozen.stride)) and rows.any():
                soft = blurred(x[rows].float(), self.domain, side)
                wanted = wanted.index_put((rows,), self._latents(soft))
        return wanted

    def through_decoder(self, z: Tensor) -> Tensor:
        """Pixels of latents of the foundation, with gradients; see `losses/pixels.py`."""
        return self.frozen.decode(z)

    # the foundation, on whole units -----------------------------------------------------------

    @property
    def _fill_stride(self) -> tuple[int, ...]:
        """Strides to whose multiples pixels are filled up before they are encoded: those of the
        foundation, and in time the unit of streaming, so that a whole input ends as a stream does.
        """
        unit = self.domain.of_time(self.levels[0].stride)
        return self.domain.with_time(self.frozen.stride, unit)

    def _grid(self, size: Sequence[int], started: bool = False) -> tuple[int, ...]:
        """The foundation's latents for `size` pixels."""
        axes, filled = self.domain, self._fill_stride
        full = axes.samples(axes.shape(size, filled, started), filled, started)
        return axes.shape(full, self.frozen.stride, started)

    def _latents(self, x: Tensor, past: Past | None = None) -> Tensor:
        """The foundation's latents of pixels; of a stream, those of the frames that are new."""
        return self.frozen.encode(self.filled(x, _started(past)), past)

    def filled(self, x: Tensor, started: bool = False) -> Tensor:
        """Pixels, filled up to whole strides of the foundation."""
        self.domain.check(x.shape[2:])
        return self.domain.pad(x, self._fill_stride, started)


def _started(past: Past | None) -> bool:
    return past is not None and past.started


def _paced(frozen: FrozenAutoencoder) -> tuple[int, ...]:
    axes = frozen.domain
    return axes.with_time(frozen.stride, axes.of_time(frozen.stride) * frozen.pace)


def _inner(config: ModelConfig) -> ModelConfig:
    """That of the ladder: strides in the foundation's latents."""
    found = config.foundation

    def inside(stage: Any) -> Any:
        stride = tuple(n // f for n, f in zip(stage.stride, found.stride, strict=True))
        return stage.model_copy(update={"stride": stride})

    return config.model_copy(
        update={
            "channels": len(found.mean),
            "levels": tuple(inside(level) for level in config.levels),
            "stem": inside(config.stem),
            "scaling": Scaling(offset=found.mean, scale=found.unit),
            "foundation": None,
        }
    )


def _resolved(config: ModelConfig, frozen: FrozenAutoencoder) -> ModelConfig:
    """`config` with what is known of the foundation, which must be what it was before."""
    given, name = config.foundation, f"the foundation '{config.foundation.path}'"
    if frozen.domain.name != config.domain:
        raise ValueError(
            f"{name} encodes {frozen.domain.name}; the model is of domain '{config.domain}': "
            f"give `domain: {frozen.domain.name}`, or another foundation"
        )
    found = {"stride": frozen.stride, "mean": frozen.mean, "unit": frozen.unit}
    known = {key: value for key in found if (value := getattr(given, key)) is not None}
    found["pace"] = frozen.pace
    for key, value in known.items():
        if not _alike(found[key], value):
            raise ValueError(
                f"{name} is not the one that this model was trained on: its {key} is "
                f"{list(found[key])[:4]}…, and was {list(value)[:4]}…"
            )
    for stage, unit in ((config.stem, frozen.stride), (config.levels[0], _paced(frozen))):
        if any(n % f for n, f in zip(stage.stride, unit, strict=True)):
            raise ValueError(
                f"stride {list(stage.stride)} is not a multiple of {list(unit)}, that of {name}; "
                "strides are counted in pixels"
            )
    if frozen.commit:  # the branch may move on
        found["revision"] = frozen.commit
    return config.model_copy(update={"foundation": given.model_copy(update=found)})


def _alike(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(abs(x - y) <= 1e-4 * (1 + abs(x)) for x, y in zip(a, b))
