"""The ladder: a hierarchical variational autoencoder over any domain. Read this file first.

    bottom-up (deterministic)               top-down (stochastic)

    x ── stem ─┬────────────────────────────────────────────► head ── x̂   (down to full resolution)
               ▼                                    ▲
              down ── e₂ ──►  cell: p(z₂|h), q(z₂|h,e₂), z₂ = choose(q, p), h ← h + merge(z₂)
               ▼                                    ▲ up
              down ── e₁ ──►  cell                  h
               ▼                                    ▲ up
              down ── e₀ ──►  cell  ◄── learned constant, expanded to any size

Level 0 is the coarsest. There is one top-down pass, `descend`; training, encoding, decoding,
sampling and prefix decoding differ only in the `choose` they hand to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from . import choose as choosing
from . import transform
from .blocks import blocks
from .cells import Cell
from .choose import Choose, Distribution, Site
from .config import ModelConfig
from .decodes import Decodes
from .device import as_written
from .dial import Dial
from .exact import ExactCell, in_half
from .initial import initialise
from .inputs import as_input, check_channels, warn_of_scale
from .layers import Conv, Down, Up, name_layers
from .likelihoods import Likelihood, make_likelihood
from .motion import Motion
from .passes import Encoded, Pass, Step, with_again
from .past import Past
from .recall import Recall, units_of
from .shapes import Shaped


class Ladder(Shaped, Decodes):
    """A hierarchical variational autoencoder: `config` says over which domain and which levels."""

    frozen = None  # what a model stands on, see `foundation/`; a ladder stands alone

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.domain, self.levels = config, config.axes, config.all_levels
        axes, stem = self.domain, config.stem
        self.stem = Down(axes, config.channels, stem.width, stem.stride)
        self.stem_blocks = blocks(config, stem.width, stem.blocks, rising=True)
        finer = (*config.levels[1:], stem)
        steps = [
            (level, fine, [c // f for c, f in zip(level.stride, fine.stride, strict=True)])
            for level, fine in zip(config.levels, finer, strict=True)
        ]
        # each list is indexed by level, coarsest first
        self.down = nn.ModuleList(Down(axes, f.width, lv.width, by) for lv, f, by in steps)
        self.down_blocks = nn.ModuleList(
            blocks(config, lv.width, lv.blocks, lv.attention, rising=True) for lv in config.levels
        )
        self.cells = nn.ModuleList(
            nn.ModuleList(Cell(config, lv, group) for group in range(lv.groups))
            for lv in config.levels
        )
        self.preview = nn.ModuleList(
            Conv(axes, lv.width, config.channels * axes.of_time(lv.stride))
            for lv in (config.levels if config.previews else ())
        )
        self.up = nn.ModuleList(Up(axes, lv.width, f.width, by) for lv, f, by in steps)
        self.top = nn.Parameter(torch.zeros(config.levels[0].width))
        self.head_blocks = blocks(config, stem.width, stem.blocks)
        self.likelihood = self._make_likelihood()
        self.head = Up(axes, stem.width, self.likelihood.parameter_channels, stem.stride)
        self.exact = ExactCell(config) if config.exact else None
        self.recalls = nn.ModuleList(
            nn.ModuleList(Recall(config, lv, units) for _ in range(lv.groups if units else 0))
            for lv, units in zip(config.levels, units_of(config), strict=True)
        )
        self.motion = Motion(config, self._expected_channels()) if config.motion else None
        self.dial = Dial(config.rate) if config.rate else None  # drawn last: the rest is as without
        name_layers(self)
        initialise(self, self._expected_channels())
        if self.motion is not None:
            self.motion.begin(self.cells[0][0].posterior)

    def extra_repr(self) -> str:
        strides = ", ".join(str(list(level.stride)) for level in self.levels)
        return f"domain={self.domain.name}, channels={self.config.channels}, strides=[{strides}]"

    def _make_likelihood(self) -> Likelihood:
        return make_likelihood(self.config.likelihood, self.config.channels)

    def _expected_channels(self) -> transform.Channels:
        """What a new ladder expects of the channels it reads."""
        alike = transform.alike if self.domain.colours else transform.apart
        return alike(self.config.channels)

    # the two passes ---------------------------------------------------------------------------

    def bottom_up(self, x: Tensor, past: Past) -> list[Tensor]:
        """Bottom-up features per level, coarsest first; of an exact level, the padded input."""
        h = self.stem_blocks(self.stem(x, past), past)
        features = []
        for down, stack in zip(reversed(self.down), reversed(self.down_blocks), strict=True):
            h = stack(down(h, past), past)
            features.append(h)
        return [*features[::-1], *([] if self.exact is None else [x])]

    def rise(self, x: Tensor, past: Past) -> tuple[list[Tensor], tuple[int, ...]]:
        """What `descend` goes by: the bottom-up features of an input `[B, C, *axes]`, as `as_input`
        gives it, and velocities, if level 0 tells them; and the size of the coarsest level."""
        check_channels(x, self.config)
        size, stride = tuple(x.shape[2:]), self.levels[0].stride
        padded = self.domain.pad(x, stride, past.started)
        self.tell(past, x.shape[0])  # len(x) would fix the batch of exported graphs
        grid = self.domain.shape(size, stride, past.started)
        if self.motion is None:
            return self.bottom_up(padded, past), grid
        velocity = self.motion.estimate(padded, past)
        return [*self.bottom_up(self.motion.still(padded, velocity, past), past), velocity], grid

    def descend(
        self,
        choose: Choose,
        grid: Sequence[int],
        past: Past,
        features: Sequence[Tensor] | None = None,
        batch: int = 1,
        levels: int | None = None,
    ) -> tuple[list[Step], list[Tensor]]:
        """The top-down pass, coarse to fine.

        Args:
            choose: how each latent is chosen.
            grid: size of the coarsest level.
            features: bottom-up features per level; None where there is no input.
            batch: number of samples, where there are no features.
            levels: end with the last latent of so many levels; None goes on below it, which
                decoding needs.

        Returns:
            The steps, and the top-down features after each level and, with all of them, what the
            likelihood reads of a padded sample; it does not depend on an exact level.
        """
        batch = features[0].shape[0] if features is not None else batch
        self.tell(past, batch)
        h = self.top.view(1, -1, *[1] * len(grid)).expand(batch, -1, *grid)
        end = None if levels is None else self._last_site(levels - 1)
        steps: list[Step] = []
        merged: list[Tensor] = []
        for level, cells in enumerate(self.cells):
            for group, cell in enumerate(cells):
                site = Site(level, group)
                prior, h = cell.prior(h, past)
                posterior = cell.posterior(h, features[level], prior, past) if features else None
                if self.motion is not None and features and level == 0:
                    posterior = self.motion.told(posterior, features[-1])
                prior = self._remembering(prior, site, h, past)
                z = choose(site, posterior, prior)
                z = z if self.exact is None else in_half(z)
                steps.append(Step(site, posterior, prior.given(z) if features else prior, z))
                if site == end:
                    return steps, merged
                h = cell.merge(h, steps[-1].z, past)
            merged.append(h)
            h = self._refined(level, h, choose, past, steps)
            if steps[-1].site == end:
                return steps, merged
        h = self.head_blocks(h, past)
        parameters = self.head(h, past)
        if self.motion is not None:
            parameters = self.motion.moved(parameters, steps[0].z, past)
        if self.exact is not None:
            prior = self.exact.prior(self.likelihood.mean(parameters), h, past)
            posterior = prior.exactly(features[-1]) if features else None
            site = Site(len(merged), 0)
            steps.append(Step(site, posterior, prior, choose(site, posterior, prior)))
        return steps, [*merged, parameters]

    def _last_site(self, level: int) -> Site:
        return Site(level, self.levels[level].groups - 1)

    def _refined(self, level: int, h: Tensor, choose: Choose, past: Past, steps: list) -> Tensor:
        """The features of a level at the next finer stride."""
        return self.up[level](h, past)

    def _remembering(self, prior: Distribution, site: Site, h: Tensor, past: Past) -> Distribution:
        """With what the prior knows of the units before, if it is to remember any."""
        return own[site.group](prior, h, past) if (own := self.recalls[site.level]) else prior

    def as_input(self, x: Tensor) -> Tensor:
        """`x` as this model reads it, see `inputs.as_input`."""
        bounded = self.config.scaling is None and self.config.field is None
        return as_input(x, self.config, self.top, bounded)

    @property
    def exported(self) -> Ladder:
        """What makes and decodes the latents of this model in a pipeline of `diffusers`."""
        return self.check_usual_rate()

    # what one does with them ------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        choose: Choose = choosing.mean,
        again: Tensor | None = None,
        rate_weights: Tensor | None = None,
    ) -> Pass:
        """Encode and decode `x` `[B, C, *axes]` in [-1, 1], of any size.

        Args:
            again: samples that are read once and decoded twice, then after all others; bool `[B]`.
            rate_weights: λ of each sample `[B]`, where the model takes one; None is `rate_weight`.
        """
        x, past = self.as_input(x), Past()
        self.tell(past, x.shape[0], rate_weights)
        size, (features, grid) = tuple(x.shape[2:]), self.rise(x, past)
        if again is not None:
            x, rate, *features = (with_again(part, again) for part in (x, past.rate, *features))
            past = Past(rate=rate)
        inputs = x
        if self.motion is not None:
            padded = self.domain.pad(x, self.levels[0].stride)
            inputs = self.motion.still(padded, features[-1], Past())
        steps, features = self.descend(choose, grid, past, features)
        previews = tuple(conv(h, past) for conv, h in zip(self.preview, features, strict=False))
        parameters = self.domain.crop(features[-1], size)
        latents = Encoded.of(steps, size)
        return Pass(parameters, inputs, self.likelihood.mean(parameters), latents, previews)

    def encode(
        self, x: Tensor, choose: Choose = choosing.mean, past: Past | None = None
    ) -> Encoded:
        """Latents of `x` `[B, C, *axes]` in [-1, 1], with deviations, rates and, of codes, indices;
        nothing finer than the last latent is run.

        Args:
            past: of a stream, see `stream.py`; None for a whole input.

        Raises:
            ValueError: `x` has not the axes or channels of this model.
        """
        read = self.as_input(x)
        if past is None and self.config.scaling is None:
            warn_of_scale(x, read, self.config)
        past = past or Past()
        with self._numerics():
            features, grid = self.rise(read, past)
            steps, _ = self.descend(choose, grid, past, features, levels=len(self.levels))
        return Encoded.of(steps, read.shape[2:])

    def generate(
        self, choose: Choose, size: Sequence[int], batch: int = 1, past: Past | None = None
    ) -> Tensor:
        """The top-down pass alone, see `Decodes.generate`."""
        steps, parameters = self._down(choose, size, batch, past or Past())
        if self.exact is not None:
            return self.domain.crop(steps[-1].prior.values(steps[-1].z), size)
        return self.likelihood.mean(self.domain.crop(parameters, size))

    def likelihood_parameters(
        self, choose: Choose, size: Sequence[int], batch: int = 1, past: Past | None = None
    ) -> Tensor:
        """What the likelihood reads of the same `[batch, parameter_channels, *size]`."""
        return self.domain.crop(self._down(choose, size, batch, past or Past())[1], size)

    def _down(
        self, choose: Choose, size: Sequence[int], batch: int, past: Past
    ) -> tuple[list[Step], Tensor]:
        """The steps, and what the likelihood reads of a padded sample."""
        grid = self.domain.shape(size, self.levels[0].stride, past.started)
        with self._numerics():
            steps, features = self.descend(choose, grid, past, batch=batch)
        return steps, features[-1]

    def _numerics(self) -> AbstractContextManager:
        """What is exact is read again with the very numbers that it was made with."""
        return nullcontext() if self.exact is None else as_written(self.top.device)
