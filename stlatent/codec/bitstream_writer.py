"""Writes a bitstream; see `bitstream.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import fingerprint
from ..domain import Past
from ..ladder import Ladder
from .bitstream_file import BitstreamHeader, LevelEntry, Section, write_file
from .entropy import numerics
from .quantise import STEP, LevelBits, Writing

# Of all frames of a chunk. It does not depend on the device, since chunks belong to the file; so
# many that what every stream costs beside its symbols hardly counts.
CHUNK_PIXELS = 2**21  # 32 frames of 256 x 256


@dataclass(frozen=True)
class BitstreamSummary:
    """What was written.

    Attributes:
        size: of the input along its axes.
        header_bytes: of the file, beside those of the levels.
        levels: coarsest first.
    """

    path: Path
    size: tuple[int, ...]
    header_bytes: int
    levels: tuple[LevelBits, ...]

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return self.header_bytes + sum(level.bytes for level in self.levels)

    @property
    def rate_bits(self) -> float:
        """-log2 of the probabilities that the priors gave to all that was written."""
        return sum(level.rate_bits for level in self.levels)

    @property
    def bits_per_pixel(self) -> float:
        """Of the whole file, per position of the input: per pixel of every frame."""
        return 8 * self.bytes / math.prod(self.size)

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.bytes:,} bytes, {self.bits_per_pixel:.4f} bits per pixel, "
            f"{8 * self.bytes / self.rate_bits - 1:+.2%} to the rate",
            f"{'level':<6} {'numbers':>12} {'bytes':>12} {'rate, bits':>14} {'KL, bits':>14}",
        ]
        for k, level in enumerate(self.levels):
            bits = f"{level.rate_bits:>14,.0f} {level.kl_bits:>14,.0f}"
            lines.append(f"{k:<6} {level.numbers:>12,} {level.bytes:>12,} {bits}")
        return "\n".join(lines)


class BitstreamWriter:
    """Writes one file; it appears under its name when complete, or not at all.

        with BitstreamWriter(model, "clip.stl", fps=25) as writer:
            writer.append(frames)  # [1, C, t, H, W]; as many pieces as one likes
        print(writer.summary)

    Memory does not grow with the number of frames.

    Args:
        step: how wide a step of rounding is, in deviations of the posterior: one, or one per level.
            The default makes as much noise as the posterior; twice as much saves a bit per number.
        fps: frames per second, to be kept in the file.
        chunk_frames: how many go through the network together, a multiple of the coarsest stride
            in time; None is as many as `CHUNK_PIXELS` holds.
        replace: write over a former file.

    Attributes:
        summary: what was written, once it is complete.

    Raises:
        ValueError: something lies at `path`, an argument or the input does not suit the model, or
            the extra `entropy` is not installed.
    """

    def __init__(
        self,
        model: Ladder,
        path: str | Path,
        step: float | Sequence[float] = STEP,
        fps: float | None = None,
        chunk_frames: int | None = None,
        replace: bool = False,
    ) -> None:
        check_mode(model)
        self.model, self.path, self.fps = model, Path(path), fps
        if self.path.exists() and not replace:
            raise ValueError(f"{path} exists; give another path, or replace=True to overwrite it")
        self._choose = Writing(_per_level(step, len(model.levels)))
        self._numerics = numerics()
        self._chunks = _Chunks(model, chunk_frames)
        self._past: tuple[Tensor, ...] | None = None
        self._sections: list[Section] = []
        self.summary: BitstreamSummary | None = None

    def __enter__(self) -> BitstreamWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._sections = [Section(self.path.parent) for _ in self.model.levels]
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            if failure is None:
                self._finish()
        finally:
            for section in self._sections:
                section.file.close()

    def append(self, frames: Tensor) -> None:
        """Add frames `[1, C, t, H, W]` in [-1, 1]; without a time axis, the whole input, once."""
        for chunk in self._chunks.add(frames):
            self._encode(chunk)

    def _encode(self, x: Tensor) -> None:
        device, past = next(self.model.parameters()).device, Past(self._past)
        with exact(device):
            self.model.encode(x.to(device), self._choose, past)
        self._past = past.state
        for section, stream in zip(self._sections, self._choose.end_chunk(), strict=True):
            section.append(stream)

    def _finish(self) -> None:
        for chunk in self._chunks.end():
            self._encode(chunk)
        size, levels = self._chunks.size, self._choose.levels
        header = BitstreamHeader(
            fingerprint=fingerprint(self.model),
            numerics=self._numerics,
            fps=self.fps,
            chunk_frames=self._chunks.frames or 0,
            size=size,
            levels=tuple(
                LevelEntry(section.bytes, section.crc, level.tolerance, self._steps(k))
                for k, (section, level) in enumerate(zip(self._sections, levels, strict=True))
            ),
        )
        write_file(self.path, header, self._sections)
        self.summary = BitstreamSummary(self.path, size, len(header.to_bytes()), levels)

    def _steps(self, level: int) -> Tensor:
        """Of its groups side by side; none of codes."""
        groups = [steps for site, steps in self._choose.steps.items() if site.level == level]
        return torch.cat(groups) if groups else torch.empty(0, dtype=torch.bfloat16)


class _Chunks:
    """Cuts an input into what goes through the network together.

    Attributes:
        frames: per chunk, the first has one more; None until it is known, and without time.
    """

    def __init__(self, model: Ladder, frames: int | None) -> None:
        causal = model.domain.causal is not None
        self.unit = model.levels[0].stride[0] if causal else None
        if frames is not None and (self.unit is None or frames < 1 or frames % self.unit):
            allowed = (
                f"a multiple of {self.unit}" if causal else "None, since there is no time axis"
            )
            raise ValueError(f"chunk_frames is {frames}; for this model it must be {allowed}")
        self.frames = frames
        self._before = 0  # frames that have gone
        self._waiting: Tensor | None = None

    def add(self, x: Tensor) -> Iterator[Tensor]:
        """The chunks that became complete."""
        if len(x) != 1:
            raise ValueError(f"a batch of {len(x)} was given; a file holds one input")
        if self._waiting is not None:
            self._check(x)
            x = torch.cat([self._waiting, x], 2)
        if self.unit is not None:
            self.frames = self.frames or default_chunk_frames(self.unit, x.shape[3:])
            while x.shape[2] >= (full := self.frames + (not self._before)):
                self._before += full
                yield x[:, :, :full]
                x = x[:, :, full:]
        self._waiting = x.clone()

    def end(self) -> Iterator[Tensor]:
        """What is left."""
        if self._waiting is None:
            raise ValueError("nothing was given to encode; append at least one frame")
        if self._waiting.shape[2]:
            yield self._waiting

    @property
    def size(self) -> tuple[int, ...]:
        """Of the whole input along its axes."""
        first, *others = self._waiting.shape[2:]
        return self._before + first, *others

    def _check(self, x: Tensor) -> None:
        if self.unit is None:
            raise ValueError("this model's inputs have no time axis; append one input, once")
        if x.shape[3:] != self._waiting.shape[3:]:
            sizes = [list(part.shape[3:]) for part in (x, self._waiting)]
            raise ValueError(f"frames of {sizes[0]} follow frames of {sizes[1]}; give one size")


def default_chunk_frames(unit: int, size: Sequence[int]) -> int:
    """Frames per chunk of `size` (height, width): a multiple of `unit`."""
    return unit * max(1, CHUNK_PIXELS // (math.prod(size) * unit))


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """float32 as written: no autocast, no TF32, no algorithms that differ from run to run."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def check_mode(model: Ladder) -> None:
    """ValueError unless `model` does the same twice."""
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before coding with it")


def _per_level(step: float | Sequence[float], levels: int) -> list[float]:
    steps = [float(step)] * levels if isinstance(step, int | float) else list(step)
    if len(steps) != levels or not all(s > 0 and math.isfinite(s) for s in steps):
        raise ValueError(f"step is {step}; give one positive number, or {levels}, one per level")
    return steps
