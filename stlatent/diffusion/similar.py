"""Draws near something real: its latents get noise, and are denoised from there (SDEdit, Meng et
al. 2022). The more noise, the less is left of it: that is the strength."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..model.choose import check_strength
from ..sparse.blocks import Blocks
from .corruption import Scheduler, set_steps
from .denoiser import LadderDenoiser
from .likeliest import of_each
from .sparse import Autoencoder


@dataclass(frozen=True)
class Similar:
    """Where the stages of a pipeline begin.

    Attributes:
        to: what the first stages would make of something real, folded, `[1 or B, C, *grid]` each;
            the others begin with noise.
        strength: of these stages, from 0, what is there, to 1, a draw that knows nothing of it.
    """

    to: tuple[Tensor, ...] = ()
    strength: float = 1.0

    @classmethod
    def of(
        cls,
        x: Tensor | Blocks,
        vae: Autoencoder,
        denoiser: LadderDenoiser,
        levels: int | None,
        strength: float,
    ) -> Similar:
        """Near a sample as the ladder reads it, `[1 or B, C, *axes]`.

        Args:
            levels: in so many levels, coarsest first; by default those of the first stage.

        Raises:
            ValueError: the strength is not in [0, 1], or no stage ends with these levels.
        """
        check_strength(strength)
        ends = [stage.stop for stage in denoiser.levels]
        levels = ends[0] if levels is None else levels
        if levels not in ends:
            raise ValueError(
                f"levels is {levels}; the stages of this pipeline make the first "
                f"{', '.join(map(str, ends))} levels: give {' or '.join(map(str, ends))}"
            )
        packed = vae.encode(x).latent_dist.mode().float()
        found = vae.packing.unfold(packed, started=True)
        return cls(tuple(denoiser.fold(k, found) for k in range(1 + ends.index(levels))), strength)

    def of_each(self, tries: int) -> Similar:
        """For several draws of each sample."""
        return replace(self, to=tuple(z if len(z) == 1 else of_each(z, tries) for z in self.to))

    def steps(self, stage: int, steps: int) -> int:
        """Evaluations that are left of those of a stage: for so much of the schedule."""
        return round(self.strength * steps) if stage < len(self.to) else steps

    def start(
        self, scheduler: Scheduler, stage: int, steps: int, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The timesteps of a stage, and what it begins with `[B, C, *grid]`."""
        timesteps = set_steps(scheduler, steps, noise.device)
        if stage >= len(self.to):
            return timesteps, noise * getattr(scheduler, "init_noise_sigma", 1.0)
        x = self.to[stage].to(noise).expand_as(noise)
        done = (steps - self.steps(stage, steps)) * getattr(scheduler, "order", 1)
        first, left = timesteps[done : done + 1], timesteps[done:]
        if not len(left):
            return left, x
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(done)
        if hasattr(scheduler, "scale_noise"):  # of flow
            return left, scheduler.scale_noise(x, first, noise)
        return left, scheduler.add_noise(x, noise, first)
