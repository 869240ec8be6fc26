"""In which precision a network runs here."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

PRECISIONS = ("fp32", "bf16")


def native_precision(device: torch.device) -> str:
    """`bf16` where the device multiplies in it, and not merely accepts it; else `fp32`."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: str | None = None) -> AbstractContextManager:
    """Run what follows in `fp32` or `bf16`; None is what the device is made for.

    Raises:
        ValueError: another precision was given.
    """
    precision = precision or native_precision(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is '{precision}'; it can be {' or '.join(PRECISIONS)}")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
