"""A ladder whose weights lie in modules of torch, for tools that look for these.

Offloading, casting layer by layer, quantising and adapters go by the class of a module, such as
`nn.Linear`, and by its call. A ladder's own convolutions know domains and streams; each of them
gets a module of torch inside, with the same weights and the same result.

    Conv, kernel 1    weight [C_out, C_in, 1, ...]         Pointwise.linear   [C_out, C_in]
    Conv              weight [C_out, C_in / groups, *k]    Windowed.kernel    the same
    Ladder.top        [width]                              Top.constant       the same
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .convolution import convolve
from .ladder import Ladder
from .layers import Conv
from .past import Past

INSIDE, KINDS = ("linear", "kernel"), ("weight", "bias")  # what a convolution's tensors are called


class Pointwise(nn.Module):
    """`Conv` of kernel 1: `[B, C_in, *axes] -> [B, C_out, *axes]`."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.domain, self.name = conv.domain, conv.name
        outputs, inputs = conv.weight.shape[:2]
        self.linear = nn.Linear(inputs, outputs, device="meta")
        self.linear.weight = nn.Parameter(conv.weight.detach().flatten(1))
        self.linear.bias = conv.bias

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return self.linear(x.movedim(1, -1)).movedim(-1, 1)


class Windowed(nn.Module):
    """`Conv` that sees neighbours."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.domain, self.name = conv.domain, conv.name
        outputs, inputs, *kernel = conv.weight.shape
        padding = self.domain.padding(kernel)
        inputs *= conv.groups
        make = KERNELS[len(kernel)]
        self.kernel = make(
            inputs, outputs, kernel, padding=padding, groups=conv.groups, device="meta"
        )
        self.kernel.weight, self.kernel.bias = conv.weight, conv.bias

    @property
    def weight(self) -> Tensor:
        return self.kernel.weight

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return self.kernel(self.domain.preceded(x, self.kernel.kernel_size, past, self.name))


class Fast:
    """The convolution of a module of torch, by those that machines are good at."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.padding, self.groups)


class Kernel1d(Fast, nn.Conv1d):
    """`nn.Conv1d`, computed as a ladder does."""


class Kernel2d(Fast, nn.Conv2d):
    """`nn.Conv2d`, computed as a ladder does."""


class Kernel3d(Fast, nn.Conv3d):
    """`nn.Conv3d`, computed as a ladder does."""


KERNELS = {1: Kernel1d, 2: Kernel2d, 3: Kernel3d}  # torch has none over more axes


class Top(nn.Module):
    """`Ladder.top`, for which a ladder asks as for the parameter, but which comes by a call: so
    hooks can bring it to where it is needed."""

    def __init__(self, constant: nn.Parameter) -> None:
        super().__init__()
        self.constant = constant

    @property
    def dtype(self) -> torch.dtype:
        return self.constant.dtype

    @property
    def device(self) -> torch.device:
        return self.constant.device

    def view(self, *shape: int) -> Tensor:
        return self(shape)

    def forward(self, shape: Sequence[int]) -> Tensor:
        return self.constant.view(shape)


def open_up(ladder: Ladder) -> None:
    """Put the weights of `ladder` into modules of torch, in place; results stay the same."""
    for module in list(ladder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv):
                setattr(module, name, _opened(child))
    ladder.top = Top(ladder._parameters.pop("top"))


def opened_name(name: str, ladder: Ladder) -> str:
    """What the tensor `name` of a ladder is called once it has been opened up."""
    owner, _, kind = name.rpartition(".")
    if name == "top":
        return "top.constant"
    module = ladder.get_submodule(owner) if owner else ladder
    inside = next((i for i in INSIDE if hasattr(module, i)), None)
    return f"{owner}.{inside}.{kind}" if inside and kind in KINDS else name


def opened(tensors: Mapping[str, Tensor], ladder: Ladder) -> dict[str, Tensor]:
    """The tensors of a ladder as those of `ladder`, which has been opened up; such ones stay."""
    wanted = ladder.state_dict()
    found = {}
    for name, tensor in tensors.items():
        name = name if name in wanted else opened_name(name, ladder)
        flat = name.endswith(".linear.weight")
        found[name] = tensor.flatten(1) if flat else tensor
    return found


def closed(tensors: Mapping[str, Tensor], axes: int) -> dict[str, Tensor]:
    """The inverse of `opened`, for a ladder over so many axes; tensors of any other stay."""
    found = {}
    for name, tensor in tensors.items():
        owner, _, kind = name.rpartition(".")
        owner, _, inside = owner.rpartition(".")
        if inside == "linear" and kind == "weight":
            tensor = tensor.view(*tensor.shape, *[1] * axes)
        if name == "top.constant":
            name = "top"
        found[f"{owner}.{kind}" if inside in INSIDE else name] = tensor
    return found


def _opened(conv: Conv) -> nn.Module:
    kernel = conv.weight.shape[2:]
    if max(kernel) == 1 and conv.groups == 1:
        return Pointwise(conv)
    return Windowed(conv) if len(kernel) in KERNELS else conv
