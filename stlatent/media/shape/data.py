"""Shapes to train on: meshes and volumes in folders, each a field, in many variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ...geometry.cache import Cache, FieldCache, Made
from ...geometry.cube import Placement
from ...geometry.read import MESH_SUFFIXES, BadMeshError
from ...geometry.resample import straightened, volume_field
from ...geometry.values import Values
from ...geometry.volumes import VOLUME_SUFFIXES, Volumes, read_volumes
from ...triplane.planes import turn_volume
from ..rounds import Rounds
from ..source import named_files
from ..training import SampleRead
from ..video.files import IMAGE_SUFFIXES

KINDS = dict.fromkeys(MESH_SUFFIXES, "mesh") | dict.fromkeys(VOLUME_SUFFIXES, "volume")
WHAT = f"mesh ({' '.join(MESH_SUFFIXES)}) and no volume ({' '.join(VOLUME_SUFFIXES)})"
BESIDE = (".mtl", ".bin", *IMAGE_SUFFIXES)  # what meshes refer to
AS_IT_IS = (("x", "y", "z"),)


def find_shapes(root: str | Path) -> dict[str, Path]:
    """All meshes and volumes below `root` (or `root` itself, if it is a file) by their name, which
    is the path below it, in order.

    Hidden files are passed over; files of other types and folders that cannot be read are named in
    the log. Raises ValueError where there are none.
    """
    return {source.name: source.path for source in named_files(root, KINDS, WHAT, BESIDE)}


class ShapeDataset(Dataset):
    """`dataset[i]` is the i-th shape, a function of (seed, i) and the files alone.

    The shapes of all files come in rounds, see `Rounds`, each in a random one of its variants and
    symmetries.

    Args:
        files: meshes and volumes, by name.
        cache: of the meshes' fields.
        values: what the model reads.
        variants: shapes made of each mesh, itself and others that are stretched, bent and turned.
        symmetries: the ways in which shapes are shown, as axes of `turn_volume`.
        volume_axes: see `Placement.axes`.

    Attributes:
        bad: reason by name of files of volumes that cannot be read.

    Raises:
        ValueError: nothing can be read.
    """

    def __init__(
        self,
        files: dict[str, Path],
        cache: FieldCache,
        values: Values,
        variants: int = 1,
        symmetries: Sequence[tuple[str, ...]] = AS_IT_IS,
        volume_axes: Sequence[str] = ("x", "y", "z"),
        seed: int = 0,
    ) -> None:
        self.cache, self.values, self.seed, self.variants = cache, values, seed, variants
        self.symmetries = symmetries
        self.items: list[tuple[str, Path | Volumes, int]] = []
        self.bad: dict[str, str] = {}
        for name, path in files.items():
            if path.suffix.lower() in MESH_SUFFIXES:
                self.items.append((name, path, 0))
                continue
            try:
                band, placement = cache.settings.band_voxels, Placement(axes=tuple(volume_axes))
                volumes = read_volumes(path, band, placement)
            except BadMeshError as error:
                self.bad[name] = error.reason
                continue
            self.items += [(name, volumes, index) for index in range(len(volumes))]
        if not self.items:
            some = "".join(f"; the first, {name}: {why}" for name, why in [*self.bad.items()][:1])
            raise ValueError(f"none of {len(files)} files can be read{some}")
        self.rounds = Rounds([name for name, *_ in self.items], seed)

    def __getitem__(self, i: int) -> SampleRead:
        def shape(which: int) -> Tensor:
            _, source, index = self.items[which]
            return self._shape(source, index, np.random.default_rng((self.seed, 1, i)))

        return SampleRead(*self.rounds.read(i, shape))

    def _shape(self, source: Path | Volumes, index: int, rng: np.random.Generator) -> Tensor:
        variant = int(rng.integers(self.variants))
        axes = self.symmetries[rng.integers(len(self.symmetries))]
        if isinstance(source, Volumes):
            field = straightened(volume_field(source, index, self.cache.settings))
        else:
            field = self.cache.open(source, variant)
        return turn_volume(self.values.from_field(field)[None], axes)[0].contiguous()


def held_out_shapes(
    files: dict[str, Path], names: Sequence[str], cache: Cache[Made], root: Path
) -> dict[str, Made]:
    """What is made of the meshes called `names`.

    Raises:
        ValueError: a name is not there, or no mesh that can be read.
    """
    for name in names:
        if name not in files or files[name].suffix.lower() not in MESH_SUFFIXES:
            raise ValueError(
                f"data.validation.names lists '{name}', which is no mesh in {root}; "
                "give names relative to data.root"
            )
    return {name: cache.open(files[name]) for name in names}
