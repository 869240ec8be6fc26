"""What denoisers are trained on; and, of what they have drawn, how little it surprises them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .config import NoiseConfig
from .context import Context
from .corruption import Scheduler, as_trained, corrupt
from .denoiser import LadderDenoiser

LOOKS = 32  # noisy copies that a draw is judged by


class StageLosses(nn.Module):
    """Mean squared error of every stage's denoiser on a batch, as one module to be prepared."""

    def __init__(self, denoiser: LadderDenoiser, scheduler: Scheduler, noise: NoiseConfig) -> None:
        super().__init__()
        self.denoiser, self.scheduler, self.noise = denoiser, scheduler, noise

    def forward(
        self,
        levels: Sequence[Tensor],
        condition: Tensor | None,
        past: Context | None,
        generator: torch.Generator,
        dropout: float = 0.0,
    ) -> Tensor:
        """Losses `[stages, B]` for whitened latents `[B, C_l, *grid_l]`.

        Args:
            generator: source of times, noise and of which conditions are left out.
            dropout: share of samples whose condition is left out.
        """
        losses, count, device = [], len(levels[0]), levels[0].device
        for stage in range(len(self.denoiser.stages)):
            chance = torch.rand(2, count, generator=generator, device=device)
            amount = chance[0] * self.noise.augmentation
            given = self.denoiser.given(stage, levels, amount, generator)
            x = self.denoiser.fold(stage, levels)
            noisy, timestep, target = corrupt(self.scheduler, x, self.noise.logit_std, generator)
            drop = None if condition is None else chance[1] < dropout
            said = self.denoiser(noisy, timestep, stage, given, condition, drop, past).sample
            losses.append((said.float() - target).square().flatten(1).mean(1))
        return torch.stack(losses)


@torch.no_grad()
def surprise(
    denoiser: LadderDenoiser,
    scheduler: Scheduler,
    levels: Sequence[Tensor],
    condition: Tensor | None,
    size: Sequence[int],
) -> Tensor:
    """How unlikely latents are to the denoiser `[B]`: their loss, in the mean over stages and
    `LOOKS` noisy copies. It bounds their likelihood (Ho et al. 2020, equation 14); all get the same
    noise, so that draws of one condition can be told apart.

    Args:
        levels: whitened, as the stages make them `[B, C_l, *grid_l]`.
        condition: what each was asked to be, or None.
        size: of what they are latents of; they have no past.

    Raises:
        ValueError: the scheduler has another noise than any of training.
    """
    judge, found = StageLosses(denoiser, as_trained(scheduler), NoiseConfig()), []
    past = denoiser.remembered((), size, LOOKS)
    for sample in range(len(levels[0])):
        copies = [z[sample].expand(LOOKS, *z.shape[1:]) for z in levels]
        asked = None if condition is None else condition[sample].expand(LOOKS, *condition.shape[1:])
        noise = torch.Generator(copies[0].device).manual_seed(0)
        found.append(judge(copies, asked, past, noise).mean())
    return torch.stack(found)
