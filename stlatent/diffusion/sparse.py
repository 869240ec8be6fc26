"""A sparse ladder as the autoencoder of a pipeline: its first levels on whole grids, as data sets
have them, marks among their channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from torch import Tensor

from ..checkpoint import load
from ..export.autoencoder import AutoencoderLadder
from ..export.loading import Checked
from ..export.noise import Generators, draw, one_each
from ..model import choose as choosing
from ..model.choose import Draw
from ..model.config import ModelConfig, Positive, Strict, parse
from ..model.packing import Packing
from ..shipped import FILE
from ..sparse.blocks import Blocks, joined
from ..sparse.choose import Ample
from ..sparse.ladder import SparseLadder
from ..store.stored import channels_of


class SparseSettings(Strict):
    """What `config.json` says for the constructor of `AutoencoderSparse`.

    Attributes:
        model: the config of the ladder, as in `ModelConfig`.
        levels: how many are packed, from the coarsest on.
        measured_mean, measured_std: of every channel of these levels, over the grids of data.
    """

    model: dict[str, Any]
    levels: Positive
    measured_mean: tuple[float, ...]
    measured_std: tuple[float, ...]


class AutoencoderSparse(ModelMixin, Checked):
    """Decodes the first levels of a sparse ladder from whole grids `[B, C, n, n, n]`; what no cell
    is at is left aside. Finer levels are those of the prior: its mean, or draws from it after
    `enable_prior_sampling`, and cells wherever there may be one.

    A folder without weights means the model that lies beside it, see `tools/ship_pipeline.py`.

    Args:
        model, levels, measured_mean, measured_std: see `SparseSettings`.

    Raises:
        ValueError: these do not fit each other.
    """

    settings = SparseSettings

    @register_to_config
    def __init__(
        self,
        model: Mapping[str, Any],
        levels: int,
        measured_mean: Sequence[float],
        measured_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.ladder = SparseLadder(parse(ModelConfig, model, "model"))
        strides = [level.stride for level in self.ladder.levels[:levels]]
        channels = [channels_of(self.ladder, k) for k in range(levels)]
        domain = self.ladder.domain.whole
        self.packing = Packing(domain, strides, channels, measured_mean, measured_std)
        self.prior_temperature = 0.0

    @classmethod
    def of(
        cls, model: SparseLadder, levels: int, mean: Sequence[float], std: Sequence[float]
    ) -> AutoencoderSparse:
        """With the weights of a model, in memory."""
        found = cls(model.config.model_dump(mode="json"), levels, list(mean), list(std))
        found.ladder.load_state_dict(model.state_dict())
        return found.to(next(model.parameters()).device).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> AutoencoderSparse:
        """As in diffusers."""
        beside = Path(folder).parent / FILE
        if (Path(folder) / SAFETENSORS_WEIGHTS_NAME).exists() or not beside.is_file():
            return super().from_pretrained(folder, **options)
        found = cls.from_config(cls.load_config(folder))
        found.ladder.load_state_dict(load(beside).state_dict())
        return found.eval().requires_grad_(False)

    def enable_prior_sampling(self, temperature: float = 1.0) -> None:
        """Draw the levels that are not packed, and their marks; ValueError for a temperature that
        is negative or NaN."""
        self.prior_temperature = Draw(temperature).temperature

    def encode(self, x: Blocks) -> AutoencoderKLOutput:
        """The packed latents `[B, C, n, n, n]` of shapes, as what is certain of them."""
        grids = self.ladder.grids(self.ladder.encode(x))[: self.config.levels]
        return AutoencoderKLOutput(latent_dist=IdentityDistribution(self.packing.pack(grids)))

    def decode(
        self,
        z: Tensor,
        return_dict: bool = True,
        generator: Generators = None,
        size: Sequence[int] | None = None,
    ) -> DecoderOutput | tuple[Blocks]:
        """Shapes from packed latents `[B, C, n, n, n]`.

        Args:
            generator: of what is drawn; one, or one per sample.
            size: is that of the grid.
        """
        if isinstance(generator, Sequence):
            each = zip(z.split(1), one_each(generator, len(z)), strict=True)
            x = joined([self._decoded(one, g) for one, g in each])
        else:
            x = self._decoded(z, generator)
        return DecoderOutput(sample=x) if return_dict else (x,)

    def _decoded(self, z: Tensor, generator: Generators) -> Blocks:
        latents = self.ladder.from_grids(self.packing.unpack(z))
        temperature = self.prior_temperature
        finer = draw(generator, z.device, temperature) if temperature else choosing.mean
        return self.ladder.decode(latents, draw=Ample(finer))


Autoencoder = AutoencoderLadder | AutoencoderSparse  # of a pipeline
AutoencoderSparse.__module__ = "stlatent"  # pipelines note it down, and load it after that import
