"""Videos and pictures as a medium."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...model.device import chunk_pixels
from ...model.ladder import Ladder
from ..base import Medium
from ..borders import worst_border_ratio
from ..coder import CoderFor
from ..encoder import Named, Sink
from ..figures import PSNR, Figure
from ..metrics import psnr, sharpness, ssim
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample
from ..source import Kind, Source
from ..training import TrainingSet
from .child import ClipPlan
from .clips import centre_clip
from .encode import VideoEncoder
from .files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_sources
from .framing import bucket
from .options import ClipOptions
from .pixels import to_uint8
from .training import ClipData, training_set
from .write import FORMATS, frame_writer, suffix

FRAMES, SIDE = 17, 128  # of a sample that is drawn, unless one asks
SHOWN = 9  # frames of an item at most are read for its picture; the last of them is shown

SSIM = Figure("ssim", "SSIM", 3)
SHARPNESS = Figure("sharpness", "Sharpness", 2)
BORDERS = Figure("borders", "Border ratio", 2)
DEFINITIONS = {
    "PSNR": "Over all values of a sample after rounding to 8 bits; the mean over samples.",
    "SSIM": (
        "Wang et al. 2004: Gaussian window of 11 taps, sigma 1.5, per frame and channel, inside "
        "the frame only; the mean over samples."
    ),
    "Sharpness": (
        "Deviation of the Laplacian of a frame over that of the original’s: 1 is as sharp, less is "
        "blurred, more is noisy; the mean over frames and samples."
    ),
    "Border ratio": (
        "Mean difference of neighbours across the borders of a level’s blocks, divided by that of "
        "all others: 1 where blocks cannot be told. The worst level; the mean over samples."
    ),
}


class Clips(Medium[np.ndarray]):
    """Videos and pictures, domains `video` and `image`; parts are frames uint8 `[t, H, W, 3]`.

    To an image model every picture stands for itself; to a video model a picture is a video of one
    frame, and a folder of numbered pictures a video.
    """

    what = "videos and pictures"
    parts = "frames"
    kinds = dict.fromkeys(VIDEO_SUFFIXES, "video") | dict.fromkeys(IMAGE_SUFFIXES, "image")
    shipped = "video"
    options = ClipOptions
    extents = ("size", "frames")
    formats = FORMATS
    shaped = frozenset({"tile"})
    coded = True
    data = ClipData
    definitions = DEFINITIONS

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain in ("video", "image")

    @property
    def still(self) -> bool:
        """Whether the model reads single pictures."""
        return not self.config.axes.has_time

    @property
    def noun(self) -> str:
        return "picture" if self.still else "clip"

    # sources to latents -------------------------------------------------------------------------

    def find(self, root: Path) -> list[Source]:
        sources = find_sources(root, frame_folders=not self.still)
        self.check(root, sources)
        return sources

    def check(self, root: str | Path, sources: Sequence[Named]) -> None:
        videos = [one.name for one in sources if one.kind != "image"]
        if self.still and videos:
            raise ValueError(
                f"the model's domain is 'image', but {root} holds {len(videos)} videos, such as "
                f"{videos[0]}; give a video model, or a folder of pictures alone"
            )

    def resolve(self, options: SourceOptions) -> dict[str, object]:
        if options.buckets:
            bucket((1, 1), options.buckets, self._step)  # whether there is any
        return super().resolve(options) | {"tile": self.tile(options.tile)}

    @property
    def _step(self) -> int:
        """Sides that are multiples of this are encoded without padding."""
        return math.lcm(*self.config.axes.of_space(self.config.levels[0].stride))

    def plan(self, options: SourceOptions, device: torch.device) -> ClipPlan:
        return ClipPlan(
            unit=self.config.axes.of_time(self.config.levels[0].stride),
            pixels=chunk_pixels(device),
            still=self.still,
            short_side=options.short_side,
            size=options.size,
            buckets=options.buckets,
            step=self._step,
            fps=options.fps,
            clip_frames=options.clip_frames,
            scenes=options.scenes,
            background=options.background,
        )

    def encoder(
        self,
        model: Ladder,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> VideoEncoder:
        return VideoEncoder(model, options, sink, std, coder)

    # latents to files ---------------------------------------------------------------------------

    def take(self, model: Ladder, x: Tensor, sample: Sample) -> np.ndarray:
        return to_uint8(x[0][:, None] if self.still else x[0])

    def write(self, path: Path, parts: Iterable[np.ndarray], sample: Sample, how: Output) -> int:
        size, count = (1, *sample.size)[-3:], 0  # a picture is one frame
        still = sample.kind == "image"
        with frame_writer(path, self.format(how), still, size, sample.fps) as writer:
            for frames in parts:
                writer.write(frames)
                count += len(frames)
        return count

    def ending(self, kind: Kind, how: Output) -> str:
        return suffix(self.format(how), kind == "image")

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        return 0 if start else _shown(sample)

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        frame = None
        for _, frames in pieces:
            frame = frames[-1].copy()
        return frame

    def part_picture(self, parts: Iterable[np.ndarray], sample: Sample) -> np.ndarray:
        count = _shown(sample)
        for frames in parts:
            if len(frames) >= count:
                return frames[count - 1]
            count -= len(frames)
        raise ValueError("there are fewer frames than the data set says")

    # samples ------------------------------------------------------------------------------------

    def blank(self, extent: Extent) -> Sample:
        extent.check(self.what, self.extents)
        if self.still and extent.frames not in (None, 1):
            raise ValueError(
                f"--frames is {extent.frames}, but an image model draws single pictures"
            )
        size = extent.size or (SIDE, SIDE)
        if self.still:
            return Sample("image", size)
        return Sample("video", (extent.frames or FRAMES, *size))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        size = (1, *sample.size)[-3:]
        clip, fps = centre_clip(path, size)
        if clip.shape[2:] != size:
            given, asked = ("x".join(map(str, shape)) for shape in (clip.shape[2:], size))
            raise ValueError(f"{path} has {given} (TxHxW) to give, not {asked}; ask for less")
        return self._entered(clip), replace(sample, fps=fps)

    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        size = (extent.frames or FRAMES, *(extent.size or (SIDE, SIDE)))
        return self._entered(centre_clip(source.path, size)[0])

    def _entered(self, clip: Tensor) -> Tensor:
        """`[1, 3, T, H, W]` as the model reads it."""
        return clip[:, :, 0] if self.still else clip

    # measuring and training ---------------------------------------------------------------------

    @property
    def figures(self) -> tuple[Figure, ...]:
        return PSNR, SSIM, SHARPNESS, BORDERS

    def quality(self, x: Tensor, y: Tensor) -> float:
        return float(psnr(x, y))

    def compare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        strides = [level.stride for level in self.config.levels]
        return super().compare(x, y) | {
            "ssim": float(ssim(x, y)),
            "sharpness": float(sharpness(x, y)),
            "borders": worst_border_ratio(y, self.config.axes, strides),
        }

    def frames(self, x: Tensor) -> np.ndarray:
        return to_uint8((x[0][:, None] if self.still else x[0]).expand(3, -1, -1, -1))

    def check_report(self) -> None:
        if self.config.channels not in (1, 3):
            raise ValueError(
                f"the model reads pictures of {self.config.channels} channels; a report shows "
                f"those of 1 or 3"
            )

    def training_set(self, data: ClipData, seed: int) -> TrainingSet:
        return training_set(self.config, data, seed)

    object_type = "pil"

    def objects(self, model: Ladder, x: Tensor) -> list[Image.Image] | list[list[Image.Image]]:
        """Pictures, or lists of frames."""
        videos = [[Image.fromarray(f) for f in self.frames(one)] for one in x.split(1)]
        return [pictures[0] for pictures in videos] if self.still else videos


def _shown(sample: Sample) -> int:
    """Which frame of an item is shown, counted from 1."""
    return min(sample.size[0], SHOWN) if len(sample.size) == 3 else 1
