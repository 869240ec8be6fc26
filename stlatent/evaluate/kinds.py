"""What a report measures and shows of clips, and what of shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from ..geometry.values import Values
from ..model.config import ModelConfig
from . import shapes, summary
from .diagnostics import clip_quality
from .figures import PSNR, SSIM, Figure
from .media import fitted, to_frames


@dataclass(frozen=True)
class Kind:
    """What there is to know about a kind of samples.

    Attributes:
        figures: of every prefix, the most important one first.
        quality: from a sample, its latents, KL and decoded prefixes to a record per prefix that
            has the figures; see `clip_quality`.
        show: from a sample `[1, C, *axes]` to frames, uint8 `[T, H, W, 3]`.
        space: number of space axes.
        definitions: of the figures, in words.
        noun: what a sample is called.
    """

    figures: tuple[Figure, ...]
    quality: Callable[..., tuple]
    show: Callable[[Tensor], np.ndarray]
    space: int
    definitions: dict[str, str]
    noun: str


def kind_of(model: ModelConfig) -> Kind:
    """The kind of samples that a model reads.

    Raises:
        ValueError: there is no report for such a model.
    """
    if model.reads == "shapes":
        values = Values.of(model)
        return Kind(
            shapes.FIGURES if values.coloured else shapes.FIGURES[:-1],
            partial(shapes.shape_quality, values=values),
            partial(shapes.shape_views, values=values),
            3,
            shapes.DEFINITIONS,
            "shape",
        )
    if model.reads != "clips" or model.channels not in (1, 3):
        raise ValueError(
            f"the model reads {model.reads} (domain '{model.domain}') of {model.channels} "
            f"channels; a report shows clips of 1 or 3 channels, or shapes of 1 or 4"
        )
    noun = "clip" if model.axes.causal is not None else "picture"
    return Kind((PSNR, SSIM), clip_quality, _frames, 2, summary.CLIP_DEFINITIONS, noun)


def _frames(x: Tensor) -> np.ndarray:
    return fitted(to_frames(x))
