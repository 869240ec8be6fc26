"""A ladder as the autoencoder of a pipeline of `diffusers`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from pydantic import Field
from torch import Tensor, nn

from ..foundation.autoencoder import FoundationAutoencoder
from ..foundation.frozen import FrozenAutoencoder
from ..foundation.opening import check_named, empty_foundation
from ..model.around import ladder_in
from ..model.config import ModelConfig, Positive, Strict, parse
from ..model.inputs import as_level
from ..model.ladder import Ladder
from ..model.torch_modules import open_up, opened
from ..triplane.autoencoder import make_ladder
from .drawing import Drawing
from .loading import Reloaded
from .noise import Generators
from .packing import packing_of
from .pipeline_names import ATTRIBUTES, pipeline_names
from .posterior import LadderEncoderOutput, LadderPosterior

BLOCKS = ["ConvNext", "Nvae", "Vdvae", "Attention"]
Frames = Literal["pad", "floor"]
PADDED = (
    "of {frames} frames the last is repeated, to fill latents of {stride} frames each; pipelines "
    "that count (frames - 1) // {stride} + 1 of them fail then: give 1 + k * {stride} frames, or "
    "export with frames='floor', which leaves out the last ones"
)


class Exported(Strict):
    """What `config.json` says for the constructor of `AutoencoderLadder`.

    Attributes:
        model: the config of the ladder, as in `ModelConfig`.
        levels: how many are packed, from the coarsest on.
        measured_mean, measured_std: of every channel of these levels, over data.
        foundation: config of the autoencoder that the ladder stands on, whose weights lie beside
            the ladder's.
        frames: what becomes of those that fill no step of latents.
        grid: stride of the packed latents.
        least_channels: of the packed latents.
    """

    model: dict[str, Any]
    levels: Positive
    measured_mean: tuple[float, ...]
    measured_std: tuple[float, ...]
    frames: Frames = "pad"
    grid: tuple[Positive, ...] | None = None
    least_channels: Annotated[int, Field(ge=0)] = 0
    foundation: dict[str, Any] | None = None


class AutoencoderLadder(ModelMixin, Drawing, Reloaded, PeftAdapterMixin):
    """The first levels of a ladder as one normalised tensor `[B, C, *grid]`, see
    `model/packing.py`.

    Where these are not all levels, decoding takes the finer ones from the ladder's own prior: its
    mean, or draws from it after `enable_prior_sampling`.

    Args:
        model: the config of the ladder, as in `ModelConfig`.
        levels: how many are packed, from the coarsest on.
        measured_mean, measured_std: of every channel of these levels, over data.
        frames: of a video whose last ones fill no step of latents: `pad` repeats the last one, so
            that none is lost; `floor` leaves them out, as most autoencoders of `diffusers` do.
        grid: stride of the packed latents, which divides that of level 0; None is that of level 0.
        least_channels: of the packed latents; those that no level needs hold zeros.
        foundation: where the ladder stands on another autoencoder, the config of that, if its
            weights lie beside the ladder's; None opens it where `model` says that it is.

    `config` also holds every name that pipelines look up, see pipeline_names.py.

    Raises:
        ValueError: these do not fit each other.
    """

    loader, settings = "autoencoder_ladder", Exported
    _supports_gradient_checkpointing = True
    _no_split_modules = _repeated_blocks = BLOCKS

    @register_to_config
    def __init__(
        self,
        model: Mapping[str, Any],
        levels: int,
        measured_mean: Sequence[float],
        measured_std: Sequence[float],
        frames: Frames = "pad",
        grid: Sequence[int] | None = None,
        least_channels: int = 0,
        foundation: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if frames not in get_args(Frames):
            raise ValueError(f"frames is '{frames}'; give {' or '.join(get_args(Frames))}")
        config = parse(ModelConfig, model, "model")
        self.frozen = None if foundation is None else empty_foundation(foundation)
        self.ladder = _ladder(config, self.frozen)
        self.packing = packing_of(
            self.ladder, levels, measured_mean, measured_std, grid, least_channels
        )
        open_up(ladder_in(self.ladder))
        self.requires_grad_()
        names = pipeline_names(self.ladder, self.packing)
        names["auto_map"] = self.auto_map()
        self.register_to_config(**names)
        for name in ATTRIBUTES & {*names}:
            setattr(self, name, names[name])
        self._start_whole()
        self._start_certain()

    def requires_grad_(self, requires_grad: bool = True) -> AutoencoderLadder:
        """As of any module, but never of weights that encoding and decoding learn nothing from: a
        trainer on several processes waits for the gradient of each that is to have one."""
        super().requires_grad_(requires_grad)
        finer = [c.posterior for cells in self.ladder.cells[self.config.levels :] for c in cells]
        for module in (ladder_in(self.ladder).preview, *finer, self.frozen or nn.Identity()):
            module.requires_grad_(False)
        return self

    def enable_group_offload(
        self,
        onload_device: torch.device,
        offload_device: torch.device | str = "cpu",
        offload_type: str = "leaf_level",
        num_blocks_per_group: int | None = None,
        *more: Any,
        **named: Any,
    ) -> None:
        """Offload the weights layer by layer, whatever kind of group is asked for: a ladder is no
        row of blocks that are called one after the other."""
        args = onload_device, torch.device(offload_device), "leaf_level", None, *more
        super().enable_group_offload(*args, **named)

    def _fix_state_dict_keys_on_load(self, state_dict: dict[str, Tensor]) -> None:
        """Folders of former versions hold the tensors of a ladder as it is trained."""
        super()._fix_state_dict_keys_on_load(state_dict)
        start = "ladder."
        ladder = {k.removeprefix(start): v for k, v in state_dict.items() if k.startswith(start)}
        if len(ladder) == len(state_dict):
            state_dict.clear()
            state_dict.update({start + k: v for k, v in opened(ladder, self.ladder).items()})

    @property
    def latents_mean(self) -> Tensor:
        return torch.tensor(self.config.latents_mean, device=self.device)

    @property
    def latents_std(self) -> Tensor:
        return torch.tensor(self.config.latents_std, device=self.device)

    # the two ways -------------------------------------------------------------------------------

    @apply_forward_hook
    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> LadderEncoderOutput | tuple[LadderPosterior]:
        """The posterior of the latents of `x` `[B, C, *axes]` in [-1, 1], of any size.

        Raises:
            ValueError: `x` has not the axes or channels of this model, or not its values, see
                `model/inputs.py`.
        """
        floats = torch.is_tensor(x) and x.is_floating_point()
        dtype, x = x.dtype if floats else self.dtype, self.ladder.as_input(x)
        x = self._whole_steps(x)
        mean, logvar = self._moments(x, None).chunk(2, 1)
        posterior = LadderPosterior(
            mean, logvar, self.packing, lambda g: self._draw(x, g), tuple(x.shape[2:]), dtype
        )
        return LadderEncoderOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(
        self,
        z: Tensor,
        temb: None = None,
        return_dict: bool = True,
        generator: Generators = None,
        size: Sequence[int] | None = None,
    ) -> DecoderOutput | tuple[Tensor]:
        """Packed latents `[B, C, *grid]` -> `[B, C, *axes]`, in the dtype of `z`.

        Args:
            temb: some pipelines hand over a timestep; this decoder takes none.
            generator: of the drawn levels, see `enable_prior_sampling`; one, or one per sample.
            size: of the axes to come out, such as a posterior's `size`; by default all that the
                latents cover, which is the size encoded, rounded up to whole latents.

        Raises:
            ValueError: latents of another number of channels, a timestep, or a size they do not
                cover.
        """
        if temb is not None:
            raise ValueError("a timestep is given, but this decoder is not conditioned on one")
        stride, domain = self.packing.stride, self.ladder.domain
        shape = (None, self.config.latent_channels, *[None] * len(stride))
        z = as_level(z, "latent", shape, self.ladder.top)
        if size is not None and self.packing.grid(size) != tuple(z.shape[2:]):
            raise ValueError(
                f"size is {list(size)}, but the latents have a grid of {list(z.shape[2:])} at "
                f"stride {list(stride)}"
            )
        covered = domain.samples(z.shape[2:], stride)
        x = self._decoded(self.packing.completed(z), generator).to(z.dtype)
        x = domain.crop(x, covered if size is None else size)
        return DecoderOutput(sample=x) if return_dict else (x,)

    def forward(
        self,
        sample: Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: Generators = None,
    ) -> DecoderOutput | tuple[Tensor]:
        """Encode and decode; what comes out has the size of what went in."""
        posterior = self.encode(sample).latent_dist
        z = posterior.sample(generator) if sample_posterior else posterior.mode()
        return self.decode(z, return_dict=return_dict, size=posterior.size)

    # how ----------------------------------------------------------------------------------------

    def _whole_steps(self, x: Tensor) -> Tensor:
        """`x` with the frames that are encoded: without those that fill no step, if it is so."""
        domain = self.ladder.domain
        frames, stride = domain.of_time(x.shape[2:]), domain.of_time(self.packing.stride)
        surplus = (frames - 1) % stride
        if surplus and self.config.frames == "floor":
            return domain.steps(x, 0, frames - surplus)
        if surplus:
            warnings.warn(PADDED.format(frames=frames, stride=stride), stacklevel=4)
        return x


def _ladder(config: ModelConfig, foundation: nn.Module | None) -> Ladder:
    if config.foundation is None:
        return make_ladder(config)
    if foundation is None:
        check_named(config.foundation, "config.json")
        return FoundationAutoencoder(config)
    return FoundationAutoencoder(config, FrozenAutoencoder(foundation, known=config.foundation))


AutoencoderLadder.__module__ = "stlatent"  # pipelines note it down, and load it after that import
