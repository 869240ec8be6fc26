"""A frozen autoencoder of `diffusers` as two functions: pixels to latents, latents to pixels.

    pixels [B, 3, *size] in [-1, 1] ── encode ──► latents [B, C, *grid], in about [-1, 1]
                                    ◄── decode ──

Whatever the class calls its statistics (`latents_mean` and `latents_std`, `scaling_factor` and
`shift_factor`, a batch norm), latents come out normalised by them. How pixels and latents lie on
each other is measured on a few small inputs and not looked up, so that classes that are not known
here work too. Of time there is one rule, 1 + f k frames for 1 + k latents, as in Wan, LTX,
HunyuanVideo, CogVideoX, Cosmos and Mochi.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..model.config import FoundationConfig
from ..model.domain import Domain
from ..model.domains import IMAGE, VIDEO
from ..model.past import Past
from .streams import Stream, stream_of

PROBE = 64  # pixels along each side of what is encoded to measure strides; most need 32 at least
PROBE_FRAMES = 65  # five latents and more


class FrozenAutoencoder:
    """One autoencoder, its weights as they are; see tuned.py for one whose decoder is not.

    It is no module of its own, so that weights that are never trained are in no checkpoint,
    optimiser or average of whoever stands on it; copies share it.

    Attributes:
        module: that of `diffusers`.
        domain: image or video, as the module reads `[B, C, H, W]` or `[B, C, T, H, W]`.
        channels: of its latents.
        stride: pixels per latent along each axis of the domain.
        pace: latents in time come by so many after the first one: CogVideoX decodes them two by
            two, and an even number to other frames than it was encoded from.
        commit: of the model on the hub, where it is from there.
        decoder: parts of the module that are not the foundation's; None is none.
        mean, unit: latents are given as (z - mean) / unit, so that they lie in about [-1, 1], two
            deviations to each side; one per channel.

    Args:
        known: what is known of the module already; what is not, is measured.
    """

    decoder: nn.ModuleDict | None = None

    def __init__(
        self,
        module: nn.Module,
        commit: str | None = None,
        known: FoundationConfig | None = None,
    ) -> None:
        self.module, self.commit = module.eval().requires_grad_(False), commit
        self.domain = self._probe_domain()
        if known is not None and None not in (known.stride, known.pace, known.mean, known.unit):
            self.channels, self.stride, self.pace = len(known.mean), known.stride, known.pace
            self.mean, self.unit = known.mean, known.unit
            return
        self.channels, self.stride, self.pace = self._probe()
        mean, std = _statistics(module, self.channels)
        self.mean, self.unit = tuple(mean.tolist()), tuple((2 * std).tolist())

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenAutoencoder:
        return self

    @property
    def teacher(self) -> FrozenAutoencoder:
        """The foundation as it is, whoever decodes."""
        return self

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def stream(self) -> Stream:
        """How it goes on from chunk to chunk, see streams.py; of videos alone."""
        time = self.domain.of_time(self.stride)
        return stream_of(self.module, time, self._encode, self._decode)

    # both ways --------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Latents `[B, C, *grid]`, float32, of pixels `[B, 3, *size]` in [-1, 1], where `size` is
        one of whole strides: the mean where the class has a posterior.

        Args:
            past: of a stream, of which these are the next frames; None for a whole input.
        """
        x = x.to(self.device, self.dtype)
        whole = past is None or not self.domain.has_time
        return self.normalised(self._encode(x) if whole else self.stream.encode(x, past))

    def decode(self, z: Tensor, past: Past | None = None) -> Tensor:
        """Pixels `[B, 3, *size]`, float32, of latents `[B, C, *grid]`. Gradients reach `z`."""
        weights = next((self.decoder or self.module).parameters())
        z, whole = self.own(z).to(weights), past is None or not self.domain.has_time
        return (self._decode(z) if whole else self.stream.decode(z, past)).float()

    def normalised(self, z: Tensor) -> Tensor:
        """Latents as the class has them, as those of `encode`, float32."""
        return (z.float() - self._wide(self.mean, z)) / self._wide(self.unit, z)

    def own(self, z: Tensor) -> Tensor:
        """The inverse of `normalised`."""
        return z.float() * self._wide(self.unit, z) + self._wide(self.mean, z)

    def _wide(self, values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device).view(-1, *[1] * len(self.domain.axes))

    def _encode(self, x: Tensor) -> Tensor:
        out = self.module.encode(x)
        if (posterior := getattr(out, "latent_dist", None)) is not None:
            return posterior.mode()
        for name in ("latents", "latent"):
            if isinstance(found := getattr(out, name, None), Tensor):
                return found
        raise ValueError(
            f"{type(self.module).__name__}.encode gives {type(out).__name__}, which has no "
            "latent_dist, latents or latent; a foundation needs continuous latents"
        )

    def _decode(self, z: Tensor) -> Tensor:
        out = self.module.decode(z)
        return out if isinstance(out, Tensor) else out.sample

    # what it is -------------------------------------------------------------------------------

    def _probe_domain(self) -> Domain:
        """Video, if its first convolution has a kernel over time."""
        kernels = [p.ndim - 2 for p in self.module.parameters() if p.ndim >= 4]
        return VIDEO if 3 in kernels else IMAGE

    def _probe(self) -> tuple[int, tuple[int, ...], int]:
        """Channels of the latents, stride along each axis, and pace, from how many frames few
        latents decode to."""
        frames = () if self.domain is IMAGE else (PROBE_FRAMES,)
        z = self._zeros((*frames, PROBE, PROBE))
        if self.domain is IMAGE:
            return z.shape[1], _ratios(self._size(z), z.shape[2:]), 1
        self._zeros((1, PROBE, PROBE))  # a picture is a video, which not every class knows
        two, three, five = (self._size(z[:, :, :n]) for n in (2, 3, 5))
        time = (five[0] - three[0]) // 2
        if three[0] != 1 + 2 * time:
            raise ValueError(
                f"{type(self.module).__name__} decodes 3 and 5 latents to {three[0]} and {five[0]} "
                "frames; a foundation makes 1 + k latents of 1 + f k frames"
            )
        pace = 1 if three[0] - two[0] == time else 2
        return z.shape[1], (time, *_ratios(three[1:], z.shape[3:])), pace

    @torch.no_grad()
    def _size(self, z: Tensor) -> tuple[int, ...]:
        return tuple(self._decode(z).shape[2:])

    @torch.no_grad()
    def _zeros(self, size: Sequence[int]) -> Tensor:
        x = torch.zeros(1, 3, *size, device=self.device, dtype=self.dtype)
        try:
            return self._encode(x)
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"{type(self.module).__name__} does not encode pixels of {list(x.shape)}: {error}"
            ) from None


