"""Training on shapes, by domain `voxel` or through triplanes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import Model
from ..geometry.cache import FieldCache
from ..geometry.metrics import volume_iou
from ..geometry.preview import contact_sheet, shape_picture
from ..geometry.values import Values
from ..media.shape.data import (
    AS_IT_IS,
    ShapeBatch,
    ShapeDataset,
    collate_shapes,
    find_shapes,
    held_out_shapes,
    symmetries,
)
from ..triplane.autoencoder import as_volume
from .config import RunConfig, ShapeDataConfig
from .data import Figures, TrainingData
from .measure import measured, write_picture
from .order import Mixture, Order, loader

SHOWN_SHAPES, SHOWN_PIXELS = 8, 160


class Shapes(TrainingData):
    """Random variants of the shapes in a folder, held-out ones as they are.

    Raises:
        ValueError: a folder is missing or holds no shapes, or a held-out one cannot be read.
    """

    quality = "volume_iou"

    def __init__(self, config: RunConfig) -> None:
        self.config, data = config, config.data
        self.values = Values.of(config.model)
        self.cache = FieldCache(data.cache.expanduser(), data.fields)
        files = find_shapes(data.root)
        names = data.validation.names
        held = held_out_shapes(files, names, self.cache, data.root)
        self.held_out = {n: self.values.from_field(field)[None] for n, field in held.items()}
        kinds = {"shapes": self._dataset({n: p for n, p in files.items() if n not in names})}
        if data.more is not None:
            kinds["more"] = self._dataset(find_shapes(data.more))
        self.bad = {name: why for kind in kinds.values() for name, why in kind.bad.items()}
        self.mixture = Mixture(kinds)

    def _dataset(self, files: dict) -> ShapeDataset:
        data: ShapeDataConfig = self.config.data
        return ShapeDataset(
            files,
            self.cache,
            self.values,
            data.variants,
            symmetries(data.upright) if data.turned else AS_IT_IS,
            data.volume_axes,
            self.config.seed,
        )

    def batches(self, step: int, rank: int = 0, processes: int = 1) -> Iterable[ShapeBatch]:
        data, config = self.config.data, self.config
        reads = dict.fromkeys(self.mixture.kinds, data.batch)
        accumulate, seed = config.optimiser.accumulate, config.seed
        order = Order(reads, data.more_share, accumulate, seed, rank, processes)
        return loader(self.mixture, order, step, data.workers, collate_shapes)

    def enter(self, batch: ShapeBatch, device: torch.device) -> Tensor:
        return batch.values.to(device)

    def measure(self, model: Model, step: int) -> Figures | None:
        """Volume IoU per prefix and bits per level, means over the shapes."""
        if not self.held_out:
            return None
        quality, bits, pictures = [], [], []
        band_voxels = self.config.data.fields.band_voxels
        for original in self.held_out.values():
            decoded, own_bits = measured(model, original)
            samples = (original, *(as_volume(model, x) for x in decoded))
            field, *fields = (self.values.to_field(x[0], band_voxels) for x in samples)
            quality.append([volume_iou(field.distance, other.distance) for other in fields])
            bits.append(own_bits)
            if len(pictures) < SHOWN_SHAPES * (1 + len(fields)):
                pictures += [shape_picture(one, SHOWN_PIXELS) for one in (field, *fields)]
        sheet = contact_sheet(np.stack(pictures), 2 * (1 + len(model.levels)))
        write_picture(self.config.out, step, sheet)
        return {
            "volume_iou": [round(float(v), 4) for v in np.mean(quality, 0)],
            "bits_per_value": [round(float(b), 6) for b in np.mean(bits, 0)],
        }
