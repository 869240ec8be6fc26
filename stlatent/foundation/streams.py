"""How a frozen autoencoder of videos goes on where a chunk of a stream has ended.

Where its class remembers what its convolutions saw (Wan and QwenImage: `feat_cache`; CogVideoX:
`conv_cache`), that is carried along, and a stream gives what one piece gives, to rounding. Others
see some latents of the past anew in front of each chunk. What they look at beyond that is lost, and
so are later frames where a decoder looks ahead (LTX) or a norm runs over time (HunyuanVideo);
seams.py measures how much it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..model.past import Past

# Latents in time that a chunk of a stream sees of those before it, where its class has no cache;
# odd, see `pace` in frozen.py.
CONTEXT = 9
LAYER = "foundation"  # under which the state of a stream remembers it
TIME = 2  # the dimension, in `[B, C, T, H, W]`

Code = Callable[[Tensor], Tensor]


class Stream(Protocol):
    """Both ways of the module itself, its latents as they are.

    Attributes:
        words: how it streams, for a person.
        exact: whether that gives what one piece gives.
    """

    words: str
    exact: bool

    def encode(self, x: Tensor, past: Past) -> Tensor:
        """Latents of pixels that follow those of the chunk before."""

    def decode(self, z: Tensor, past: Past) -> Tensor:
        """Pixels of latents that follow those of the chunk before."""


def stream_of(module: nn.Module, stride: int, encode: Code, decode: Code) -> Stream:
    """How `module` streams. While it cuts pictures into tiles, it does so in windows.

    Args:
        stride: frames per latent.
        encode, decode: of whole videos.
    """
    known = {name: signature(part.forward).parameters for name, part in module.named_children()}
    tiles = getattr(module, "use_tiling", False)
    both = [known.get("encoder", {}), known.get("decoder", {})]
    if not tiles and all("feat_cache" in names for names in both):
        return FeatureCache(module, stride)
    forgets = any(getattr(m, "pad_mode", None) == "replicate" for m in module.modules())  # Mochi
    if not tiles and not forgets and all("conv_cache" in names for names in both):
        return ConvolutionCache(module)
    return WindowStream(stride, encode, decode)


class WindowStream:
    """Each chunk with the last latents before it, or their frames, in front of it."""

    exact = False

    def __init__(self, stride: int, encode: Code, decode: Code) -> None:
        self.stride, self._encode, self._decode = stride, encode, decode
        self.words = f"in windows that see {CONTEXT} latents of the past"

    def encode(self, x: Tensor, past: Past) -> Tensor:
        seen = past.window(LAYER, x, TIME, 1 + (CONTEXT - 1) * self.stride)
        return _new(self._encode(seen), x.shape[TIME] // self.stride, past)

    def decode(self, z: Tensor, past: Past) -> Tensor:
        seen = past.window(LAYER, z, TIME, CONTEXT)
        return _new(self._decode(seen), z.shape[TIME] * self.stride, past)


class FeatureCache:
    """The last features that each convolution saw, in a list: AutoencoderKLWan and its kin."""

    exact = True
    words = "by the cache of its class"

    def __init__(self, module: nn.Module, stride: int) -> None:
        self.module, self.stride = module, stride
        self.patch = module.config.get("patch_size") or 1

    def encode(self, x: Tensor, past: Past) -> Tensor:
        x = self._own("patchify")(x, self.patch) if self.patch > 1 else x
        h = self._through(self.module.encoder, x, self.stride, past)
        return self.module.quant_conv(h).chunk(2, 1)[0]

    def decode(self, z: Tensor, past: Past) -> Tensor:
        x = self._through(self.module.decoder, self.module.post_quant_conv(z), 1, past)
        x = self._own("unpatchify")(x, self.patch) if self.patch > 1 else x
        return x.clamp(-1, 1)

    def _own(self, name: str) -> Callable[[Tensor, int], Tensor]:
        """A function from the file of the class, which may have an underscore there."""
        file = sys.modules[type(self.module).__module__]
        return getattr(file, name, None) or getattr(file, f"_{name}")

    def _through(self, network: nn.Module, x: Tensor, step: int, past: Past) -> Tensor:
        cache, found = self._read(network, past), []
        started, marked = past.started, "first_chunk" in signature(network.forward).parameters
        for piece in pieces(x, 0 if started else 1, step):
            mark = {"first_chunk": not (started or found)} if marked else {}
            found.append(network(piece, feat_cache=cache, feat_idx=[0], **mark))
        # in place of a tensor, "Rep" stands for: nothing yet but the first latent
        kept = {str(i): x.new_zeros(0) if v == "Rep" else v for i, v in _given(enumerate(cache))}
        past.keep(LAYER, kept)
        return torch.cat(found, TIME)

    def _read(self, network: nn.Module, past: Past) -> list[Tensor | str | None]:
        cache: list[Tensor | str | None] = [None] * sum(1 for _ in network.modules())
        for name, value in past.recall(LAYER).items():
            cache[int(name)] = value if value.numel() else "Rep"
        return cache


class ConvolutionCache:
    """The last frames that each convolution saw, in a tree: AutoencoderKLCogVideoX.

    Its norms run over the frames of one step, so steps are those of the class. Where the first
    chunk is one frame alone, that frame is what it would be as a picture.
    """

    exact = True
    words = "by the cache of its class"

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def encode(self, x: Tensor, past: Past) -> Tensor:
        step = self.module.num_sample_frames_batch_size

        def network(piece: Tensor, cache: Any) -> tuple[Tensor, Any]:
            h, cache = self.module.encoder(piece, conv_cache=cache)
            return (h if (conv := self.module.quant_conv) is None else conv(h)), cache

        return self._through(network, x, step, past).chunk(2, 1)[0]

    def decode(self, z: Tensor, past: Past) -> Tensor:
        step = self.module.num_latent_frames_batch_size

        def network(piece: Tensor, cache: Any) -> tuple[Tensor, Any]:
            piece = piece if (conv := self.module.post_quant_conv) is None else conv(piece)
            return self.module.decoder(piece, conv_cache=cache)

        return self._through(network, z, step, past)

    def _through(self, network: Callable[..., Any], x: Tensor, step: int, past: Past) -> Tensor:
        before = past.recall(LAYER)
        alone = before.pop("alone", None)
        x = x if alone is None else torch.cat([alone, x], TIME)
        cache, found = _tree(before) or None, []
        for piece in pieces(x, 0 if before else 1 + step, step):
            part, cache = network(piece, cache)
            found.append(part)
        single = not before and x.shape[TIME] == 1
        past.keep(LAYER, {"alone": x.clone()} if single else dict(_leaves(cache)))
        made = torch.cat(found, TIME)
        return made if alone is None else made[:, :, 1:]


def _new(made: Tensor, new: int, past: Past) -> Tensor:
    """Without what a window shows of the past."""
    return made.narrow(TIME, made.shape[TIME] - new, new) if past.started else made


def pieces(x: Tensor, first: int, step: int) -> tuple[Tensor, ...]:
    """`x` cut along time into `first` frames, if any, and `step` each."""
    first = min(first, x.shape[TIME])
    left = x.shape[TIME] - first
    sizes = [first, *[step] * (left // step), left % step]
    return x.split([size for size in sizes if size], TIME)


def _given(pairs: Any) -> Iterator[tuple[Any, Any]]:
    return ((key, value) for key, value in pairs if value is not None)


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of a tree of mappings, with their way through it."""
    for name, value in _given(tree.items()):
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def _tree(leaves: Mapping[str, Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in leaves.items():
        *names, last = path.split("/")
        node = found
        for name in names:
            node = node.setdefault(name, {})
        node[last] = value
    return found
