"""A foundation whose decoder is the model's own, so that it may learn what prefixes need.

The encoder is the foundation's, to the last bit, and so are all latents. The decoder begins as the
foundation's, lies in the model's file, and is trained by `only_decoder`, see train/decoder.py.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from .frozen import FrozenAutoencoder

PARTS = ("post_quant_conv", "decoder")  # what decoding alone goes through, in all of diffusers


class TunedAutoencoder(FrozenAutoencoder):
    """`teacher` with another decoder.

    Attributes:
        teacher: the foundation as it is.
        decoder: the parts that decode, by their names.

    Args:
        decoder: these parts; None copies those of `teacher`.

    Raises:
        ValueError: the foundation has no decoder that can be told from the rest.
    """

    def __init__(self, teacher: FrozenAutoencoder, decoder: nn.ModuleDict | None = None) -> None:
        vars(self).update(vars(teacher))
        self.alone = teacher
        self.decoder = _decoder(teacher.module) if decoder is None else decoder
        self.module = _assembled(teacher.module, self.decoder)

    @property
    def teacher(self) -> FrozenAutoencoder:
        return self.alone

    def __deepcopy__(self, memo: dict[int, Any]) -> TunedAutoencoder:
        return TunedAutoencoder(self.alone, copy.deepcopy(self.decoder, memo))


def _decoder(module: nn.Module) -> nn.ModuleDict:
    parts = {name: part for name, part in module.named_children() if name in PARTS}
    if "decoder" not in parts:
        raise ValueError(
            f"{type(module).__name__} has no `decoder` of its own, and so none to train; only a "
            "foundation of two halves can have another one"
        )
    return nn.ModuleDict(copy.deepcopy(parts))


def _assembled(module: nn.Module, decoder: nn.ModuleDict) -> nn.Module:
    """`module` with other parts in it; all else is shared."""
    found = copy.copy(module)
    vars(found)["_modules"] = {**module._modules, **decoder}
    return found
