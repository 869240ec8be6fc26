"""How a network runs on the device where it lies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

PRECISIONS = ("fp32", "bf16")
# Pixels of all frames that go through the network at a time. A CPU is a quarter faster while the
# features stay in its caches; a GPU wants enough to do.
CPU_CHUNK_PIXELS = 2**19  # 8 frames of 256 x 256
GPU_CHUNK_PIXELS = 2**22


def native_precision(device: torch.device) -> str:
    """`bf16` where the device multiplies in it, and not merely accepts it; else `fp32`."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    return "bf16" if native else "fp32"


def out_of_memory(error: Exception) -> bool:
    """Whether a computation ended because there is not that much memory."""
    told = isinstance(error, RuntimeError) and re.search("allocate|overflow", str(error))
    return bool(told) or isinstance(error, MemoryError)


def autocast(device: torch.device, precision: str | None = None) -> AbstractContextManager:
    """Run what follows in `fp32` or `bf16`; None is what the device is made for.

    Raises:
        ValueError: another precision was given.
    """
    precision = precision or native_precision(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is '{precision}'; it can be {' or '.join(PRECISIONS)}")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def check_device(device: str | torch.device) -> None:
    """Raise ValueError unless values can be kept and read on `device`."""
    try:
        torch.ones(1, device=device).item()
    except Exception as error:  # of many kinds, by device
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"device '{device}' cannot be used: {reason}; give cpu or cuda") from None


@contextmanager
def as_written(device: torch.device) -> Iterator[None]:
    """Run what follows in float32 as written: no autocast, no TF32, no algorithms that differ from
    run to run."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def chunk_units(device: torch.device, size: Sequence[int], unit: int) -> int:
    """How many units of `unit` frames of `size` (height, width) to put through at a time."""
    return max(1, chunk_pixels(device) // (math.prod(size) * unit))


def chunk_pixels(device: torch.device) -> int:
    """Pixels of all frames that go through the network at a time."""
    return CPU_CHUNK_PIXELS if device.type == "cpu" else GPU_CHUNK_PIXELS
