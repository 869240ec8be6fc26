"""Scans as the medical formats have them: NIfTI files, and folders of the slices of a DICOM series.

The packages of the extra `scans` are imported when they are first needed.
"""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...files import UnreadableError, written
from .files import VolumeSequence, check_volumes

NIFTI = (".nii", ".nii.gz")
DICOM = ".dcm"
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
EVEN = 0.02  # by how much of a slice's distance slices may be off
MOST = 32767  # entries along an axis of NIfTI-1


def needed(module: str) -> ModuleType:
    """`nibabel` or `pydicom`; ValueError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"scans need {module}, which cannot be imported ({error}); install it with: "
            "pip install 'stlatent[scans]'"
        ) from error


def open_nifti(path: Path) -> VolumeSequence:
    """A file `[X, Y, Z]` or `[X, Y, Z, T]`; values are scaled as its header says, and only those
    are read that are asked for.

    Raises:
        UnreadableError: it is no NIfTI file, or holds anything else than numbers of that shape.
    """
    nibabel = needed("nibabel")
    try:
        image = nibabel.load(path)
        stored, shape = image.dataobj, tuple(int(n) for n in image.shape)
        kind, affine = np.dtype(image.get_data_dtype()).kind, image.affine
        zooms, units = image.header.get_zooms(), image.header.get_xyzt_units()
    except Exception as error:  # whatever a damaged file brings out of nibabel
        raise UnreadableError(path, f"is no NIfTI file that can be read ({error})") from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if kind not in "fiu" or len(shape) not in (3, 4):
        raise UnreadableError(path, f"holds {kind} {list(shape)}; give numbers [X, Y, Z (, T)]")
    sequence = len(shape) == 4
    rest = (0,) * (len(image.shape) - len(shape))

    def take(steps: slice, box: Sequence[slice]) -> np.ndarray:
        try:
            found = np.asarray(stored[(*box, *([steps] if sequence else []), *rest)], np.float32)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise UnreadableError(path, f"is damaged or cut off ({error})") from None
        return (np.moveaxis(found, 3, 0) if sequence else found[None])[..., None]

    seconds = zooms[3] * SECONDS.get(units[1], 1.0) if sequence else 0.0
    fps = float(1 / seconds) if np.isfinite(seconds) and 1e-6 < seconds < 1e6 else None
    size = (shape[3] if sequence else 1, *shape[:3], 1)
    return check_volumes(VolumeSequence(path, size, take, _rows(affine), fps))


def open_series(path: Path) -> VolumeSequence:
    """The slices of a series in one folder, or one file of many frames, `[X, Y, Z]` in the units
    that they are rescaled to, such as Hounsfield's.

    Raises:
        UnreadableError: they are several series, of different sizes, or not evenly spaced; or their
            pixels cannot be decoded.
    """
    pydicom = needed("pydicom")
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if is_dicom(f))
    try:
        heads = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
        if len({head.SeriesInstanceUID for head in heads}) > 1:
            raise UnreadableError(path, "holds several series; give each a folder of its own")
        if len(heads) == 1 and int(getattr(heads[0], "NumberOfFrames", 1)) > 1:
            return _frames(pydicom, files[0])
        return _slices(pydicom, path, [*zip(files, heads, strict=True)])
    except UnreadableError:
        raise
    except Exception as error:  # whatever a damaged file brings out of pydicom
        raise UnreadableError(path, f"is no series that can be read ({error})") from None


def is_dicom(path: Path) -> bool:
    """By its name alone."""
    return path.suffix.lower() == DICOM and path.is_file()


def _slices(pydicom: ModuleType, path: Path, files: list[tuple[Path, Any]]) -> VolumeSequence:
    heads = [head for _, head in files]
    sizes = {(int(head.Rows), int(head.Columns)) for head in heads}
    turned = {tuple(np.round(_directions(head).ravel(), 3)) for head in heads}
    if len(sizes) > 1 or len(turned) > 1:
        raise UnreadableError(path, "holds slices of different sizes or directions")
    (rows, columns), first = sizes.pop(), heads[0]
    normal = np.cross(*_directions(first))
    places = np.array([np.dot(_position(head), normal) for head in heads])
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    distance = float(np.median(steps)) if len(steps) else float(first.get("SliceThickness") or 1)
    if len(steps) and (distance <= 0 or np.abs(steps - distance).max() > EVEN * distance):
        raise UnreadableError(path, "holds slices that are not evenly spaced: some are missing")
    names = [files[i][0] for i in order]
    origin = _position(heads[order[0]])

    def take(steps: slice, box: Sequence[slice]) -> np.ndarray:
        slices = [_values(pydicom, name, path) for name in names[box[2]]]
        return np.stack([one.T[box[0], box[1]] for one in slices], -1)[None, ..., None]

    affine = _affine(first, origin, normal * distance)
    return check_volumes(
        VolumeSequence(path, (1, columns, rows, len(names), 1), take, affine, None)
    )


def _frames(pydicom: ModuleType, file: Path) -> VolumeSequence:
    values = _values(pydicom, file, file)  # [Z, rows, columns]
    whole = np.ascontiguousarray(values.transpose(2, 1, 0))[None, ..., None]

    def take(steps: slice, box: Sequence[slice]) -> np.ndarray:
        return whole[(slice(None), *box)]

    return check_volumes(VolumeSequence(file, whole.shape, take, None, None))


def _values(pydicom: ModuleType, file: Path, path: Path) -> np.ndarray:
    """Pixels in the units that the file names, float32."""
    try:
        data = pydicom.dcmread(file)
        pixels = data.pixel_array
        if int(data.get("SamplesPerPixel", 1)) != 1:
            raise UnreadableError(path, "holds colours; give scans of one value per voxel")
        slope, offset = (float(data.get(f"Rescale{name}", n)) for name, n in RESCALE)
    except UnreadableError:
        raise
    except Exception as error:  # a file cut short, or compressed by what is not installed
        raise UnreadableError(path, f"has pixels that cannot be decoded ({error})") from None
    return pixels.astype(np.float32) * np.float32(slope) + np.float32(offset)


RESCALE = (("Slope", 1), ("Intercept", 0))


def _directions(head: Any) -> np.ndarray:
    """Along a row and along a column, `[2, 3]`."""
    return np.array(head.get("ImageOrientationPatient", (1, 0, 0, 0, 1, 0)), float).reshape(2, 3)


def _position(head: Any) -> np.ndarray:
    """Of the first pixel, in mm."""
    return np.array(head.get("ImagePositionPatient", (0, 0, 0)), float)


def _affine(head: Any, origin: np.ndarray, step: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """DICOM counts to the left and to the back, NIfTI to the right and to the front."""
    across = np.array(head.get("PixelSpacing", (1, 1)), float)
    along_row, along_column = _directions(head)
    columns = (along_row * across[1], along_column * across[0], step, origin)
    return _rows(np.diag([-1, -1, 1]) @ np.stack(columns, 1))


def _rows(affine: np.ndarray) -> tuple[tuple[float, ...], ...] | None:
    rows = np.asarray(affine, float)[:3]
    return tuple(map(tuple, rows.tolist())) if np.isfinite(rows).all() else None


def write_nifti(
    path: Path,
    parts: Iterable[np.ndarray],
    size: Sequence[int],
    affine: Sequence[Sequence[float]] | None,
    fps: float | None,
) -> int:
    """Write parts `[t, X, Y, Z, 1]` of a sequence of `size` as float32, volume by volume, to a file
    that is complete or not there; how many volumes there were.

    Raises:
        ValueError: an axis is longer than the format can say.
    """
    if max(size) > MOST:
        raise ValueError(f"NIfTI files have at most {MOST} entries along an axis, not {max(size)}")

    def write(partial: Path) -> int:
        count = 0
        with ExitStack() as stack:
            file = stack.enter_context(open(partial, "wb"))
            if path.suffix == ".gz":
                packed = gzip.GzipFile("", "wb", 6, file, mtime=0)  # the same bytes every time
                file = stack.enter_context(packed)
            file.write(_header(size, affine, fps))
            for part in parts:
                for volume in part[..., 0]:
                    file.write(np.asfortranarray(volume, "<f4").tobytes("F"))
                count += len(part)
        return count

    return written(path, write)


def _header(
    size: Sequence[int], affine: Sequence[Sequence[float]] | None, fps: float | None
) -> bytes:
    """What a NIfTI-1 file begins with, up to its values."""
    header = needed("nibabel").Nifti1Header(endianness="<")
    whole = np.eye(4)
    whole[:3] = np.eye(3, 4) if affine is None else affine
    header.set_data_dtype(np.float32)
    header.set_data_shape((*size[1:], size[0]) if size[0] > 1 else size[1:])
    zooms = [float(n) for n in np.linalg.norm(whole[:3, :3], axis=0)]
    header.set_zooms([*zooms, 1 / fps if fps else 1.0] if size[0] > 1 else zooms)
    header.set_xyzt_units("mm", "sec")
    if affine is not None:
        header.set_sform(whole, 1)
        header.set_qform(whole, 1)
    header["vox_offset"] = 352
    return header.binaryblock + b"\0" * 4
