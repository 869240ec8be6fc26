"""The denoisers of a latent diffusion model, one per stage, as one model of `diffusers`.

    packed         one stage of all levels         z_0 z_1 z_2
    coarse-only    one stage of the first ones     z_0           the ladder's prior makes the rest
    cascade        several                         z_0 ─► z_1 ─► z_2

Each stage makes its levels folded on the grid of the coarsest of them (packing.py), as
`LatentDataset` gives them: with whole groups at every step of time, the first one included. The
levels of the stages before it are given: repeated up to its grid, with some noise, and beside them
how much (Ho et al. 2021, Cascaded Diffusion Models, section 3: what a stage is given in use was
never trained on, and noise hides by how much it is off).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from ..export.loading import Checked
from ..model.config import parse
from ..model.domains import DOMAINS
from ..model.layout import grid_of
from ..model.packing import Packing
from ..model.past import Past
from .backbones import make_backbone
from .config import ConditionConfig, DenoiserConfig, StageConfig
from .context import Context, ContextEncoder


class LadderDenoiser(ModelMixin, Checked):
    """Denoises whitened latents of the first levels of a ladder, stage by stage.

    Args:
        domain: name of the ladder's domain.
        strides, channels: of the levels that are diffused, coarsest first.
        size: of the input's axes in training, such as (17, 256, 256); others may do as well.
        stages: as in `StageConfig`, coarse to fine.
        condition: as in `ConditionConfig`.
        past: as in `DiffusionConfig`.

    Raises:
        ValueError: these do not fit each other.
    """

    settings = DenoiserConfig
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        domain: str,
        strides: Sequence[Sequence[int]],
        channels: Sequence[int],
        size: Sequence[int],
        stages: Sequence[Mapping[str, Any]],
        condition: Mapping[str, Any],
        past: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.domain, self.strides, self.channels = DOMAINS[domain], strides, channels
        self.stages = [parse(StageConfig, stage, "stages") for stage in stages]
        self.condition = parse(ConditionConfig, condition, "condition")
        ends = list(itertools.accumulate((s.levels for s in self.stages), initial=0))
        if ends[-1] != len(strides) or len(strides) != len(channels):
            raise ValueError(
                f"the stages make {ends[-1]} levels, but {len(strides)} strides and "
                f"{len(channels)} numbers of channels are given; give one of each per level"
            )
        self.levels = [range(*ends_of) for ends_of in itertools.pairwise(ends)]
        self.packings = [
            self._packing(levels, stage.grid) for levels, stage in zip(self.levels, self.stages)
        ]
        if past and not self.domain.has_time:
            raise ValueError(f"past is {list(past)}, but domain '{domain}' has no time")
        self.backbones, self.conditions = nn.ModuleList(), nn.ModuleList()
        self.memories = nn.ModuleList()
        for k, stage in enumerate(self.stages):
            given = sum(channels[: ends[k]]) + 1 if k else 0
            width, grid = self.packings[k].channels, self.latent_shape(k, size)[1:]
            self.backbones.append(make_backbone(stage, width + given, width, grid))
            self.conditions.append(Condition(self.condition, self.backbones[k].condition_width))
            if past:
                self.memories.append(self._memory(k, stage.width))

    def _packing(self, levels: range, grid: str) -> Packing:
        channels = [self.channels[k] for k in levels]
        mean, std = [0.0] * sum(channels), [1.0] * sum(channels)
        strides = [self.strides[k] for k in levels]
        stride = grid_of(grid, strides)
        for above in self.strides[: levels.start]:
            if any(c % g for c, g in zip(above, stride, strict=True)):
                raise ValueError(
                    f"a grid of {list(stride)} does not divide that of a level above, {list(above)}"
                )
        return Packing(self.domain, strides, channels, mean, std, stride)

    def _memory(self, stage: int, width: int) -> ContextEncoder:
        """Of the levels down to those that a stage makes."""
        stop, stride = self.levels[stage].stop, self.packings[stage].stride
        scales = [
            [a / b for a, b in zip(self.strides[k], stride, strict=True)] for k in range(stop)
        ]
        return ContextEncoder(self.domain, self.channels[:stop], scales, width)

    # the levels ---------------------------------------------------------------------------------

    def latent_shape(self, stage: int, size: Sequence[int]) -> tuple[int, ...]:
        """`(channels, *grid)` of what a stage makes, for an input of `size`."""
        packing, coarsest = self.packings[stage], self.strides[0]
        factors = (c // f for c, f in zip(coarsest, packing.stride, strict=True))
        grid = self.domain.shape(size, coarsest)
        return packing.channels, *(n * f for n, f in zip(grid, factors, strict=True))

    def fold(self, stage: int, levels: Sequence[Tensor]) -> Tensor:
        """What a stage is to make, from all levels `[B, C_l, *grid_l]`."""
        return self.packings[stage].fold([levels[k] for k in self.levels[stage]], started=True)

    def unfold(self, stage: int, z: Tensor) -> tuple[Tensor, ...]:
        """The inverse of `fold`: the levels that a stage has made."""
        return self.packings[stage].unfold(z, started=True)

    def given(
        self,
        stage: int,
        levels: Sequence[Tensor],
        augmentation: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """What a stage is given: the levels above it on its grid `[B, C, *grid]`; None at the top.

        Args:
            augmentation: deviation of the noise `[B]`, from 0 to 1; the variance stays as it is.
        """
        if not stage:
            return None
        stride, parts = self.packings[stage].stride, []
        share = augmentation.view(-1, 1, *[1] * len(stride))
        for k in range(self.levels[stage].start):
            factors = [c // f for c, f in zip(self.strides[k], stride, strict=True)]
            noise = torch.randn(levels[k].shape, generator=generator, device=levels[k].device)
            z = (1 - share.square()).sqrt() * levels[k] + share * noise
            copies = z.repeat(1, math.prod(factors), *[1] * len(stride))
            parts.append(self.domain.unfold(copies, factors, Past({})))
        parts.append(share.expand(-1, -1, *parts[0].shape[2:]))
        return torch.cat(parts, 1)

    # time ---------------------------------------------------------------------------------------

    def trimmed(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels as a ladder has them, whose first step covers one frame: without repetitions."""
        axes, coarsest = self.domain, self.domain.of_time(self.strides[0])
        surplus = [coarsest // axes.of_time(stride) - 1 for stride in self.strides]
        return tuple(axes.steps(z, n, axes.of_time(z.shape[2:])) for z, n in zip(levels, surplus))

    def remembered(
        self, levels: Sequence[Tensor], size: Sequence[int], batch: int
    ) -> Context | None:
        """The last steps of what was made so far, see `trimmed`; None without a past.

        Args:
            levels: none at the beginning.
        """
        if not self.config.past:
            return None
        axes, found, known = self.domain, [], []
        for k, steps in enumerate(self.config.past):
            grid = axes.with_time(axes.shape(size, self.strides[k]), steps)
            shape = (batch, self.channels[k], *grid)
            whole = torch.zeros(shape, dtype=self.dtype, device=self.device)
            made = axes.of_time(levels[k].shape[2:]) if levels else 0
            there = min(steps, made)
            if there:
                axes.last(whole, there).copy_(axes.last(levels[k], there))
            found.append(whole)
            known.append((torch.arange(steps) >= steps - there).expand(batch, -1).to(self.device))
        return Context(found, known)

    # the networks -------------------------------------------------------------------------------

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        stage: int = 0,
        given: Tensor | None = None,
        condition: Tensor | None = None,
        drop: Tensor | None = None,
        past: Context | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """What the scheduler expects of a denoiser, `[B, C, *grid]` as `sample`.

        Args:
            timestep: `[B]`, as the scheduler gives them.
            given: see there.
            condition: classes `[B]` or embeddings `[B, D]`; None for no condition.
            drop: which of them are left out `[B]`.
            past: what came before, where the model has been trained with it.
            return_dict: False gives a tuple, as in all of `diffusers`.
        """
        vector = self.conditions[stage](condition, drop, len(sample))
        whole = sample if given is None else torch.cat([sample, given], 1)
        memory = () if past is None else (self.memories[stage](past),)
        said = self.backbones[stage](whole, timestep, vector, *memory)
        return Transformer2DModelOutput(sample=said) if return_dict else (said,)

    def check_condition(self, condition: Tensor, batch: int) -> None:
        """Raise ValueError unless the model can be asked for `condition`."""
        classes, embedding = self.condition.classes, self.condition.embedding
        if classes and (condition.ndim != 1 or condition.is_floating_point()):
            raise ValueError(f"give one class from 0 to {classes - 1} per sample")
        if classes and not 0 <= int(condition.min()) <= int(condition.max()) < classes:
            raise ValueError(f"classes are {condition.tolist()}; they go from 0 to {classes - 1}")
        if embedding and condition.shape[1:] != (embedding,):
            raise ValueError(
                f"embeddings are {list(condition.shape)}; this model takes [B, {embedding}]"
            )
        if not (classes or embedding):
            raise ValueError("this model was trained without conditions, so it can be given none")
        if len(condition) != batch:
            raise ValueError(f"{len(condition)} conditions are given for {batch} samples")


class Condition(nn.Module):
    """A class, an embedding or nothing -> a vector."""

    def __init__(self, config: ConditionConfig, width: int) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(width))
        self.read: nn.Module | None = None
        if config.classes:
            self.read = nn.Embedding(config.classes, width)
        elif config.embedding:
            self.read = nn.Linear(config.embedding, width)

    def forward(self, condition: Tensor | None, drop: Tensor | None, batch: int) -> Tensor:
        nothing = self.nothing.expand(batch, -1)
        if condition is None or self.read is None:
            return nothing
        vector = self.read(condition)
        return vector if drop is None else torch.where(drop[:, None], nothing, vector)


LadderDenoiser.__module__ = "stlatent"  # pipelines note it down, and load it after that import
