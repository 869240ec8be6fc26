"""A foundation as the transformers know it that were trained on it, and the exact ladder on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ..foundation.autoencoder import FoundationAutoencoder
from ..foundation.frozen import FrozenAutoencoder
from ..foundation.opening import empty_foundation
from ..model.config import ModelConfig, Strict, parse
from ..model.latents import Latents
from .loading import Reloaded


class ExportedWithLadder(Strict):
    """What `config.json` says for the constructor of `AutoencoderWithLadder`.

    Attributes:
        model: the config of the ladder, as in `ModelConfig`.
        foundation: config of the autoencoder that it stands on.
    """

    model: dict[str, Any]
    foundation: dict[str, Any]


class AutoencoderWithLadder(ModelMixin, Reloaded):
    """What a foundation encodes and decodes, and under the names that it has for it: whatever was
    trained on its latents goes on working. The ladder splits these into levels, and joins them:

        latents = vae.split(z)         # the foundation's latents as levels, coarsest first
        vae.decode(vae.join(latents))  # z again, to rounding: the finest level is exact
        vae.decode(vae.join(latents, levels=1))

    Args:
        model: the config of the ladder, as in `ModelConfig`.
        foundation: the config of the autoencoder that it stands on.

    Raises:
        ValueError: the ladder stands on nothing, or leaves something over.
    """

    loader, settings = "autoencoder_with_ladder", ExportedWithLadder

    @register_to_config
    def __init__(self, model: Mapping[str, Any], foundation: Mapping[str, Any]) -> None:
        super().__init__()
        config = parse(ModelConfig, model, "model")
        _check_exact(config)
        self.frozen = empty_foundation(foundation)
        frozen = FrozenAutoencoder(self.frozen, known=config.foundation)
        self.ladder = FoundationAutoencoder(config, frozen)
        taken = {*self._get_init_keys(type(self)), "auto_map"}
        names = {k: v for k, v in foundation.items() if k[0] != "_" and k not in taken}
        self.register_to_config(**names, auto_map=self.auto_map())

    def __getattr__(self, name: str) -> Any:
        """What this has not, such as switches for tiles, is the foundation's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("frozen", "ladder"):
                raise
            return getattr(self.ladder.foundation, name)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """As the foundation does."""
        return self.ladder.foundation.encode(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """As the foundation does, by the decoder of the model if that has one of its own."""
        return self.ladder.foundation.decode(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the foundation does, by that decoder."""
        return self.ladder.foundation(*args, **kwargs)

    @torch.no_grad()
    def split(self, z: Tensor) -> Latents:
        """The levels of the foundation's latents `[B, C, *grid]`, as its `decode` takes them; their
        `size` is that grid."""
        found = self.ladder.ladder.encode(self.ladder.frozen.normalised(z))
        return Latents(found.levels, tuple(z.shape[2:]))

    @torch.no_grad()
    def join(self, latents: Latents, levels: int | None = None) -> Tensor:
        """The foundation's latents `[B, C, *grid]` from the first `levels` levels; all of them give
        back what was split."""
        z = self.ladder.frozen.own(self.ladder.ladder.decode(latents, levels))
        return z.to(self.dtype)


AutoencoderWithLadder.__module__ = "stlatent"  # pipelines note it down, and load it after that


def with_ladder(model: FoundationAutoencoder) -> AutoencoderWithLadder:
    """`model` and its foundation, in memory.

    Raises:
        ValueError: it stands on nothing, or its finest level is not exact.
    """
    _check_exact(model.config)
    vae = AutoencoderWithLadder(
        model=model.config.model_dump(mode="json"),
        foundation=json.loads(model.foundation.to_json_string()),
    )
    vae.ladder.load_state_dict(model.state_dict())
    vae.frozen.load_state_dict(model.frozen.teacher.module.state_dict())
    return vae.to(next(model.parameters()).device).eval().requires_grad_(False)


def _check_exact(config: ModelConfig) -> None:
    if config.foundation is None or not config.exact:
        raise ValueError(
            "the layout of a foundation is that of its own latents: it takes a ladder that stands "
            "on one, and `exact: true`, so that nothing of them is lost"
        )
