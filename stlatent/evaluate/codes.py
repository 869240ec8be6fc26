"""How much of its codebooks a discrete level uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.codebook import Codes
from ..model.passes import Step


@dataclass(frozen=True)
class CodeUse:
    """One codebook over all clips.

    Attributes:
        level, group, depth: which one.
        size: codes that it has.
        used: codes that occurred.
        perplexity: e to the entropy of how often each occurred: `size` if all are equally common.
    """

    level: int
    group: int
    depth: int
    size: int
    used: int
    perplexity: float


class CodeTally:
    """Counts codes clip by clip."""

    def __init__(self) -> None:
        self.counts: dict[tuple[int, int, int], Tensor] = {}

    def add(self, steps: Sequence[Step]) -> None:
        """The steps of one pass; those without codes are passed over."""
        for step in steps:
            if not isinstance(step.posterior, Codes):
                continue
            size = step.prior.logits.shape[2]
            for depth, indices in enumerate(step.posterior.indices.unbind(1)):
                key = (*step.site, depth)
                count = torch.bincount(indices.flatten().cpu(), minlength=size)
                self.counts[key] = self.counts.get(key, 0) + count

    def result(self) -> list[CodeUse]:
        """Of each codebook, in the order of levels, groups and depths."""
        return [_use(key, count) for key, count in sorted(self.counts.items())]


def _use(key: tuple[int, int, int], count: Tensor) -> CodeUse:
    p = count.double() / count.sum()
    entropy = -(p * p.clamp_min(1e-30).log()).sum()
    return CodeUse(*key, len(count), int((count > 0).sum()), float(entropy.exp()))
