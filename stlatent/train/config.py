"""Everything that defines a training run; its YAML file and its resumed state hold the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from ..losses.elbo import LossConfig, RateConfig, Share
from ..media.registry import media, medium_of
from ..media.training import Count, DataConfig, Rate
from ..model.config import ModelConfig, Positive, Strict
from .extras import AdversarialConfig, AlignmentConfig, PerceptualConfig


class OptimiserConfig(Strict):
    """AdamW with a cosine schedule.

    Attributes:
        lr: peak learning rate.
        warmup_steps: of linear growth up to the peak.
        final: learning rate at the end, relative to the peak.
        betas, weight_decay: of AdamW.
        clip: largest gradient norm; longer gradients are shortened.
        skip: a step is skipped if its gradient norm is so many times the running mean, or not
            finite. The mean follows, so that training cannot lock itself out.
        ema: decay of the averaged weights, which are the ones that are kept and measured.
        accumulate: batches per step.
    """

    lr: Rate = 2e-3
    warmup_steps: Count = 100
    final: Share = 0.02
    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Rate = 1.0
    skip: Annotated[float, Field(gt=1)] = 10.0
    ema: Share = 0.999
    accumulate: Positive = 1


class Run(Strict):
    """A training run, whatever it trains: `stlatent train CONFIG.yaml key.sub=value ...`.

    Attributes:
        out: folder of the run; the same command resumes it.
        seed: of weights, order and noise: the same one gives the same run.
        steps, minutes: the run ends at whichever comes first; the schedule follows it.
        precision: `fp32`, `bf16` or `fp16` (autocast; likelihoods and KL stay in float32).
        log_every: steps between two lines of metrics.
        save_every: steps between checkpoints and measurements.
        tracker: any tracker of accelerate by name, besides `metrics.jsonl`.
    """

    out: Path
    seed: Count = 0
    steps: Positive = 100_000
    minutes: Rate | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    log_every: Positive = 20
    save_every: Positive = 500
    tracker: str | None = "tensorboard"

    @field_validator("out", mode="before")
    @classmethod
    def _of_this_machine(cls, out: Any) -> Any:
        if isinstance(out, str) and "://" in out:
            raise ValueError("a run lies in a folder of this machine; give one, not a URL")
        return out


class RunConfig(Run):
    """Training of an autoencoder.

    Attributes:
        model: what is trained.
        data: of the kind that the model's medium asks for.
        loss: weights of its terms.
        optimiser: and its schedule.
        perceptual, adversarial, alignment: optional terms of the loss.
        start: weights to start from, a run folder or a model file, instead of random ones.
        only_recall: train what the priors remember alone, by the rate; all else stays as it is in
            `start`, which may be a model whose priors remember nothing yet. See `train/recall.py`.
        only_decoder: train the decoder alone, that of the foundation where there is one; all else,
            and so all latents, stay as they are in `start`. See `train/decoder.py`.
    """

    model: ModelConfig
    data: SerializeAsAny[DataConfig]
    loss: LossConfig = LossConfig()
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None
    alignment: AlignmentConfig | None = None
    optimiser: OptimiserConfig = OptimiserConfig()
    start: Path | None = None
    only_recall: bool = False
    only_decoder: bool = False

    @model_validator(mode="before")
    @classmethod
    def _foundation_in_short(cls, values: Any) -> Any:
        """`subfolder` alone is that of `model.foundation`, as in diffusers, which may be a path."""
        match values:
            case {"subfolder": subfolder, "model": {"foundation": found, **model}, **rest}:
                found = {"path": found} if isinstance(found, str) else dict(found or {})
                return {**rest, "model": {**model, "foundation": found | {"subfolder": subfolder}}}
        return values

    @model_validator(mode="after")
    def _terms_of_the_model(self) -> RunConfig:
        """Refuse terms of the loss that this model does not have."""
        model, loss = self.model, self.loss
        given = {
            "perceptual": self.perceptual,
            "alignment": self.alignment,
            "adversarial": self.adversarial,
            "loss.equivariance": loss.equivariance,
            "loss.spectral": loss.spectral,
            "loss.pixels": loss.pixels,
            "loss.prefix.blurred": loss.prefix.blurred,
        }
        features, both = {"perceptual", "alignment"}, {"adversarial", "loss.equivariance"}
        below = {"loss.pixels", "loss.prefix.blurred"}
        reads = "compares what is decoded with what was read, and a model"
        without = f"compares features of pictures, and a model of domain '{model.domain}' has none"
        for here, terms, why in (
            (not model.axes.pictures, features, without),
            (model.field, both, f"{reads} with a `field` decodes to planes"),
            (model.axes.sparse, both | below | {"loss.spectral"}, "is for whole grids of values"),
            (
                model.foundation,
                both | {"perceptual"},
                f"{reads} on a `foundation` decodes to latents",
            ),
            (not model.foundation, below, "is for a model on a `foundation`"),
        ):
            if here and (found := [name for name in given if name in terms and given[name]]):
                raise ValueError(f"{found[0]} {why}; leave it out")
        return self

    @model_validator(mode="after")
    def _heads_of_previews(self) -> RunConfig:
        if self.loss.prefix.preview and not self.model.previews:
            raise ValueError(
                f"loss.prefix.preview is {self.loss.prefix.preview}, and the model has no heads to "
                f"train by it: give loss.prefix.preview=0 or model.previews=true"
            )
        return self

    @model_validator(mode="after")
    def _one_price(self) -> RunConfig:
        """A model for a range of prices is told the price by which it is judged."""
        usual = RateConfig().weight
        terms = {"loss.rate.weight": self.loss.rate.weight != usual}
        terms |= {"loss.equivariance": self.loss.equivariance > 0}
        if self.model.rate and (given := [term for term in terms if terms[term]]):
            raise ValueError(
                f"{given[0]} is for a model for one price of the rate, and model.rate has a range, "
                f"{list(self.model.rate.range)}; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _recall_of_a_model(self) -> RunConfig:
        if self.only_recall and not (self.start and self.model.recall):
            raise ValueError(
                f"only_recall trains what the priors of a trained model remember, but start is "
                f"{self.start} and model.recall is {self.model.recall}: give both"
            )
        return self

    @model_validator(mode="after")
    def _decoder_of_a_model(self) -> RunConfig:
        if not self.only_decoder:
            return self
        model, found = self.model, self.model.foundation
        asked = {"start": self.start, "only_recall=false": not self.only_recall}
        if found:
            asked["loss.pixels"] = self.loss.pixels
            asked["model.foundation.dtype=float32"] = found.dtype == "float32"
        elif model.exact or model.axes.sparse or model.field:
            raise ValueError(
                "only_decoder trains what no latent depends on; the finest latents of an exact or "
                "a sparse model depend on all of it, and of a `field`, it is not the ladder's"
            )
        if missing := [name for name, value in asked.items() if not value]:
            raise ValueError(
                "only_decoder trains the decoder of a trained model"
                f"{', by pixels' if found else ''}: give {' and '.join(missing)}"
            )
        return self

    @field_validator("data", mode="wrap")
    @classmethod
    def _of_the_medium(cls, value: Any, _: Any, info: ValidationInfo) -> DataConfig:
        if "model" not in info.data:
            raise ValueError("cannot be read before `model` is right")
        model = info.data["model"]
        medium = medium_of(model)
        given = value if isinstance(value, Mapping) else value.model_dump(exclude_defaults=True)
        others = set().union(*(other.data.model_fields for other in media()))
        if foreign := sorted((set(given) & others) - set(medium.data.model_fields)):
            raise ValueError(
                f"data.{foreign[0]} does not go with a model of domain '{model.domain}', "
                f"whose data have {', '.join(medium.data.model_fields)}"
            )
        data = medium.data.model_validate(value)
        medium.check_data(data)
        return data
