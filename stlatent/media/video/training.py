"""Training on clips of videos, and on pictures."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from pydantic import model_validator
from torch import Tensor

from ...losses.elbo import Share
from ...model.config import ModelConfig, Positive
from ...model.domain import Domain
from ..source import Source
from ..training import DataConfig, HeldOut, Rate, TrainingSet
from .cache import FrameCache
from .check import check_sources
from .clips import Batch, ClipDataset, centre_clip, collate
from .files import find_sources
from .pixels import to_float


class ValidationConfig(HeldOut):
    """The same for clips: centre crop, first frames.

    Attributes:
        frames: of each clip.
        crop: side of the square, in pixels.
    """

    frames: Positive = 17
    crop: Positive = 256


class ClipData(DataConfig):
    """How clips are cut of videos, or of images for an image model.

    Attributes:
        photos: folder of images that a video model also sees, as single frames.
        photo_share: part of the batches that are photos.
        frames: per clip. With a causal axis at least 1 + 2 strides of the coarsest level, or else
            convolutions never see their whole past in training, as they will in use.
        crop: side of the square, in pixels.
        frame_step: smallest and largest distance between the frames of a clip.
        scale: smallest and largest factor by which a frame is resized before it is cut.
        crops_per_read: samples cut from one decoded window of a file.
        cache: folder that keeps decoded frames, where training is short of processors, not of disk.
    """

    photos: Path | None = None
    photo_share: Share = 0.1
    frames: Positive = 9
    crop: Positive = 128
    frame_step: tuple[Positive, Positive] = (1, 2)
    scale: tuple[Rate, Rate] = (0.5, 1.0)
    crops_per_read: Positive = 1
    cache: Path | None = None
    validation: ValidationConfig = ValidationConfig()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return domain.size(self.frames, (self.crop, self.crop))

    @model_validator(mode="after")
    def _whole_reads(self) -> ClipData:
        if self.batch_size % self.crops_per_read:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a multiple of crops_per_read, "
                f"{self.crops_per_read}"
            )
        return self


def training_set(model: ModelConfig, data: ClipData, seed: int) -> TrainingSet:
    """Random clips of the files in a folder; of held-out ones the first frames, centre crop.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    still = not model.axes.has_time
    # to an image model, a folder of frames is so many pictures
    found = {s.name: s for s in find_sources(data.root, frame_folders=not still)}
    names = data.validation.names
    data.check_names(found)
    good, bad = check_sources([s for name, s in found.items() if name not in names])
    names = names or data.validation.chosen(source.name for source in good)
    good = [source for source in good if source.name not in names]
    kinds = {"clips": _dataset(data, good, 1 if still else data.frames, seed)}
    reads = {"clips": data.batch_size // data.crops_per_read}
    if data.photos is not None:  # they fill a batch with as many latents as clips do
        photos, unreadable = check_sources(find_sources(data.photos, frame_folders=False))
        kinds["photos"] = _dataset(data, photos, 1, seed)
        latents = [_latents(model, data, frames) for frames in (data.frames, 1)]
        reads["photos"] = reads["clips"] * latents[0] // latents[1]
        bad = bad + unreadable
    size = (1 if still else data.validation.frames, *[data.validation.crop] * 2)
    held = {name: centre_clip(found[name].path, size)[0] for name in names}

    def enter(batch: Batch, device: torch.device) -> Tensor:
        """uint8 clips `[B, T, H, W, 3]` -> `[B, C, *axes]` in [-1, 1]."""
        x = to_float(batch.clips.to(device))
        return x.squeeze(2) if still else x

    return TrainingSet(
        kinds=kinds,
        reads=reads,
        share=data.photo_share,
        collate=collate,
        enter=enter,
        held_out={n: clip.squeeze(2) if still else clip for n, clip in held.items()},
        bad={str(error.path): error.reason for error in bad},
    )


def _dataset(data: ClipData, sources: list[Source], frames: int, seed: int) -> ClipDataset:
    return ClipDataset(
        sources,
        frames,
        data.crop,
        data.frame_step if frames > 1 else (1, 1),
        data.scale,
        seed=seed,
        cache=FrameCache(data.cache) if data.cache else None,
        crops_per_read=data.crops_per_read,
    )


def _latents(model: ModelConfig, data: ClipData, frames: int) -> int:
    """Positions of the finest level in a clip."""
    size = model.axes.size(frames, (data.crop, data.crop))
    coarsest, finest = model.levels[0].stride, model.levels[-1].stride
    padded = model.axes.samples(model.axes.shape(size, coarsest), coarsest)
    return math.prod(model.axes.shape(padded, finest))
