"""Networks of `diffusers` behind one call: latents, timestep, a vector -> latents.

`(z [B, C_in, *grid], timestep [B] in [0, 1000], vector [B, width]) -> [B, C_out, *grid]`
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel, UNet2DModel
from torch import Tensor, nn

from .config import BackboneConfig

TIMESTEPS = 1000  # of every scheduler here
LEAST_SIDE = 4  # the UNet goes on halving until the grid is no smaller


def make_backbone(
    config: BackboneConfig, channels: int, out_channels: int, grid: Sequence[int]
) -> TokenBackbone | PictureBackbone:
    """The network that `config` names, for latents on `grid`, such as (8, 8).

    Raises:
        ValueError: a UNet for latents that are no pictures.
    """
    picture = len(grid) == 2 and max(grid) > 1
    if config.kind == "unet" and len(grid) != 2:
        raise ValueError(
            f"a UNet reads pictures, and these latents have {len(grid)} axes; set kind: transformer"
        )
    if config.kind == "unet" or (config.kind is None and picture and not config.patch):
        return PictureBackbone(config, channels, out_channels, grid)
    return TokenBackbone(config, channels, out_channels, len(grid))


def patched(z: Tensor, patch: Sequence[int]) -> Tensor:
    """`[B, C, *grid]` -> `[B, C * prod(patch), *grid / patch]`, with zeros where it ends within."""
    missing = [-n % p for n, p in zip(z.shape[2:], patch, strict=True)]
    z = F.pad(z, [k for n in reversed(missing) for k in (0, n)])
    split = itertools.chain.from_iterable((n // p, p) for n, p in zip(z.shape[2:], patch))
    axes = range(2, 2 + 2 * len(patch))
    z = z.reshape(*z.shape[:2], *split).permute(0, 1, *axes[1::2], *axes[::2])
    return z.flatten(1, 1 + len(patch))


def unpatched(z: Tensor, patch: Sequence[int], size: Sequence[int]) -> Tensor:
    """The inverse of `patched`, for a grid of `size`."""
    count, grid = len(patch), z.shape[2:]
    z = z.unflatten(1, (-1, *patch))
    pairs = itertools.chain.from_iterable((2 + count + k, 2 + k) for k in range(count))
    z = z.permute(0, 1, *pairs).reshape(*z.shape[:2], *(n * p for n, p in zip(grid, patch)))
    return z[(..., *map(slice, size))]


class TokenBackbone(nn.Module):
    """A transformer over all positions at once, each known by its coordinates.

    FluxTransformer2DModel takes any sequence of tokens with any number of coordinates, each turning
    its own part of the attention heads (Su et al. 2021). It has only its blocks of a single stream
    here, which see the condition twice: as a token of its own at the origin, from which positions
    are measured, and in the scales and shifts of every block (Peebles & Xie 2023, DiT), whose gates
    begin at zero.

    Raises:
        ValueError: a patch of other axes than those of the latents.
    """

    def __init__(self, config: BackboneConfig, channels: int, out_channels: int, axes: int) -> None:
        super().__init__()
        self.condition_width, self.patch = config.width, config.patch or (1,) * axes
        if len(self.patch) != axes:
            raise ValueError(f"patch is {list(self.patch)}; give one number per axis, {axes}")
        self.network = FluxTransformer2DModel(
            in_channels=channels * math.prod(self.patch),
            out_channels=out_channels * math.prod(self.patch),
            num_layers=0,
            num_single_layers=config.depth,
            attention_head_dim=config.head,
            num_attention_heads=config.width // config.head,
            joint_attention_dim=config.width,
            pooled_projection_dim=config.width,
            axes_dims_rope=_shares(config.head, axes),
        )
        layers = [block.norm.linear for block in self.network.single_transformer_blocks]
        for layer in (*layers, self.network.norm_out.linear, self.network.proj_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        z: Tensor,
        timestep: Tensor,
        vector: Tensor,
        memory: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """`memory`: further tokens `[B, N, width]` to look at, and their coordinates `[N, axes]`;
        positions of the grid are counted from 1, and a token lies in the middle of its own."""
        size, z = z.shape[2:], patched(z, self.patch)
        grid = z.shape[2:]
        ranges = [
            torch.arange(n, device=z.device) * p + (p + 1) / 2 for n, p in zip(grid, self.patch)
        ]
        places = torch.cartesian_prod(*ranges).view(-1, len(grid)).to(z.dtype)
        context, origin = vector[:, None], places.new_zeros(1, len(grid))
        if memory is not None:
            context, origin = torch.cat([context, memory[0]], 1), torch.cat([origin, memory[1]])
        out = self.network(
            hidden_states=z.flatten(2).transpose(1, 2),
            encoder_hidden_states=context,
            pooled_projections=vector,
            timestep=timestep / TIMESTEPS,
            img_ids=places,
            txt_ids=origin,
            return_dict=False,
        )[0]
        return unpatched(out.transpose(1, 2).unflatten(2, grid), self.patch, size)


class PictureBackbone(nn.Module):
    """UNet2DModel, with attention at its coarsest scale."""

    def __init__(
        self, config: BackboneConfig, channels: int, out_channels: int, grid: Sequence[int]
    ) -> None:
        super().__init__()
        scales = min(3, 1 + max(0, int(math.log2(min(grid) / LEAST_SIDE)))) if min(grid) else 1
        self.multiple = 2 ** (scales - 1)
        widths = [config.width * min(2**k, 2) for k in range(scales)]
        self.condition_width = 4 * config.width
        self.network = UNet2DModel(
            in_channels=channels,
            out_channels=out_channels,
            block_out_channels=widths,
            layers_per_block=config.depth,
            down_block_types=["DownBlock2D"] * (scales - 1) + ["AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D"] + ["UpBlock2D"] * (scales - 1),
            attention_head_dim=config.head,
            norm_num_groups=math.gcd(32, config.width),
            class_embed_type="identity",
        )
        nn.init.zeros_(self.network.conv_out.weight)
        nn.init.zeros_(self.network.conv_out.bias)

    def forward(self, z: Tensor, timestep: Tensor, vector: Tensor) -> Tensor:
        size = z.shape[2:]
        missing = [-n % self.multiple for n in size]
        padding = itertools.chain.from_iterable((0, n) for n in reversed(missing))
        z = F.pad(z, tuple(padding))
        out = self.network(z, timestep, class_labels=vector, return_dict=False)[0]
        return out[..., : size[0], : size[1]]


def _shares(head: int, axes: int) -> tuple[int, ...]:
    """Even parts of a head's channels, one per coordinate; they add up to `head`."""
    share = head // axes // 2 * 2
    return (head - share * (axes - 1), *[share] * (axes - 1))
