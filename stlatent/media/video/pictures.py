"""Single pictures, animated ones, and folders of numbered ones, by Pillow.

- Shown upright, as their EXIF data say, and as 8 bits of RGB.
- Transparent pixels lie over a background, as in `display.py`.
- Of 16 bits of grey, the upper 8 count. Floats go from 0, black, to 1, white. Other floats, and
  whole numbers of 32 bits, are refused: what is white in them is not known.
- Animated webp, png and avif have the mean rate of their frames, each with its own duration; one
  below 20 ms counts as 100, as browsers have it. The pages of a tiff are frames without a rate;
  reduced copies and masks among them are passed over.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ...files import UnreadableError
from .display import WHITE, Colour, over
from .files import numbered_files
from .timeline import check_size, reason

ANIMATED = ("WEBP", "PNG", "AVIF")
SUBFILE, REDUCED_OR_MASK = 254, 0b101  # tag of a tiff page, and the bits that say so
LEAST_MS, INSTEAD_MS = 20, 100
SLACK = 1e-3  # of floats beyond 0 to 1, as resampling leaves them


class PictureDecoder:
    """One picture; an animated one, or a tiff of pages, is a video."""

    def __init__(self, path: Path, background: Colour = WHITE):
        self.path, self.background = path, background
        try:
            self._picture = Image.open(path)
            self.size = self._picture.size[::-1]
            check_size(path, *self.size)
            self._pages, self._seconds = self._contents()
            self._first = self._pixels(0)
        except UnreadableError:
            raise
        except Exception as error:  # Pillow lets through whatever its readers raise
            raise UnreadableError(path, _picture_reason(error)) from None
        self.frames, self.size = len(self._pages), self._first.shape[:2]
        self.fps = None if self._seconds is None else self.frames / self._seconds[-1]

    def _contents(self) -> tuple[list[int], np.ndarray | None]:
        """Which pages are frames, and when each of them ends, in seconds."""
        count, kind = getattr(self._picture, "n_frames", 1), self._picture.format
        if count > 1 and kind == "TIFF":
            return self._tiff_pages(count) or [0], None
        if count > 1 and kind in ANIMATED:
            return list(range(count)), self._ends(count)
        return [0], None

    def _tiff_pages(self, count: int) -> list[int]:
        """Those that are no reduced copies or masks, which are all of one size."""
        pages = []
        for i in range(count):
            self._picture.seek(i)
            if self._picture.tag_v2.get(SUBFILE, 0) & REDUCED_OR_MASK:
                continue
            pages.append(i)
            check_size(self.path, *self._picture.size)
            sizes = {self.size, self._picture.size[::-1]}
            if len(sizes) > 1:
                raise ValueError(f"its pages differ in size: {sizes}")
        return pages

    def _ends(self, count: int) -> np.ndarray:
        """When each frame of an animation ends, in seconds."""
        milliseconds = []
        for i in range(count):
            self._picture.seek(i)
            self._picture.load()  # the duration is not known before
            shown = self._picture.info.get("duration", 0)
            milliseconds.append(shown if shown >= LEAST_MS else INSTEAD_MS)
        return np.cumsum(milliseconds) / 1000

    def read(self, indices: list[int]) -> np.ndarray:
        try:
            return np.stack([self._first if i == 0 else self._pixels(i) for i in indices])
        except Exception as error:
            raise UnreadableError(self.path, _picture_reason(error)) from None

    def seconds(self) -> np.ndarray:
        """When each frame of an animation is shown, after the first."""
        return np.concatenate([[0.0], self._seconds[:-1]])

    def _pixels(self, index: int) -> np.ndarray:
        if len(self._pages) > 1 or self._pages[0]:
            self._picture.seek(self._pages[index])
        return _shown(self._picture, self.background)

    def close(self) -> None:
        self._picture.close()


class FolderDecoder:
    """A folder of numbered pictures, one frame each."""

    fps = None

    def __init__(self, path: Path, background: Colour = WHITE):
        self.path, self.background = path, background
        self._files = numbered_files(path)
        if not self._files:
            raise UnreadableError(path, "not a folder of numbered pictures")
        self.frames = len(self._files)
        self.size = self._frame(0).shape[:2]

    def read(self, indices: list[int]) -> np.ndarray:
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        for place, index in zip(frames, indices, strict=True):
            frame = self._frame(index)
            if frame.shape[:2] != self.size:
                held = f"{frame.shape[:2]}, the first frame {self.size}"
                raise UnreadableError(self.path, f"{self._files[index].name} is {held}")
            place[...] = frame
        return frames

    def _frame(self, index: int) -> np.ndarray:
        file = self._files[index]
        try:
            picture = PictureDecoder(file, self.background)
        except UnreadableError as error:
            raise UnreadableError(self.path, f"{file.name}: {error.reason}") from None
        picture.close()
        return picture.read([0])[0]

    def seconds(self) -> np.ndarray:
        raise ValueError(f"{self.path} has no rate")

    def close(self) -> None:
        pass


def _shown(picture: Image.Image, background: Colour) -> np.ndarray:
    """uint8 `[H, W, 3]`; ValueError where black and white are not known."""
    unknown = picture.mode == "I" and picture.format == "TIFF"
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F":
        values = np.asarray(upright)
        low, high = float(values.min()), float(values.max())
        if not (low >= -SLACK and high <= 1 + SLACK):  # NaN, too
            raise ValueError(f"holds floats from {low:.4g} to {high:.4g}; give 0, black, to 1")
        grey = (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    elif unknown:
        raise ValueError("holds whole numbers of 32 bits, of which white is not known; give 8 bits")
    elif upright.mode.startswith("I"):  # 16 bits
        grey = (np.asarray(upright).clip(0, 65535) >> 8).astype(np.uint8)
    elif upright.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in upright.info:
        return over(np.asarray(upright.convert("RGBA")), background)
    else:
        return np.asarray(upright.convert("RGB"))
    return np.repeat(grey[..., None], 3, axis=-1)


def _picture_reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture that Pillow knows"
    return reason(error)
