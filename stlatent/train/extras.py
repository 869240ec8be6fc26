"""Optional terms of the loss: features, a discriminator, and the stretch of the layers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn

from ..losses.adversarial import PatchDiscriminator, discriminator_loss, generator_loss
from ..losses.alignment import FeatureAlignment
from ..losses.perceptual import PerceptualLoss
from ..losses.regularisers import SpectralConfig, SpectralPenalty
from ..model.config import Positive, Strict
from ..model.ladder import Ladder
from ..model.passes import Pass

Above = Annotated[float, Field(gt=0)]


class PerceptualConfig(Strict):
    """Distance in the features of a `timm` backbone.

    Attributes:
        weight: against the distortion.
        backbone: its name.
        weights: its safetensors file; None takes them from the Hugging Face hub.
        layers: feature maps to compare, 0 the finest; None is all.
    """

    weight: Above
    backbone: str
    weights: str | None = None
    layers: tuple[int, ...] | None = None


class AlignmentConfig(Strict):
    """Latents related as the features of a frozen `timm` backbone are; see losses/alignment.py.

    Attributes:
        weight: against the distortion.
        backbone: its name.
        weights: its safetensors file; None takes them from the Hugging Face hub.
        layer: which feature map, 0 the finest.
        level: of the latents.
        margin: differences of cosines below it cost nothing.
    """

    weight: Above
    backbone: str
    weights: str | None = None
    layer: Annotated[int, Field(ge=0)] = 3
    level: Annotated[int, Field(ge=0)] = 0
    margin: Annotated[float, Field(ge=0, lt=2)] = 0.25


class AdversarialConfig(Strict):
    """A patch discriminator that is trained along.

    Attributes:
        weight: against the distortion.
        start: step from which on it counts.
        width: its channels.
        lr: its learning rate.
    """

    weight: Above
    start: Annotated[int, Field(ge=0)] = 0
    width: Positive = 64
    lr: Above = 2e-4


class Critic:
    """A patch discriminator and its own training."""

    def __init__(self, ladder: Ladder, config: AdversarialConfig) -> None:
        model, self.config = ladder.config, config
        device = next(ladder.parameters()).device
        self.module = PatchDiscriminator(
            model.axes, model.channels, model.stem.stride, config.width
        ).to(device)
        self.network: nn.Module = self.module
        self.optimiser = torch.optim.AdamW(self.module.parameters(), config.lr, betas=(0.5, 0.9))
        self.scaler = torch.amp.GradScaler(device.type, enabled=False)
        self.autocast: Callable[[], AbstractContextManager] = nullcontext

    def prepare(self, accelerator: Accelerator) -> None:
        """Train it in several processes, and in the precision of the run."""
        self.network = accelerator.prepare_model(self.module)
        fp16 = accelerator.mixed_precision == "fp16"
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=fp16)
        self.autocast = accelerator.autocast

    def penalty(self, decoded: Tensor, step: int) -> Tensor | float:
        """What the ladder pays for samples that look decoded."""
        if step < self.config.start:
            return 0.0
        self.module.requires_grad_(False)  # the ladder's gradients pass, the critic has its own
        return self.config.weight * generator_loss(self.module(decoded))

    def learn(self, decoded: Tensor, x: Tensor, step: int) -> None:
        """One step of telling them from real samples."""
        if step < self.config.start:
            return
        self.module.requires_grad_(True)
        with self.autocast():
            loss = discriminator_loss(self.network(x), self.network(decoded))
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()


class Extras(nn.Module):
    """The terms that are configured."""

    def __init__(
        self,
        ladder: Ladder,
        perceptual: PerceptualConfig | None,
        adversarial: AdversarialConfig | None,
        spectral: SpectralConfig | None,
        alignment: AlignmentConfig | None = None,
    ) -> None:
        super().__init__()
        self.perceptual_config, self.alignment_config = perceptual, alignment
        self.spectral = SpectralPenalty(ladder, spectral) if spectral else None
        self.features = None
        if perceptual:
            self.features = PerceptualLoss(
                perceptual.backbone, perceptual.weights, perceptual.layers
            )
        self.alignment = _alignment(ladder, alignment) if alignment else None
        self.critic = Critic(ladder, adversarial) if adversarial else None

    def penalty(self, out: Pass, x: Tensor, step: int, warm: float) -> Tensor:
        """What the ladder and its pass over samples `x` `[B, C, *axes]` cost; scalar.

        out: whose first rows are the samples.
        warm: progress of the rate's warm-up, 0 to 1.
        """
        decoded = out.x[: len(x)]
        total = decoded.new_zeros(())
        if self.features is not None:
            total = total + self.perceptual_config.weight * self.features(decoded, x).mean()
        if self.critic is not None:
            total = total + self.critic.penalty(decoded, step)
        if self.alignment is not None:
            z = out.latents.levels[self.alignment_config.level][: len(x)]
            total = total + self.alignment_config.weight * self.alignment(z, x)
        if self.spectral is not None:
            total = total + self.spectral.config.weight_at(warm) * self.spectral()
        return total

    def learn(self, decoded: Tensor, x: Tensor, step: int) -> None:
        """Train what is trained along, once the gradients of the ladder are there."""
        if self.critic is not None:
            self.critic.learn(decoded, x, step)


def _alignment(ladder: Ladder, config: AlignmentConfig) -> FeatureAlignment:
    if config.level >= len(ladder.levels):
        raise ValueError(
            f"alignment.level is {config.level}; this model has levels 0 to "
            f"{len(ladder.levels) - 1}"
        )
    features = PerceptualLoss(config.backbone, config.weights, (config.layer,))
    stride = ladder.levels[config.level].stride
    return FeatureAlignment(features, ladder.config.axes, stride, config.margin)
