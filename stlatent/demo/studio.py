"""What the page does, without the page: files to levels, levels to files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ..checkpoint import Model, load
from ..evaluate.diagnostics import decode_prefixes, sample_quality
from ..evaluate.pictures import mp4, side_by_side
from ..jobs.sample import draw_samples
from ..media.base import Medium, Sample
from ..media.options import Extent
from ..media.output import Output
from ..media.registry import medium_of
from ..model.fingerprint import fingerprint
from ..model.passes import Encoded
from ..triplane.autoencoder import as_volume

FPS = 12.0  # of what has no rate of its own


@dataclass(frozen=True)
class Opened:
    """A file and its levels.

    Attributes:
        name: of the file.
        x: as the model reads it `[1, C, *axes]`.
        prefixes: decoded from levels 0, 0-1, ..., all.
    """

    name: str
    model: Model
    medium: Medium
    sample: Sample
    x: Tensor
    latents: Encoded
    prefixes: list[Tensor]


class Studio:
    """The models that there are, each for its kinds of files."""

    def __init__(self, references: Sequence[str], device: str = "cpu") -> None:
        """ValueError where a model cannot be loaded."""
        self.models = [load(reference, device) for reference in references]

    @property
    def suffixes(self) -> list[str]:
        """Of files that a model here reads."""
        return sorted({suffix for model in self.models for suffix in medium_of(model).kinds})

    @torch.inference_mode()
    def open(self, path: str | Path, extent: Extent, like: Opened | None = None) -> Opened:
        """Encode the beginning and centre of a file, and decode every prefix.

        Args:
            extent: at most so much of it.
            like: of exactly the size of this, by the same model.

        Raises:
            ValueError: no model here reads it, or it cannot be read, or is too small for `like`.
        """
        path = Path(path)
        model = like.model if like else self._model(path)
        medium = medium_of(model)
        size = like.sample.size if like else self._size(medium, path, extent)
        blank = replace(medium.blank(Extent()), size=size)
        x, sample = medium.open(path, blank)
        sample = replace(sample, kind=medium.kinds.get(path.suffix.lower(), sample.kind))
        latents = model.encode(x.to(next(model.parameters()).device))
        prefixes = [y.to("cpu") for y in decode_prefixes(model, latents)]
        return Opened(path.name, model, medium, sample, x, latents, prefixes)

    @torch.inference_mode()
    def redraw(self, opened: Opened, held: Sequence[int], temperature: float, seed: int) -> Tensor:
        """A draw `[1, C, *axes]` with these levels held, see `draw_samples`."""
        kept, size = opened.latents.held(held) if held else None, opened.latents.size
        (drawn,) = draw_samples(opened.model, size, 1, kept, temperature, seed)
        return as_volume(opened.model, drawn).to("cpu")

    @torch.inference_mode()
    def mix(self, a: Opened, b: Opened, of_b: Sequence[int]) -> Tensor:
        """`[1, C, *axes]` from the levels `of_b` of b and the others of a."""
        mixed = a.latents.mixed(b.latents, of_b)
        return as_volume(a.model, a.model.decode(mixed)).to("cpu")

    def write(self, opened: Opened, x: Tensor, folder: Path, name: str) -> Path:
        """A sample `[1, C, *axes]` as the file that people open."""
        how, medium = Output(), opened.medium
        path = folder / f"{name}{medium.ending(opened.sample.kind, how)}"
        sample = replace(opened.sample, fps=opened.sample.fps or FPS)
        if not medium.write(path, [medium.take(opened.model, x, sample)], sample, how):
            raise ValueError("what was decoded is empty; take more levels, or a lower temperature")
        return path

    def panels(self, opened: Opened, folder: Path) -> Path:
        """The original and every prefix side by side, in step: an mp4, or a picture."""
        shown = [opened.medium.frames(y) for y in (opened.x, *opened.prefixes)]
        frames = side_by_side(shown)
        if len(frames) == 1:
            Image.fromarray(frames[0]).save(path := folder / "prefixes.png")
            return path
        path = folder / "prefixes.mp4"
        path.write_bytes(mp4(np.ascontiguousarray(frames), opened.sample.fps or FPS))
        return path

    def table(self, opened: Opened) -> list[list[str]]:
        """Per level: stride, numbers, bits, and the first figure of the prefix that ends there."""
        medium, latents, rows = opened.medium, opened.latents, []
        main, before, bits_before = medium.figures[0], 0, 0.0
        kl = [nats.cpu() for nats in latents.kl]
        found = sample_quality(medium, opened.x, latents, kl, opened.prefixes)
        for k, (level, one) in enumerate(zip(opened.model.levels, found, strict=True)):
            rows.append([
                str(k),
                "×".join(map(str, level.stride)),
                f"{one.numbers - before:,}",
                f"{one.bits - bits_before:,.0f}",
                main.text(one.figures[main.key]),
            ])  # fmt: skip
            before, bits_before = one.numbers, one.bits
        return rows

    def save_latents(self, opened: Opened, folder: Path) -> Path:
        """`level_0`, `level_1`, ... as one safetensors file that says of which model and size; of a
        sparse model whole grids, see `SparseLadder.grids`."""
        path, model = folder / "latents.safetensors", opened.model
        grids = model.grids(opened.latents) if model.domain.sparse else opened.latents.levels
        levels = {f"level_{k}": z.cpu().contiguous() for k, z in enumerate(grids)}
        said = {"model": fingerprint(model), "size": json.dumps(opened.latents.size)}
        save_file(levels, path, said)
        return path

    def _model(self, path: Path) -> Model:
        suffix = path.suffix.lower()
        found = next((m for m in self.models if suffix in medium_of(m).kinds), None)
        if found is None:
            raise ValueError(
                f"no model here reads '{suffix}' files; give {', '.join(self.suffixes)}"
            )
        return found

    @staticmethod
    def _size(medium: Medium, path: Path, extent: Extent) -> tuple[int, ...]:
        found = next(iter(medium.samples(path, 1, extent)), None)
        if found is None:
            raise ValueError(f"{path.name} cannot be read as one of {medium.what}")
        return tuple(found[1].shape[2:])
