"""What loops of training share: schedule, noise, guard against bad steps, averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from ..model.config import Strict
from .config import OptimiserConfig


def batch_noise(seed: int, step: int, batch: int, device: torch.device) -> torch.Generator:
    """The source of the noise of one batch: a function of seed, step and batch."""
    return torch.Generator(device).manual_seed(hash((seed, step, batch, 0)) % 2**62)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed of one's own for a while, on the CPU and on `device`; whoever draws from
    torch's global source afterwards notices nothing."""
    gpu = device.type != "cpu"
    kind = {"device_type": device.type} if gpu else {}
    with torch.random.fork_rng([device] if gpu else [], **kind):
        torch.manual_seed(seed)
        yield


def learning_rate(config: OptimiserConfig, step: int, progress: float) -> float:
    """Linear warm-up in steps, then half a cosine in `progress` (0 to 1)."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    wave = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * warm * (config.final + (1 - config.final) * wave)


class Guarded(Strict):
    """What a `StepGuard` knows, as it is saved.

    Attributes:
        log_mean: of the norms, running; None before the first.
        skipped: steps left out.
    """

    log_mean: float | None = None
    skipped: Annotated[int, Field(ge=0)] = 0


@dataclass
class StepGuard:
    """Skips steps whose gradient is not finite or far longer than usual.

    The limit is `factor` times the running geometric mean of the norms. A skipped norm moves the
    mean too, by at most `factor`, so that a lasting change is let through after a few steps: a
    fixed limit can lock training out for good (openai/vdvae, issue 25).
    """

    factor: float
    log_mean: float | None = None
    skipped: int = 0

    MEMORY = 0.98

    def allows(self, norm: float) -> bool:
        """Whether a step with a gradient of this length is taken; each call counts as one step."""
        if not math.isfinite(norm):
            self.skipped += 1
            return False
        log_norm = math.log(max(norm, 1e-12))
        if self.log_mean is None:
            self.log_mean = log_norm
        allowed = log_norm <= self.log_mean + math.log(self.factor)
        step = min(log_norm - self.log_mean, math.log(self.factor))
        self.log_mean += (1 - self.MEMORY) * step
        self.skipped += not allowed
        return allowed


class AveragedWeights:
    """Exponential moving average of a model's weights, itself a model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Young averages forget faster, so that the random start is soon gone. What is not trained
        stays to the last bit: between zeros of either sign the average has another one."""
        decay = min(self.decay, (step + 1) / (step + 10))
        both = zip(self.model.parameters(), model.parameters(), strict=True)
        learning = [(mine, p.detach()) for mine, p in both if p.requires_grad]
        torch._foreach_lerp_(*map(list, zip(*learning, strict=True)), 1 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)  # statistics and codebooks are averages already
