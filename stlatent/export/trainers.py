"""Latents as trainers of diffusion models cache them.

All of them are packed, `[C, T, H, W]`, of pictures with one frame, float32, exactly as the exported
autoencoder's `encode(...).latent_dist.mode()` gives them: normalised, so that a trainer has nothing
to scale. Embeddings of captions are the trainer's own matter: it computes them from the list of
captions that lies beside the latents.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar, TextIO

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..store.records import Item

USUAL_FPS = 24.0  # of what has none


class TrainerCache(ABC):
    """The folder of one trainer.

    Attributes:
        files_of: pattern of the files that hold latents.
        file: under which key its list of captions names a source.
        captions: the name of that list, JSON or, by its suffix, JSON lines.
    """

    files_of: ClassVar[str]
    file: ClassVar[str]
    captions: ClassVar[str]

    def __init__(self, folder: Path, said: TextIO) -> None:
        self.folder, self.said, self.count = folder, said, 0
        self._between = "\n" if self.captions.endswith(".jsonl") else ",\n"

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[TrainerCache]:
        """The cache, whose list of captions is complete in the end."""
        folder.mkdir(parents=True, exist_ok=True)
        first, last = ("", "\n") if cls.captions.endswith(".jsonl") else ("[\n", "\n]\n")
        with open(folder / cls.captions, "w", encoding="utf-8") as said:
            said.write(first)
            yield cls(folder, said)
            said.write(last)

    def add(self, item: Item, name: PurePosixPath, latents: Tensor) -> None:
        """Write the latents of an item, whose unique name in this folder has no suffix."""
        latents = latents if latents.ndim == 4 else latents[:, None]
        row = {self.file: self.write(item, name, latents), "caption": item.caption or ""}
        self.said.write((self._between if self.count else "") + json.dumps(row))
        self.count += 1

    @abstractmethod
    def write(self, item: Item, name: PurePosixPath, latents: Tensor) -> str:
        """Write the latents alone; what the list of captions calls the item."""


class Ltx2(TrainerCache):
    """LTX-2's `ltx-trainer`, `PrecomputedDataset`: `.precomputed/latents/NAME.pt`, each a dict of
    `latents` `[C, F, H, W]`, their sizes, and `fps`. `process_captions.py` on `dataset.json` puts
    the `conditions` beside them, by the same names."""

    files_of = ".precomputed/latents/**/*.pt"
    file, captions = "media_path", "dataset.json"

    def write(self, item: Item, name: PurePosixPath, latents: Tensor) -> str:
        sizes = dict(zip(("num_frames", "height", "width"), latents.shape[1:], strict=True))
        path = self.folder / ".precomputed" / "latents" / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"latents": latents, **sizes, "fps": item.fps or USUAL_FPS}, path)
        return item.source


class Finetrainers(TrainerCache):
    """finetrainers, `PreprocessedDataIterable`: `latent-0-NUMBER.pt`, in the order of the captions:
    `latents` `[1, C, F, H, W]`, their sizes, and the mean and deviation to normalise by, which are
    0 and 1."""

    files_of = "latent-0-*.pt"
    file, captions = "file_name", "metadata.jsonl"

    def write(self, item: Item, name: PurePosixPath, latents: Tensor) -> str:
        sizes = dict(zip(("num_frames", "height", "width"), latents.shape[1:], strict=True))
        figures = {
            "latents_mean": torch.zeros(len(latents)),
            "latents_std": torch.ones(len(latents)),
        }
        values = {"latents": latents[None], **sizes, **figures}
        torch.save(values, self.folder / f"latent-0-{self.count}.pt")
        return item.source


class Musubi(TrainerCache):
    """musubi-tuner: `NAME_00000-017_0256x0256_wan.safetensors`, width before height, with one
    tensor `latents_FxHxW_float32`. Its data sets of videos end at a name without frames, so that
    pictures are videos of one. All are in one folder, and NAME is of one item alone. The embeddings
    of a caption are looked for under the NAME that its `video_path` has without folders and suffix,
    which is therefore that of no source."""

    files_of = "*_wan.safetensors"
    file, captions = "video_path", "metadata.jsonl"
    architecture = "wan"

    def __init__(self, folder: Path, said: TextIO) -> None:
        super().__init__(folder, said)
        self._taken: set[str] = set()  # names

    def write(self, item: Item, name: PurePosixPath, latents: Tensor) -> str:
        frames, (height, width) = (1, *item.size)[-3], item.size[-2:]
        about = {
            "architecture": self.architecture,
            "width": str(width),
            "height": str(height),
            "format_version": "1.0.1",
            "frame_count": str(frames),
        }
        stem, shape = self._stem(name), "x".join(map(str, latents.shape[1:]))
        which = f"{item.start:05d}-{frames:03d}_{width:04d}x{height:04d}_{self.architecture}"
        values = {f"latents_{shape}_float32": latents}
        save_file(values, self.folder / f"{stem}_{which}.safetensors", about)
        return stem + PurePosixPath(item.source).suffix

    def _stem(self, name: PurePosixPath) -> str:
        """A name without folders that no other item has: a/b is a__b, and if that is there,
        a__b_."""
        stem = "__".join(name.parts)
        while stem in self._taken:
            stem += "_"
        self._taken.add(stem)
        return stem


CACHES: dict[str, type[TrainerCache]] = {
    "ltx2": Ltx2,
    "finetrainers": Finetrainers,
    "musubi": Musubi,
}
