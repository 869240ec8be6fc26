"""Discrete latents: a vector is one of a codebook, or a sum of one each of several.

The quantisers are those of `vector-quantize-pytorch`. What is added here is what a ladder needs: a
learned prior over codes, given the coarser levels, whose mean stands in for a level that is missing
and whose cross-entropy is the level's rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .choose import Pick, redrawn, whole
from .kinds import CodebookConfig, FsqCodebook, LfqCodebook


@dataclass(frozen=True)
class CodePrior:
    """Independent categorical variables over the codes of each codebook.

    Attributes:
        logits: `[B, depth, size, *grid]`, float32.
        table: the vector of every code `[depth, size, C]`.
    """

    logits: Tensor
    table: Tensor

    @property
    def mean(self) -> Tensor:
        """The expected vector `[B, C, *grid]`."""
        return torch.einsum("bqk...,qkc->bc...", self.logits.softmax(2), self.table)

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """The vector of drawn codes; at a lower temperature likelier ones are drawn more often."""
        logits = self.logits.movedim(2, -1)
        if temperature == 0:
            return vectors(logits.argmax(-1), self.table)
        flat = (logits / temperature).softmax(-1).flatten(0, -2)
        drawn = torch.multinomial(flat, 1, generator=generator)
        return vectors(drawn.view(logits.shape[:-1]), self.table)

    def near(self, z: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
        """See `Distribution.near`: so large a part of the codes is drawn anew."""
        return redrawn(z, self.sample(generator), strength, generator)

    def walk(self, pick: Pick) -> Tensor:
        """See `Distribution.walk`: there is one part."""
        return pick(self, whole)

    def given(self, z: Tensor) -> CodePrior:
        """See `Distribution.given`: one part tells nothing of another."""
        return self


@dataclass(frozen=True)
class Codes:
    """A posterior that is certain: the codes chosen for an input.

    Attributes:
        mean: their vectors `[B, C, *grid]`; gradients pass straight through to the evidence.
        indices: `[B, depth, *grid]`, int64.
        penalty: the quantiser's own loss, scalar: what keeps evidence and codes together.
    """

    mean: Tensor
    indices: Tensor
    penalty: Tensor

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """There is nothing to draw."""
        return self.mean

    def kl(self, other: CodePrior) -> Tensor:
        """-log of the prior's probability of the codes, in nats `[B, depth, *grid]`."""
        return F.cross_entropy(other.logits.movedim(2, 1), self.indices, reduction="none")

    def log_ratio(self, other: CodePrior, z: Tensor) -> Tensor:
        """log other(z) - log 1, in nats `[B, depth, *grid]`."""
        return -self.kl(other)


def vectors(indices: Tensor, table: Tensor) -> Tensor:
    """`[B, depth, *grid]` codes of `table` `[depth, size, C]` -> `[B, C, *grid]`."""
    parts = [F.embedding(codes, t) for codes, t in zip(indices.unbind(1), table, strict=True)]
    return torch.stack(parts).sum(0).movedim(-1, 1)


class Codebook(nn.Module):
    """One quantiser, or several of which each codes what the former ones left over.

    Attributes:
        depth: codes per position.
        size: codes to choose from.
    """

    depth = 1

    def __init__(self, quantiser: nn.Module, size: int) -> None:
        super().__init__()
        self.quantiser, self.size = quantiser, size

    def extra_repr(self) -> str:
        return f"size={self.size}, depth={self.depth}"

    def table(self) -> Tensor:
        """The vector of every code `[depth, size, C]`."""
        every = torch.arange(self.size, device=next(self.quantiser.buffers()).device)
        return self.quantiser.indices_to_codes(every[None]).float()

    def forward(self, x: Tensor) -> Codes:
        """`[B, C, *grid]`, float32 -> the codes nearest to it."""
        grid = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):  # distances must be exact
            mean, indices, *penalty = self.quantiser(tokens.float())
        penalty = penalty[0].sum() if penalty else x.new_zeros(())
        indices = indices.view(len(x), -1, self.depth).transpose(1, 2).unflatten(2, grid)
        return Codes(mean.transpose(1, 2).unflatten(2, grid), indices.long(), penalty)


class LearnedCodebook(Codebook):
    """Vectors that follow the evidence as moving averages; codes that go unused are restarted."""

    def __init__(self, quantiser: nn.Module, size: int, depth: int) -> None:
        super().__init__(quantiser, size)
        self.depth = depth

    def table(self) -> Tensor:
        """See `Codebook.table`."""
        return self.quantiser.codebooks.float()


def make_codebook(config: CodebookConfig, channels: int) -> Codebook:
    """The codebook that a level asks for.

    Raises:
        ValueError: the extra `codebooks` is not installed.
    """
    try:
        import vector_quantize_pytorch as vq
    except ImportError:
        raise ValueError(
            "a level has a codebook, which needs vector-quantize-pytorch: "
            "pip install 'stlatent[codebooks]'"
        ) from None
    if isinstance(config, FsqCodebook):
        return Codebook(vq.FSQ(list(config.steps), dim=channels), math.prod(config.steps))
    if isinstance(config, LfqCodebook):
        quantiser = vq.LFQ(
            dim=channels,
            codebook_size=config.size,
            entropy_loss_weight=config.entropy,
            commitment_loss_weight=config.commitment,
        )
        return Codebook(quantiser, config.size)
    quantiser = vq.ResidualVQ(
        dim=channels,
        num_quantizers=config.depth,
        codebook_size=config.size,
        decay=config.decay,
        commitment_weight=config.commitment,
        threshold_ema_dead_code=config.restart_below,
    )
    return LearnedCodebook(quantiser, config.size, config.depth)