def _config(module: nn.Module, *names: str) -> Any:
    """The first of the values that the module's config has."""
    config = getattr(module, "config", {})
    return next((v for name in names if (v := config.get(name)) is not None), None)


def _statistics(module: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel `[C]`, float32, under the names that classes have."""
    mean, std = _config(module, "latents_mean"), _config(module, "latents_std")
    if "latents_mean" in (buffers := dict(module.named_buffers(recurse=False))):
        mean, std = buffers["latents_mean"], buffers["latents_std"]
    if mean is None and (norm := getattr(module, "bn", None)) is not None:  # FLUX.2, of patches
        mean = norm.running_mean.view(channels, -1).mean(1)
        std = (norm.running_var + norm.eps).sqrt().view(channels, -1).mean(1)
    if mean is not None:
        mean = torch.as_tensor(mean, dtype=torch.float32).flatten()
        std = torch.as_tensor(std, dtype=torch.float32).flatten()
        if len(mean) >= channels:  # some keep as many as their class has at most
            return mean[:channels].cpu(), std[:channels].cpu()
    scale, shift = _config(module, "scaling_factor") or 1.0, _config(module, "shift_factor") or 0.0
    return torch.full((channels,), float(shift)), torch.full((channels,), 1 / float(scale))


def _ratios(size: Sequence[int], grid: Sequence[int]) -> tuple[int, ...]:
    if any(n % g for n, g in zip(size, grid, strict=True)):
        raise ValueError(f"pixels of {list(size)} become latents of {list(grid)}: no whole stride")
    return tuple(n // g for n, g in zip(size, grid, strict=True))
