"""By which models are told apart: digests of configs and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn

from .former import digested
from .recall import Recall
from .torch_modules import closed

DECODER = "decoder."  # of a foundation, where a model has one of its own


def fingerprint(model: nn.Module) -> str:
    """16 hex digits that change whenever the config or any weight does that latents depend on: all
    but what priors remember, see `priors_fingerprint`, and a decoder that was trained on alone."""
    if model.config.latents_of:
        return model.config.latents_of
    weights = _weights(model, remembering=False)
    if model.config.foundation:
        weights = {k: x for k, x in weights.items() if not k.startswith(DECODER)}
    return _digest(digested(model.config), weights)


def decoder_parts(ladder: nn.Module) -> tuple[nn.Module, ...]:
    """What lies behind the last latent of a ladder: no latent, prior or posterior depends on it."""
    last = ladder.cells[-1][-1]
    own = (last.from_latent, last.spread, last.blocks, ladder.up[-1], ladder.head_blocks)
    return tuple(part for part in (*own, ladder.head, ladder.likelihood) if part is not None)


def claimed_weights(model: nn.Module) -> frozenset[str]:
    """Names of the weights that make the latents of another model, where a model says that its own
    are those: all but its decoder's."""
    if not model.config.latents_of:
        return frozenset()
    parts = {id(part) for part in decoder_parts(model)}
    own = tuple(f"{name}." for name, part in model.named_modules() if id(part) in parts)
    return frozenset(name for name in model.state_dict() if not name.startswith(own))


def priors_fingerprint(model: nn.Module) -> str | None:
    """The same of what priors remember, which bits depend on; None if that is nothing."""
    units, threshold = model.config.recall, model.config.recall_threshold
    what = f"{units} {threshold}" if threshold else f"{units}"
    return _digest(what.encode(), _weights(model, remembering=True)) if units else None


def whole_fingerprint(model: nn.Module) -> str:
    """The same of the config and every weight: what a model decodes to depends on all."""
    return _digest(digested(model.config), model.state_dict())


def _weights(model: nn.Module, remembering: bool) -> dict[str, Tensor]:
    """What priors remember by, or all else; the same however a ladder lies in memory, such as
    exported."""
    own = tuple(f"{name}." for name, part in model.named_modules() if isinstance(part, Recall))
    kept = {k: x for k, x in model.state_dict().items() if k.startswith(own) == remembering}
    return closed(kept, len(model.domain.axes))


def _digest(what: bytes, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(what)
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
