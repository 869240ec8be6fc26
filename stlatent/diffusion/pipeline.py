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
from tqdm import tqdm

from ..export.posterior import Generators
from ..files import writing
from ..media.registry import medium_of
from ..shipped import locate_pipeline
from ..sparse.blocks import Blocks
from .asked import (
    Asked,
    Call,
    Steps,
    check_augmentation,
    check_callback,
    check_generators,
    check_similar,
    check_windows,
    read_condition,
    read_output_type,
    read_steps,
    read_tries,
)
from .context import Context
from .corruption import Scheduler, generator_on
from .denoiser import LadderDenoiser
from .likeliest import Draws, of_each
from .loss import surprise
from .output import LadderPipelineOutput
from .similar import Similar
from .sparse import Autoencoder


class LadderPipeline(DiffusionPipeline):
    """Samples the first levels of a ladder stage by stage, and decodes them.

    Levels that no stage makes come from the ladder's own prior: its mean, or draws from it after
    `pipeline.vae.enable_prior_sampling()`.

    Args:
        vae: the ladder, with as many levels as the stages make; holds their statistics.
        denoiser: one network per stage.
        scheduler: `FlowMatchEulerDiscreteScheduler`, or any that predicts as in training.
        num_inference_steps, guidance_scale, tries: of a call that does not say.

    Raises:
        ValueError: the denoiser makes other levels than the vae decodes.
    """

    model_cpu_offload_seq = "denoiser->vae"
    _callback_tensor_inputs = ("latents",)

    def __init__(
        self,
        vae: Autoencoder,
        denoiser: LadderDenoiser,
        scheduler: Scheduler,
        num_inference_steps: int = 25,
        guidance_scale: float = 1.0,
        tries: int = 1,
    ) -> None:
        super().__init__()
        if list(denoiser.channels) != vae.packing.level_channels:
            raise ValueError(
                f"the denoiser makes levels of {list(denoiser.channels)} channels; the vae decodes "
                f"{vae.packing.level_channels}: export as many levels as the stages make"
            )
        self.register_modules(vae=vae, denoiser=denoiser, scheduler=scheduler)
        self.register_to_config(
            num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, tries=tries
        )
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
        num_inference_steps: Steps | None = None,
        guidance_scale: float | None = None,
        tries: int | None = None,
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
                None for the pipeline's own, as for guidance_scale and tries.
            guidance_scale: how far to go beyond what the condition changes (Ho & Salimans 2022);
                1 is the model itself, anything else evaluates it twice per step.
            tries: draws of each sample, all in one batch. Taken is the one that surprises the
                denoiser least (`surprise` in `loss.py`); of shapes, the first in that order that is
                whole, unless latents are asked for.
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
                every step, counted over all of them, with every draw of each sample; may return
                other latents under the same name.

        Raises:
            ValueError: a wrong condition, size, number of steps or tries, augmentation, levels,
                strength or output type, or a callback is to be given what there is not.
        """
        device = self._execution_device
        condition, count = read_condition(self.denoiser, condition, batch_size, device)
        size = tuple(size or self.denoiser.config.size)
        usual = self.config
        steps = usual.num_inference_steps if num_inference_steps is None else num_inference_steps
        steps = read_steps(steps, len(self.denoiser.stages))
        kind = read_output_type(output_type, self.vae.ladder)
        self.denoiser.domain.check(size)
        check_windows(windows, bool(self.denoiser.config.past))
        tries = read_tries(tries, usual.tries, windows)
        check_augmentation(augmentation)
        check_generators(generator, count)
        check_callback(callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        similar = Similar()
        if similar_to is not None:
            check_similar(similar_to.shape, (count, *size), windows)
            x = similar_to.to(device)
            similar = Similar.of(x, self.vae, self.denoiser, levels, strength).of_each(tries)
        self._guidance_scale = usual.guidance_scale if guidance_scale is None else guidance_scale
        self._interrupt = False
        self._num_timesteps = windows * sum(map(similar.steps, range(len(steps)), steps))
        condition, noise = of_each(condition, tries), of_each(generator, tries)
        made: list[Tensor] = []
        with self.progress_bar(total=self._num_timesteps) as bar:
            stepped = self._stepped(bar, callback_on_step_end, callback_on_step_end_tensor_inputs)
            call = Call(steps, condition, augmentation, noise, similar, stepped)
            for _ in range(windows):
                past = self.denoiser.remembered(made, size, count * tries)
                window = self._window(size, count * tries, call, past)
                made = self._joined(made, window)
        found = Draws.once(made)
        if tries > 1:
            unlikely = surprise(self.denoiser, self.scheduler, window, condition, size)
            found = Draws.ranked(made, unlikely, tries)
        frames = self._finish(found, size if windows == 1 else None, kind, generator)
        self.maybe_free_model_hooks()
        return LadderPipelineOutput(frames=frames) if return_dict else (frames,)

    def _stepped(
        self, bar: tqdm, callback: Callable[..., dict[str, Any]] | None, inputs: Sequence[str]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """What happens after every step: the bar moves, and a callback may change the latents."""
        number = itertools.count()

        def stepped(timestep: Tensor, z: Tensor) -> Tensor:
            bar.update()
            if callback is None:
                return z
            wanted = {name: {"latents": z}[name] for name in inputs}
            return (callback(self, next(number), timestep, wanted) or {}).pop("latents", z)

        return stepped

    def _window(
        self, size: tuple[int, ...], count: int, call: Call, past: Context | None
    ) -> list[Tensor]:
        """The levels `[count, C_l, *grid_l]` of one window, stage by stage."""
        made: list[Tensor] = []
        for stage, steps in enumerate(call.steps):
            noise = self._noise((count, *self.denoiser.latent_shape(stage, size)), call.generator)
            given = self._given(stage, made, call.augmentation, call.generator)
            timesteps, z = call.similar.start(self.scheduler, stage, steps, noise)
            z = self._denoise(stage, timesteps, z, call, given, past)
            made += self.denoiser.unfold(stage, z)
        return made

    def _denoise(
        self,
        stage: int,
        timesteps: Tensor,
        z: Tensor,
        call: Call,
        given: Tensor | None,
        past: Context | None,
    ) -> Tensor:
        """The folded latents `[B, C, *grid]` of one stage, from what is there at the first timestep
        on; `given`: the coarser levels."""
        condition, scale, scheduler = call.condition, self.guidance_scale, self.scheduler
        for timestep in timesteps:
            if self.interrupt:
                break
            scaled = getattr(scheduler, "scale_model_input", lambda z, timestep: z)
            x, times = scaled(z, timestep), timestep.expand(len(z))
            said = self.denoiser(x, times, stage, given, condition, past=past).sample
            if condition is not None and scale != 1:
                free = self.denoiser(x, times, stage, given, past=past).sample
                said = free + scale * (said - free)
            z = scheduler.step(said, timestep, z, generator=call.generator, return_dict=False)[0]
            z = call.stepped(timestep, z)
        return z

    def _joined(self, made: Sequence[Tensor], window: Sequence[Tensor]) -> list[Tensor]:
        """What was made so far, and the window that comes after it."""
        if not made:
            return list(self.denoiser.trimmed(window))
        return [self.denoiser.domain.joined(pair) for pair in zip(made, window, strict=True)]

    def _finish(
        self, draws: Draws, size: tuple[int, ...] | None, kind: str, generator: Generators
    ) -> Any:
        if kind == "latent":
            return draws.likeliest
        x = draws.decoded(self.vae, size, generator)
        return x if kind == "pt" else medium_of(self.vae.ladder).objects(self.vae.ladder, x)

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
        generator = list(generator) if isinstance(generator, Sequence) else generator
        return randn_tensor(shape, generator, self._execution_device, self.denoiser.dtype)

    def check_condition(self, condition: Asked) -> None:
        """Raise ValueError unless samples can be asked for like this."""
        read_condition(self.denoiser, condition, 1, self._execution_device)

    @classmethod
    def from_pretrained(cls, reference: str | Path, **options: Any) -> LadderPipeline:
        """As in diffusers; `reference` can also be the name of a pipeline that ships, `moving`."""
        return super().from_pretrained(locate_pipeline(reference) or reference, **options)

    def write(self, out: str | Path) -> None:
        """`save_pretrained`, but whatever lies at `out` stays until all is written."""
        with writing(out) as folder:
            self.save_pretrained(folder)


LadderPipeline.__module__ = "stlatent"
