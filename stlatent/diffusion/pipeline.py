"""A trained latent diffusion model with its ladder: conditions in, samples out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..export.posterior import Generators
from ..files import writing
from ..media.registry import medium_of
from ..shipped import locate_pipeline
from ..sparse.blocks import Blocks
from .context import Context
from .corruption import Scheduler, generator_on
from .denoiser import LadderDenoiser
from .output import LadderPipelineOutput
from .similar import Similar
from .sparse import Autoencoder
from .text import embed, words

Steps = int | Sequence[int]
Asked = int | str | Sequence[int] | Sequence[str] | Tensor | None


class LadderPipeline(DiffusionPipeline):
    """Samples the first levels of a ladder stage by stage, and decodes them.

    Levels that no stage makes come from the ladder's own prior: its mean, or draws from it after
    `pipeline.vae.enable_prior_sampling()`.

    Args:
        vae: the ladder, with as many levels as the stages make; holds their statistics.
        denoiser: one network per stage.
        scheduler: `FlowMatchEulerDiscreteScheduler`, or any that predicts as in training.

    Raises:
        ValueError: the denoiser makes other levels than the vae decodes.
    """

    model_cpu_offload_seq = "denoiser->vae"
    _callback_tensor_inputs = ("latents",)

    def __init__(self, vae: Autoencoder, denoiser: LadderDenoiser, scheduler: Scheduler) -> None:
        super().__init__()
        if list(denoiser.channels) != vae.packing.level_channels:
            raise ValueError(
                f"the denoiser makes levels of {list(denoiser.channels)} channels; the vae decodes "
                f"{vae.packing.level_channels}: export as many levels as the stages make"
            )
        self.register_modules(vae=vae, denoiser=denoiser, scheduler=scheduler)
        self._guidance_scale, self._num_timesteps, self._interrupt = 1.0, 0, False

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Over all stages."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `pipeline._interrupt = True` in a callback to leave out the steps that remain."""
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        condition: Asked = None,
        batch_size: int = 1,
        size: Sequence[int] | None = None,
        windows: int = 1,
        num_inference_steps: Steps = 25,
        guidance_scale: float = 1.0,
        augmentation: float = 0.1,
        generator: Generators = None,
        similar_to: Tensor | Blocks | None = None,
        levels: int | None = None,
        strength: float = 0.5,
        output_type: str | None = None,
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LadderPipelineOutput | tuple:
        """Draw samples.

        Args:
            condition: classes by number or name, texts or embeddings `[B, D]`, one per sample; a
                single one is meant for all. None for no condition.
            batch_size: how many samples, where the condition does not say.
            size: of their axes, such as (17, 256, 256); by default as in training.
            windows: how many stretches of that length a video is to have, one after the other, each
                given what came before it: level by level, the coarse ones from further back.
            num_inference_steps: evaluations of the denoiser per stage; one number, or one each.
            guidance_scale: how far to go beyond what the condition changes (Ho & Salimans 2022);
                1 is the model itself, anything else evaluates it twice per step.
            augmentation: deviation of the noise on the levels that a stage is given, 0 to 1.
            generator: one, or one per sample.
            similar_to: a sample as the ladder reads it, `[B, C, *axes]` in [-1, 1] or, of a sparse
                ladder, blocks: one for all, or one each. Draws are near it.
            levels: of so many levels, coarsest first; by default those of the first stage.
            strength: how far from it, 0 to 1: so much of the schedule is gone through, as in
                pipelines of diffusers that begin with an image.
            output_type: `pil`, a picture or a list of frames per sample, the default for image and
                video; `mesh`, a `trimesh.Trimesh` per sample, the default for shapes; `pt`,
                `[B, C, *axes]` in [-1, 1]; `latent`, whitened latents per level, as the ladder has
                them.
            callback_on_step_end: called as `(pipeline, step, timestep, {"latents": ...})` after
                every step, counted over all of them; may return other latents under the same name.

        Raises:
            ValueError: a wrong condition, size, number of steps, levels, strength or output type.
        """
        condition, count = self._condition(condition, batch_size)
        size = tuple(size or self.denoiser.config.size)
        steps = self._steps(num_inference_steps)
        kind = self._output_type(output_type)
        self.denoiser.domain.check(size)
        self._check_windows(windows)
        similar = Similar()
        if similar_to is not None:
            self._check_similar(similar_to.shape, (count, *size), windows)
            x = similar_to.to(self._execution_device)
            similar = Similar.of(x, self.vae, self.denoiser, levels, strength)
        self._guidance_scale, self._interrupt = guidance_scale, False
        self._num_timesteps = windows * sum(map(similar.steps, range(len(steps)), steps))
        made: list[Tensor] = []
        number = itertools.count()
        with self.progress_bar(total=self._num_timesteps) as bar:

            def stepped(timestep: Tensor, z: Tensor) -> Tensor:
                bar.update()
                if callback_on_step_end is None:
                    return z
                asked = {name: {"latents": z}[name] for name in callback_on_step_end_tensor_inputs}
                changed = callback_on_step_end(self, next(number), timestep, asked)
                return (changed or {}).pop("latents", z)

            for _ in range(windows):
                past = self.denoiser.remembered(made, size, count)
                known = condition, past
                how = augmentation, generator, stepped
                window = self._window(size, count, steps, similar, known, *how)
                made = self._joined(made, window)
        frames = self._finish(made, size if windows == 1 else None, kind, generator)
        self.maybe_free_model_hooks()
        return LadderPipelineOutput(frames=frames) if return_dict else (frames,)

    def _window(
        self,
        size: tuple[int, ...],
        count: int,
        steps: Sequence[int],
        similar: Similar,
        known: tuple[Tensor | None, Context | None],
        augmentation: float,
        generator: Generators,
        stepped: Callable[[Tensor, Tensor], Tensor],
    ) -> list[Tensor]:
        """The levels of one window, stage by stage; `known`: condition and past."""
        made: list[Tensor] = []
        for stage, number in enumerate(steps):
            z = self._noise((count, *self.denoiser.latent_shape(stage, size)), generator)
            given = self._given(stage, made, augmentation, generator)
            start = similar.start(self.scheduler, stage, number, z)
            z = self._denoise(start, stage, (given, *known), generator, stepped)
            made += self.denoiser.unfold(stage, z)
        return made

    def _denoise(
        self,
        start: tuple[Tensor, Tensor],
        stage: int,
        known: tuple[Tensor | None, Tensor | None, Context | None],
        generator: Generators,
        stepped: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """The folded latents of one stage; `start`: timesteps, and what is there at the first of
        them; `known`: coarser levels, condition, past."""
        (timesteps, z), (given, condition, past) = start, known
        scale, scheduler = self.guidance_scale, self.scheduler
        for timestep in timesteps:
            if self.interrupt:
                break
            scaled = getattr(scheduler, "scale_model_input", lambda z, timestep: z)
            x, times = scaled(z, timestep), timestep.expand(len(z))
            said = self.denoiser(x, times, stage, given, condition, past=past).sample
            if condition is not None and scale != 1:
                free = self.denoiser(x, times, stage, given, past=past).sample
                said = free + scale * (said - free)
            z = scheduler.step(said, timestep, z, generator=generator, return_dict=False)[0]
            z = stepped(timestep, z)
        return z

    def _joined(self, made: Sequence[Tensor], window: Sequence[Tensor]) -> list[Tensor]:
        """What was made so far, and the window that comes after it."""
        if not made:
            return list(self.denoiser.trimmed(window))
        return [self.denoiser.domain.joined(pair) for pair in zip(made, window, strict=True)]

    def _finish(
        self,
        levels: Sequence[Tensor],
        size: tuple[int, ...] | None,
        kind: str,
        generator: Generators,
    ) -> Any:
        if kind == "latent":
            return tuple(levels)
        packed = self.vae.packing.fold(levels)
        x = self.vae.decode(packed, generator=generator, size=size, return_dict=False)[0]
        if kind == "pt":
            return x
        return medium_of(self.vae.ladder).objects(self.vae.ladder, x)

    def _given(
        self, stage: int, levels: Sequence[Tensor], augmentation: float, generator: Generators
    ) -> Tensor | None:
        """One sample at a time where each has a generator of its own."""
        if not stage:
            return None
        device = self._execution_device
        if not isinstance(generator, Sequence):
            amount = torch.full((len(levels[0]),), augmentation, device=device)
            return self.denoiser.given(stage, levels, amount, generator_on(device, generator))
        amount = torch.full((1,), augmentation, device=device)
        each = (
            self.denoiser.given(stage, one, amount, generator_on(device, g))
            for *one, g in zip(*(z.split(1) for z in levels), generator, strict=True)
        )
        return torch.cat(list(each))

    def _noise(self, shape: tuple[int, ...], generator: Generators) -> Tensor:
        if isinstance(generator, Sequence) and len(generator) != shape[0]:
            raise ValueError(f"{len(generator)} generators are given for {shape[0]} samples")
        generator = list(generator) if isinstance(generator, Sequence) else generator
        return randn_tensor(shape, generator, self._execution_device, self.denoiser.dtype)

    # checks -------------------------------------------------------------------------------------

    def check_condition(self, condition: Asked) -> None:
        """Raise ValueError unless samples can be asked for like this."""
        self._condition(condition, 1)

    def _condition(self, condition: Asked, batch: int) -> tuple[Tensor | None, int]:
        if condition is None:
            return None, batch
        if texts := words(condition):
            kinds = self.denoiser.condition
            read = torch.tensor(kinds.numbers(texts)) if kinds.names else self._embedded(texts)
            condition = read.squeeze(0)
        given = torch.as_tensor(condition, device=self._execution_device)
        single = 1 if self.denoiser.condition.embedding else 0
        if given.ndim == single:
            given = given.expand(batch, *given.shape)
        self.denoiser.check_condition(given, len(given))
        return given, len(given)

    def _embedded(self, texts: Sequence[str]) -> Tensor:
        """By the encoder that the model was trained with."""
        encoder = self.denoiser.condition.encoder
        if encoder is None:
            raise ValueError("this model has no text encoder and no names of classes; give numbers")
        return embed(texts, encoder)

    def _steps(self, steps: Steps) -> list[int]:
        stages = len(self.denoiser.stages)
        found = [steps] * stages if isinstance(steps, int) else list(steps)
        if len(found) != stages or min(found) < 1:
            raise ValueError(
                f"num_inference_steps is {steps}; give one number from 1 on, or {stages}, one per "
                f"stage"
            )
        return found

    def _check_similar(self, given: Sequence[int], wanted: Sequence[int], windows: int) -> None:
        if windows > 1:
            raise ValueError(f"windows is {windows}; what is similar to a sample is 1 window long")
        if (*given[2:],) != (*wanted[1:],) or given[0] not in (1, wanted[0]):
            raise ValueError(
                f"similar_to is of size {list(given)}; {wanted[0]} samples of size "
                f"{list(wanted[1:])} are to be drawn"
            )

    def _check_windows(self, windows: int) -> None:
        if windows < 1:
            raise ValueError(f"windows is {windows}; give 1 or more")
        if windows > 1 and not self.denoiser.config.past:
            raise ValueError(
                f"windows is {windows}; this model makes 1, since it was trained without a past"
            )

    def _output_type(self, kind: str | None) -> str:
        shown = medium_of(self.vae.ladder).object_type
        legal = list(dict.fromkeys((shown, "pt", "latent")))
        if kind not in (None, *legal):
            raise ValueError(
                f"output_type is '{kind}'; of domain '{self.denoiser.domain.name}' give "
                f"{' or '.join(legal)}"
            )
        return kind or shown

    @classmethod
    def from_pretrained(cls, reference: str | Path, **options: Any) -> LadderPipeline:
        """As in diffusers; `reference` can also be the name of a pipeline that ships, `moving`."""
        return super().from_pretrained(locate_pipeline(reference) or reference, **options)

    def write(self, out: str | Path) -> None:
        """`save_pretrained`, but whatever lies at `out` stays until all is written."""
        with writing(out) as folder:
            self.save_pretrained(folder)


LadderPipeline.__module__ = "stlatent"
