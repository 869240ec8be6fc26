"""A ladder as the autoencoder of a pipeline of `diffusers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..checkpoint import replace_text
from ..foundation.frozen import register
from ..model import choose as choosing
from ..model.choose import Choose, Draw, Held
from ..model.config import ModelConfig, parse
from ..model.inputs import as_level
from ..model.passes import Encoded
from ..model.past import Past
from ..model.stream import decode_chunk, encode_chunk, encode_end
from ..triplane.autoencoder import make_ladder
from .packing import packing_of
from .pipeline_names import ATTRIBUTES, pipeline_names, ratios
from .posterior import Generators, LadderPosterior, draw, log_vars
from .tiling import Tiles, parts

LOADER = "autoencoder_ladder"  # the file that `trust_remote_code=True` runs
LOADER_TEXT = """from stlatent import AutoencoderLadder

__all__ = ["AutoencoderLadder"]
"""


@register
class AutoencoderLadder(ModelMixin, AutoencoderMixin, ConfigMixin):
    """The first levels of a ladder as one normalised tensor `[B, C, *grid]`; see ../packing.py.

    Where these are not all levels, decoding takes the finer ones from the ladder's own prior: its
    mean, or draws from it after `enable_prior_sampling`.

    Args:
        model: the config of the ladder, as in `ModelConfig`.
        levels: how many are packed, from the coarsest on.
        measured_mean, measured_std: of every channel of these levels, over data.

    `config` also holds every name that pipelines look up, see pipeline_names.py.

    Raises:
        ValueError: these do not fit each other.
    """

    _no_split_modules = ["Ladder"]  # noqa: RUF012
    _supports_group_offloading = False  # the passes are methods, not modules

    @register_to_config
    def __init__(
        self,
        model: Mapping[str, Any],
        levels: int,
        measured_mean: Sequence[float],
        measured_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.ladder = make_ladder(parse(ModelConfig, model, "model"))
        self.packing = packing_of(self.ladder, levels, measured_mean, measured_std)
        names = pipeline_names(self.ladder, self.packing)
        names["auto_map"] = {"AutoModel": f"{LOADER}.{type(self).__name__}"}
        self.register_to_config(**names)
        for name in ATTRIBUTES & {*names}:
            setattr(self, name, names[name])
        self.use_slicing = self.use_tiling = self.use_prior_sampling = False
        self.tiles = Tiles.usual(*ratios(self.ladder))
        self.prior_temperature, self.prior_seed = 1.0, None

    @classmethod
    def extract_init_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> tuple:
        """Only what the constructor takes: the other names in `config.json` follow from it."""
        own = cls._get_init_keys(cls)
        kept = {k: v for k, v in config_dict.items() if k in own or k.startswith("_")}
        return super().extract_init_dict(kept, **kwargs)

    def save_config(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Also writes the file that `AutoModel` loads the class from."""
        super().save_config(save_directory, *args, **kwargs)
        replace_text(Path(save_directory) / f"{LOADER}.py", LOADER_TEXT)

    @property
    def latents_mean(self) -> Tensor:
        return torch.tensor(self.config.latents_mean, device=self.device)

    @property
    def latents_std(self) -> Tensor:
        return torch.tensor(self.config.latents_std, device=self.device)

    # switches -----------------------------------------------------------------------------------

    def enable_tiling(
        self,
        tile_sample_min_height: int | None = None,
        tile_sample_min_width: int | None = None,
        tile_sample_stride_height: int | None = None,
        tile_sample_stride_width: int | None = None,
        tile_sample_min_num_frames: int | None = None,
    ) -> None:
        """Encode and decode in tiles of so many pixels, and so many frames at a time.

        Time is exact, since the ladder streams; tiles of a picture are not quite, see
        `media/video/tiles.py`.
        What is not given stays as it is.

        Raises:
            ValueError: tiles that do not begin and end between latents.
            NotImplementedError: the domain has no pictures.
        """
        if not self.ladder.domain.pictures:
            raise NotImplementedError(
                f"tiles are made of pictures, and domain '{self.ladder.domain.name}' has none"
            )
        size = tile_sample_min_height, tile_sample_min_width
        stride = tile_sample_stride_height, tile_sample_stride_width
        tiles = self.tiles.but(size, stride, tile_sample_min_num_frames)
        tiles.check(*ratios(self.ladder))
        self.tiles, self.use_tiling = tiles, True

    def enable_prior_sampling(self, temperature: float = 1.0, seed: int | None = None) -> None:
        """Draw the levels that are not packed, where `decode` is not to take their mean.

        Args:
            temperature: scales the standard deviation of the priors.
            seed: of every `decode` that is given no generator; None is torch's global generator.

        Raises:
            ValueError: all levels are packed, or the temperature is negative or NaN.
        """
        if self.config.levels == len(self.ladder.levels):
            raise ValueError("all levels are packed, so there is none to draw; export fewer")
        Draw(temperature)
        self.use_prior_sampling = True
        self.prior_temperature, self.prior_seed = temperature, seed

    def disable_prior_sampling(self) -> None:
        """Take the prior's mean for the levels that are not packed."""
        self.use_prior_sampling = False

    # the two ways -------------------------------------------------------------------------------

    @apply_forward_hook
    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[LadderPosterior]:
        """The posterior of the latents of `x` `[B, C, *axes]` in [-1, 1], of any size.

        Raises:
            ValueError: `x` has not the axes or channels of this model, or not its values, see
                `model/inputs.py`.
        """
        floats = torch.is_tensor(x) and x.is_floating_point()
        dtype, x = x.dtype if floats else self.dtype, self.ladder.as_input(x)
        mean, logvar = self._moments(x, choosing.mean).chunk(2, 1)
        posterior = LadderPosterior(
            mean, logvar, self.packing, lambda g: self._draw(x, g), tuple(x.shape[2:]), dtype
        )
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

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
        stride = self.packing.stride
        shape = (None, self.config.latent_channels, *[None] * len(stride))
        z = as_level(z, "latent", shape, self.ladder.top)
        if size is not None and self.ladder.domain.shape(size, stride) != tuple(z.shape[2:]):
            raise ValueError(
                f"size is {list(size)}, but the latents have a grid of {list(z.shape[2:])} at "
                f"stride {list(stride)}"
            )
        if not self.use_prior_sampling:
            generator = None  # some pipelines always give theirs
        elif generator is None and self.prior_seed is not None:
            generator = torch.Generator(z.device).manual_seed(self.prior_seed)
        x = self._pixels(z, generator).to(z.dtype)
        x = x if size is None else self.ladder.domain.crop(x, size)
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

    @apply_forward_hook
    def _draw(self, x: Tensor, generator: Generators) -> Tensor:
        if isinstance(generator, Sequence):
            each = zip(x.split(1), generator, strict=True)
            return torch.cat([self._draw(one, g) for one, g in each])
        return self._moments(x, draw(generator, x.device)).chunk(2, 1)[0]

    def _moments(self, x: Tensor, choose: Choose) -> Tensor:
        """Packed latents as chosen, and their log-variances, side by side `[B, 2 C, *grid]`."""
        if self.use_slicing and len(x) > 1:
            return torch.cat([self._moments(one, choose) for one in x.split(1)])
        if not self.use_tiling:
            return self._encode(x, choose)
        space = self.spatial_compression_ratio
        tiling = self.tiles.over(x.shape[-2:], space)
        part = parts(self.ladder, choose, x.shape[2:], len(x))
        pieces = [self._encode(x[(..., *tile.slices)], part(tile)) for tile in tiling.tiles]
        codes = any(level.codebook for level in self.ladder.levels[: self.config.levels])
        return tiling.gather(pieces, (space, space), codes)

    def _pixels(self, z: Tensor, generator: Generators) -> Tensor:
        if isinstance(generator, Sequence):
            each = zip(z.split(1), generator, strict=True)
            return torch.cat([self._pixels(one, g) for one, g in each])
        if self.use_slicing and len(z) > 1:
            return torch.cat([self._pixels(one, generator) for one in z.split(1)])
        rest: Choose = choosing.mean
        if self.use_prior_sampling:
            rest = draw(generator, z.device, self.prior_temperature)
        if not self.use_tiling:
            return self._decode(z, rest)
        space, stride = self.spatial_compression_ratio, self.packing.stride
        size = self.ladder.domain.samples(z.shape[2:], stride)
        tiling = self.tiles.over(size[-2:], space)
        part = parts(self.ladder, rest, size, len(z), self.config.levels)
        cut = zip(tiling.tiles, tiling.split(z, (space, space)), strict=True)
        return tiling.join(self._decode(piece, part(tile)) for tile, piece in cut)

    def _encode(self, x: Tensor, choose: Choose) -> Tensor:
        if not self._in_chunks:
            return self._packed(self.ladder.encode(x, choose), False)
        state, pieces = None, []
        axes = self.ladder.domain
        for frames in axes.chunks(x, self.tiles.frames):
            started = state is not None
            encoded, state = encode_chunk(self.ladder, frames, state, choose)
            pieces.append(self._packed(encoded, started))
        pieces.append(self._packed(encode_end(self.ladder, state, choose)[0], True))
        return axes.joined(pieces)

    def _decode(self, z: Tensor, rest: Choose) -> Tensor:
        domain, stride = self.ladder.domain, self.packing.stride
        if not self._in_chunks:
            return self.decode_step(z, Past(), rest)
        size = domain.of_space(domain.samples(z.shape[2:], stride))
        state, pieces = None, []
        for part in domain.chunks(z, self.tiles.frames // domain.of_time(stride)):
            levels = self.packing.unpack(part, state is not None)
            frames, state = decode_chunk(self.ladder, levels, size, state, rest)
            pieces.append(frames)
        return domain.joined(pieces)

    def encode_step(
        self, x: Tensor, past: Past, choose: Choose = choosing.mean
    ) -> tuple[Tensor, Tensor]:
        """Packed latents of `x` as chosen, and their log-variances `[B, C, *grid]`.

        Args:
            past: of a stream, which `past.state` carries on; a new one for a whole input.
        """
        both = self._packed(self.ladder.encode(x, choose, past), past.started)
        return tuple(both.chunk(2, 1))

    def _packed(self, encoded: Encoded, started: bool) -> Tensor:
        """Latents and their log-variances, packed, side by side `[B, 2 C, *grid]`."""
        levels = self.config.levels
        latents = self.packing.pack(encoded.levels[:levels], started)
        return torch.cat(
            [latents, self.packing.pack_log_var(log_vars(encoded, levels), started)], 1
        )

    def decode_step(self, z: Tensor, past: Past, rest: Choose = choosing.mean) -> Tensor:
        """All that packed latents cover `[B, C, *axes]`; the levels they lack chosen by `rest`."""
        held = Held(dict(enumerate(self.packing.unpack(z, past.started))), rest)
        size = self.ladder.domain.samples(z.shape[2:], self.packing.stride, past.started)
        return self.ladder.generate(held, size, z.shape[0], past)

    @property
    def _in_chunks(self) -> bool:
        """Whether videos go through some frames at a time."""
        return self.use_tiling and self.ladder.domain.has_time


AutoencoderLadder.__module__ = "stlatent"  # pipelines note it down, and load it after that import
