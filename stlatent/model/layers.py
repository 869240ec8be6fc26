"""The layers of every ladder, over any domain. Each takes `(x, past)`; only convolutions use it."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .domain import Domain
from .past import Past


class Conv(nn.Module):
    """Convolution over the axes of a domain: `[B, C_in, *axes] -> [B, C_out, *axes]`.

    Args:
        kernel: size along space axes; 1 is a pointwise layer.
        causal_kernel: size along a causal axis, on its past side only.
        depthwise: one filter per channel.
        gain: scale of the initial weights, relative to unit variance.

    Attributes:
        name: in the model that it is part of, see `name_layers`.
    """

    def __init__(
        self,
        domain: Domain,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        causal_kernel: int = 1,
        depthwise: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.domain, self.name = domain, ""
        self.groups = inputs if depthwise else 1
        shape = (outputs, inputs // self.groups, *domain.kernel(kernel, causal_kernel))
        std = gain / math.sqrt(math.prod(shape[1:]))
        self.weight = nn.Parameter(torch.randn(shape) * std)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def extra_repr(self) -> str:
        outputs, inputs, *kernel = self.weight.shape
        depthwise = ", depthwise" if self.groups > 1 else ""
        return f"{inputs * self.groups} -> {outputs}, kernel={kernel}{depthwise}"

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return self.domain.conv(x, self.weight, self.bias, self.groups, past, self.name)


def name_layers(model: nn.Module) -> None:
    """Tell every convolution of a model its name, under which a stream remembers what it saw."""
    for name, layer in model.named_modules():
        if isinstance(layer, Conv):
            layer.name = name


class Stack(nn.ModuleList):
    """Layers one after the other; with `gradient_checkpointing`, as `diffusers` calls it,
    activations are recomputed, not kept."""

    def __init__(self, layers: Iterable[nn.Module], checkpointing: bool = False) -> None:
        super().__init__(layers)
        self.gradient_checkpointing = checkpointing

    def forward(self, x: Tensor, past: Past) -> Tensor:
        for layer in self:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, past, use_reentrant=False, context_fn=_twice)
            else:
                x = layer(x, past)
        return x


class Again(threading.local):
    """Whether activations are being computed a second time, for the backward pass."""

    running = False

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self.running = True
        try:
            yield
        finally:
            self.running = False


AGAIN = Again()


def _twice() -> tuple[AbstractContextManager, AbstractContextManager]:
    """Around the first and the second computation of checkpointed activations."""
    return contextlib.nullcontext(), AGAIN()


class Norm(nn.Module):
    """RMS normalisation over channels, per position (Zhang & Sennrich 2019).

    No statistics over time or space, so that a video may be cut into chunks anywhere.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def extra_repr(self) -> str:
        return f"{len(self.gain)}"

    def forward(self, x: Tensor) -> Tensor:
        gain = self.gain.to(x.dtype)
        return F.rms_norm(x.movedim(1, -1), gain.shape, gain, 1e-6).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """`x + scale * branch(x)`; subclasses say what the branch is. With a `modulation`, the branch
    reads what that makes of x, see `dial.py`.

    drop: in training, the share of samples for which the branch is left out (Huang et al. 2016,
        stochastic depth).
    """

    scale = 1.0

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.modulation: nn.Module | None = None

    def branch(self, x: Tensor, past: Past) -> Tensor:
        """What is added: `[B, C, *axes] -> [B, C, *axes]`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"drop={self.drop:g}" if self.drop else ""

    def forward(self, x: Tensor, past: Past) -> Tensor:
        y = self.branch(x if self.modulation is None else self.modulation(x, past), past)
        if self.training and self.drop:
            kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.drop
            y = y * (kept / (1 - self.drop))
        return x + (y if self.scale == 1 else self.scale * y)


class Attention(ResidualBlock):
    """Self-attention over the space axes, one frame or plane at a time."""

    def __init__(self, domain: Domain, width: int, drop: float = 0.0) -> None:
        super().__init__(drop)
        self.domain = domain
        self.heads = max(1, width // 64)
        self.norm = Norm(width)
        self.qkv = Conv(domain, width, 3 * width)
        self.out = Conv(domain, width, width, gain=0.0)

    def extra_repr(self) -> str:
        space = ", ".join(self.domain.axes[i].name for i in self.domain.space)
        return f"over {space or 'single positions'}, heads={self.heads}"

    def branch(self, x: Tensor, past: Past) -> Tensor:
        tokens = self.domain.tokens(self.qkv(self.norm(x), past))
        q, k, v = tokens.unflatten(-1, (3, self.heads, -1)).unbind(2)
        y = attend(q, k, v).flatten(2)
        return self.out(self.domain.untokens(y, x), past)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Dot-product attention, `[B, N, heads, C]`: xformers on a GPU that has it, else torch's."""
    if q.is_cuda and (kernel := _xformers_kernel(q.device, q.dtype, q.shape[-1])):
        return kernel(q.contiguous(), k.contiguous(), v.contiguous())
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


@functools.cache
def _xformers_kernel(device: torch.device, dtype: torch.dtype, channels: int):
    """xformers' attention if it really runs here: its import and its own checks prove nothing."""
    try:
        from xformers.ops import memory_efficient_attention as kernel

        probe = torch.zeros(1, 8, 1, channels, device=device, dtype=dtype, requires_grad=True)
        with torch.enable_grad():
            kernel(probe, probe, probe).sum().backward()
    except Exception:
        return None
    return kernel


class Down(nn.Module):
    """To a coarser stride: fold to channels, then a pointwise layer."""

    def __init__(self, domain: Domain, inputs: int, outputs: int, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.conv = Conv(domain, inputs * math.prod(factors), outputs)

    def extra_repr(self) -> str:
        return f"factors={list(self.factors)}"

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return self.conv(self.conv.domain.fold(x, self.factors, past), past)


class Up(nn.Module):
    """To a finer stride: a pointwise layer, then unfold from channels."""

    def __init__(self, domain: Domain, inputs: int, outputs: int, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.conv = Conv(domain, inputs, outputs * math.prod(factors))

    def extra_repr(self) -> str:
        return f"factors={list(self.factors)}"

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return self.conv.domain.unfold(self.conv(x, past), self.factors, past)
