"""Priors that remember: p(z | coarser levels, what this level held in the units before).

    frames    0 | 1 ... 8 | 9 ... 16 | ...     a unit is one latent of the coarsest level in time
    latents   0 | 1     2 | 3      4 | ...     the prior of 3 and 4 also sees 1 and 2, and perhaps 0

A prior without memory pays for the whole picture again in every unit, though most of it stood there
before. Here it is multiplied with an estimate from the past, which counts by its precision: what
the latents are if all is as it was, and how far that is to be relied on at each position. What is
told in rounded steps would drift a little with every unit, and cost bits for it even where nothing
moves; so a mean that hardly changes can be held, see `ModelConfig.recall_threshold`.

The posterior is still placed by the prior without memory, and that one's mean stands in for a level
of which nothing is known. So encoding and training stay one parallel pass, the latents and the
decoder are the same with and without, and only what latents cost, and how they are drawn, depends
on the past. Draws and entropy coding go unit by unit, see `Remembering.walk`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .choose import Pick
from .config import Level, ModelConfig
from .gaussian import Gaussian, bounded
from .layers import Conv, Norm
from .past import Past

CUES = 48  # differences between units that are looked at closely
SHARPNESS = 50.0  # of them: what changed by less than 1 / SHARPNESS has stood still
STEEPNESS = 3.0  # of logarithms of deviations, which have a long way to go: to some hundredths
UNKNOWN = 1.5  # by how much they are higher, at first, where there is no past
SMALL = 0.1  # unit of a mean's parts: one that is relied on must not move far in a training step


def units_of(config: ModelConfig) -> tuple[int, ...]:
    """How many units each level remembers."""
    one = config.recall
    return one if isinstance(one, tuple) else (one,) * len(config.levels)


class Recall(nn.Module):
    """What the past says about one group of latents.

    Of each unit it remembers the latents and the top-down features that they came upon. The steps
    of a unit are folded into channels, and no layer looks along time.

    Attributes:
        units: of the past that are seen.
        factors: steps of this level per unit, along each axis.
    """

    def __init__(self, config: ModelConfig, level: Level, units: int) -> None:
        super().__init__()
        self.domain = axes = config.axes
        self.units, self.log_std_limit = units, config.posterior.log_std_limit
        self.threshold = config.recall_threshold
        steps = axes.of_time(config.levels[0].stride) // axes.of_time(level.stride)
        self.factors = axes.with_time([1] * len(level.stride), steps)
        own, now, hidden = steps * level.latent, steps * level.width, max(8, level.width // 2)
        before = self.units * (own + now)
        self.as_it_was = Conv(axes, now + before, own)
        self.cues = Conv(axes, before - own, CUES)
        self.enter = Conv(axes, now + 2 * own + before + self.units + 2 * CUES, hidden)
        self.near = Conv(axes, hidden, hidden, 3)
        self.norm = Norm(hidden)
        self.around = Conv(axes, hidden, hidden, 3, depthwise=True)
        self.widen = Conv(axes, hidden, 2 * hidden)
        self.narrow = Conv(axes, 2 * hidden, hidden, gain=0.0)
        self.out = Conv(axes, hidden, 2 * own, gain=0.0)

    def extra_repr(self) -> str:
        return f"units={self.units}, steps={self.domain.of_time(self.factors)}"

    def forward(self, prior: Gaussian, h: Tensor, past: Past) -> Remembering:
        """The prior with memory, from the one without and the top-down features
        `[B, width, *grid]`."""
        return Remembering(prior.mean, prior.log_std, self, h, past)

    def remembered(self, h: Tensor, z: Tensor, past: Past) -> Tensor:
        """What stays of some units `[B, channels, units, *space]`: ones, which say that they were,
        latents and features."""
        z, h = (self.domain.fold(x, self.factors, past) for x in (z, h.float()))
        return torch.cat([torch.ones_like(z[:, :1]), z, h], 1)

    def tell(self, prior: Gaussian, h: Tensor, line: Tensor, past: Past) -> Gaussian:
        """The prior of some units with memory.

        Args:
            prior, h: without memory, and what it was made from.
            line: what is remembered, from `units` units before the first of them on.
            past: says whether they begin a stream.
        """
        h, mean, log_std = (
            self.domain.fold(x, self.factors, past) for x in (h.float(), prior.mean, prior.log_std)
        )
        count = self.domain.of_time(h.shape[2:])
        starts = range(self.units)[::-1]  # the unit before, the one before that, and so on
        before = [self.domain.steps(line, start, start + count) for start in starts]
        prior = Gaussian(mean, log_std)
        told = self._held(self._estimate(prior, h, before) * prior, before[0])
        return told.cut(lambda x: self.domain.unfold(x, self.factors, past))

    def _held(self, told: Gaussian, unit: Tensor) -> Gaussian:
        """With the mean that the unit before ended with where it changes by less than `threshold`
        deviations, and elsewhere nearer to it by so many (soft thresholding: Donoho 1995). That is
        continuous: what differs in the last digits, as between machines, goes on doing so."""
        if not self.threshold:
            return told
        own, steps = told.mean.shape[1], self.domain.of_time(self.factors)
        last = unit[:, 1 + own - own // steps : 1 + own]
        z = torch.cat([last] * steps, 1)
        change, least = told.mean - z, self.threshold * unit[:, :1] * told.std
        return Gaussian(z + (change - change.clamp(-least, least)), told.log_std)

    def _estimate(self, prior: Gaussian, h: Tensor, before: Sequence[Tensor]) -> Gaussian:
        """From the past alone; all in whole units.

        before: what is remembered of the unit before each, of the one before that, and so on.
        """
        nowhere = Past()  # no layer looks along time
        known, contents = before[0][:, :1], [unit[:, 1:] for unit in before]
        with torch.autocast(h.device.type, enabled=False):  # small differences count
            mean = self.as_it_was(torch.cat([h * known, *contents], 1), nowhere)
            changes = [h - contents[0][:, -h.shape[1] :]]
            changes += [a - b for a, b in itertools.pairwise(contents)]
            cues = torch.asinh(SHARPNESS * self.cues(torch.cat(changes, 1), nowhere))
        seen = [h, prior.mean, prior.log_std, *before, cues, cues.abs()]
        y = F.silu(self.enter(torch.cat(seen, 1), nowhere))
        y = y + self.near(y, nowhere)
        wide = F.silu(self.widen(self.around(self.norm(y), nowhere), nowhere))
        y = y + self.narrow(wide, nowhere)
        offset, log_std = self.out(y, nowhere).float().chunk(2, 1)
        log_std = STEEPNESS * log_std + UNKNOWN * (1 - known)
        return Gaussian(SMALL * (mean + offset), bounded(log_std, self.log_std_limit))

    def line(self, memory: Tensor, past: Past) -> Tensor:
        """What is remembered of some units, behind that of the `units` units before them; the
        stream goes on from there."""
        return past.extend(self.out.name, memory, 2 + self.domain.causal, self.units)


@dataclass(frozen=True, repr=False)
class Remembering(Gaussian):
    """A prior over some units, of which each is known when those before it are chosen. `mean` and
    `log_std` are those without memory.

    Attributes:
        recall: what remembers.
        h: the top-down features `[B, width, *grid]`.
        past: of the stream.
    """

    recall: Recall
    h: Tensor
    past: Past

    def given(self, z: Tensor) -> Gaussian:
        """The prior of every unit given those before it in `z` `[B, C, *grid]`, in one pass."""
        line = self.recall.line(self.recall.remembered(self.h, z, self.past), self.past)
        return Told(partial(self.recall.tell, self, self.h, line, self.past), z.device.type)

    def walk(self, pick: Pick) -> Tensor:
        """Choose unit by unit, each from its prior given those before."""
        recall, past, domain = self.recall, self.past, self.recall.domain
        nothing = domain.steps(recall.remembered(self.h, self.mean, past), 0, 0)
        line, chosen, start = recall.line(nothing, past), [], 0
        while start < domain.of_time(self.h.shape[2:]):
            stop = start + (domain.of_time(recall.factors) if past.started else 1)
            cut = partial(domain.steps, start=start, stop=stop)
            h, behind = cut(self.h), domain.last(line, recall.units)
            chosen.append(pick(recall.tell(self.cut(cut), h, behind, past), cut))
            line = domain.joined([line, recall.remembered(h, chosen[-1], past)])
            start, past = stop, Past({})
        recall.line(domain.last(line, recall.units), self.past)
        return domain.joined(chosen)

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """A draw, unit by unit."""
        return self.walk(lambda prior, cut: prior.sample(generator, temperature))

    def near(self, z: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
        """See `Distribution.near`, unit by unit."""
        return self.walk(lambda prior, cut: prior.near(cut(z), strength, generator))


class Told(Gaussian):
    """A prior that is computed, as it would be at once, when somebody asks what latents cost: who
    wants them alone does not wait for it."""

    def __init__(self, tell: Callable[[], Gaussian], device: str) -> None:
        enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        vars(self)["_as_now"] = tell, torch.autocast(device, dtype, enabled=enabled)

    @cached_property
    def _known(self) -> Gaussian:
        tell, autocast = self._as_now
        with autocast:
            return tell()

    @property
    def mean(self) -> Tensor:
        """Means."""
        return self._known.mean

    @property
    def log_std(self) -> Tensor:
        """Natural logarithms of the standard deviations."""
        return self._known.log_std
