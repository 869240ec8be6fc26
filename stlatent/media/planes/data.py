"""Planes as data: triplanes that were fitted or made elsewhere, and no mesh in sight.

A file holds one asset: floats `[3, C, n, n]`, the planes xy, xz, yz as in `triplane/planes.py`, as
`.npy` or as the one array of an `.npz`. They have any range, so a model reads them as x with
data = offset + scale * x; the `Scaling` is measured once and stays in the model's config.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...files import UnreadableError, writing
from ...geometry.volumes import array_headers
from ...model.config import Scaling
from ..source import named_files

PLANE_SUFFIXES = (".npy", ".npz")
KINDS = dict.fromkeys(PLANE_SUFFIXES, "planes")
WHAT = f"planes ({' '.join(PLANE_SUFFIXES)})"
MAX_BYTES = 2**31  # of an .npz, unpacked
DEVIATIONS = 2.0  # so many standard deviations become 1


def find_planes(root: str | Path) -> dict[str, Path]:
    """Files of planes below `root` (or `root` itself), by their path below it, in order of names.

    Raises:
        ValueError: nothing is there.
    """
    return {source.name: source.path for source in named_files(root, KINDS, WHAT)}


def read_planes(path: str | Path) -> Tensor:
    """The planes of a file `[C, 3, n, n]`, float32, in their own range.

    Raises:
        UnreadableError: it holds anything else, or values that are not finite.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npz":
            _check_claims(path)
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = [loaded] if isinstance(loaded, np.ndarray) else [*dict(loaded).values()]
    except UnreadableError:
        raise
    except (ValueError, EOFError, OSError, BadZipFile, zlib.error):  # numpy would speak of pickles
        raise UnreadableError(path, "is damaged, or holds something other than arrays") from None
    if not arrays:
        raise UnreadableError(path, "holds no array")
    array = arrays[0]
    if len(arrays) != 1 or array.dtype.kind != "f" or array.ndim != 4 or array.shape[0] != 3:
        held = ", ".join(f"{a.dtype} {list(a.shape)}" for a in arrays)
        raise UnreadableError(path, f"holds {held}; planes are one array of floats [3, C, n, n]")
    if array.shape[2] != array.shape[3]:
        raise UnreadableError(path, f"holds planes {list(array.shape)}, which are not square")
    if not np.isfinite(array).all():
        raise UnreadableError(path, "holds values that are not finite")
    return torch.from_numpy(array.astype(np.float32)).transpose(0, 1)


def _check_claims(path: Path) -> None:
    """A file of a few bytes may unpack to more than there is memory."""
    total = sum(math.prod(shape) * dtype.itemsize for shape, dtype in array_headers(path))
    if total > MAX_BYTES:
        raise UnreadableError(path, f"unpacks to {total:,} bytes; save it as .npy")


def write_planes(path: str | Path, planes: Tensor) -> None:
    """Write planes `[C, 3, n, n]` in their own range as one `.npy` `[3, C, n, n]`, float32."""
    with writing(path) as partial, open(partial, "wb") as file:
        np.save(file, planes.detach().float().cpu().transpose(0, 1).contiguous().numpy())


def measure_scaling(paths: Sequence[str | Path]) -> Scaling:
    """Mean and deviation of each channel over all files, read one at a time.

    Raises:
        UnreadableError: a file cannot be read, or has other channels than the first.
    """
    means, variances = [], []
    for path in paths:
        planes = read_planes(path).double()
        if means and len(planes) != len(means[0]):
            reason = f"has {len(planes)} channels; {paths[0]} has {len(means[0])}"
            raise UnreadableError(path, reason)
        means.append(planes.mean((1, 2, 3)))
        variances.append(planes.var((1, 2, 3), correction=0))
    mean = torch.stack(means)
    variance = torch.stack(variances).mean(0) + mean.var(0, correction=0)
    scale = torch.where(variance > 0, DEVIATIONS * variance.sqrt(), 1.0)
    return Scaling(offset=tuple(mean.mean(0).tolist()), scale=tuple(scale.tolist()))


def normalise(planes: Tensor, scaling: Scaling) -> Tensor:
    """Planes in their own range `[..., C, 3, n, n]` as a model reads them."""
    offset, scale = _columns(planes, scaling)
    return (planes - offset) / scale


def restore(x: Tensor, scaling: Scaling) -> Tensor:
    """Back to their own range: undoes `normalise`."""
    offset, scale = _columns(x, scaling)
    return offset + scale * x


def _columns(like: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
    return tuple(
        torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)
        for values in (scaling.offset, scaling.scale)
    )


class PlaneDataset(Dataset):
    """Planes as a model reads them, `[C, 3, n, n]` each.

    `dataset[i]` is the i-th in an endless order, a function of (seed, i) and the files alone, that
    shows all files once in each pass; `planes(i)` those of the i-th file. Both raise
    UnreadableError where a file holds something else.
    """

    def __init__(self, paths: Sequence[str | Path], scaling: Scaling, seed: int = 0) -> None:
        self.paths, self.scaling, self.seed = list(paths), scaling, seed

    def __getitem__(self, i: int) -> Tensor:
        number, place = divmod(i, len(self.paths))
        order = np.random.default_rng((self.seed, number)).permutation(len(self.paths))
        return self.planes(int(order[place]))

    def planes(self, index: int) -> Tensor:
        planes = read_planes(self.paths[index])
        if planes.shape[0] != len(self.scaling.offset):
            reason = f"has {planes.shape[0]} channels; the model has {len(self.scaling.offset)}"
            raise UnreadableError(self.paths[index], reason)
        return normalise(planes, self.scaling)
