"""How decoded frames are shown: what makes 8 bits of RGB of whatever a file holds.

- Turned and mirrored as the file's display matrix says, in quarter turns.
- Pixels are square: where the file says that they are not (its sample aspect ratio), the width is
  changed, as players do.
- Transparent pixels lie over a background, white unless another is asked for. FFmpeg reads no
  transparency of VP8 and VP9.
- Matrix and range are those that the file names. Where it names no matrix, it is BT.709 from 720
  lines or 1280 columns on, and BT.601 below. Primaries of SDR video are left as they are.
- HDR (PQ and HLG, ITU-R BT.2100) becomes SDR: white at 203 cd/m² (BT.2408), brighter parts are
  compressed with their hue kept, primaries of BT.709, gamma 2.4 (BT.1886).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
PQ, HLG = 16, 18  # transfer characteristics, as ITU-T H.273 numbers them
UNNAMED = 2  # matrix coefficients, likewise
HD = (720, 1280)  # lines, columns
SDR_WHITE, HLG_PEAK = 203.0, 1000.0  # cd/m²
KNEE = 0.75  # of SDR white: what is darker is left alone
TO_BT709 = np.array(  # linear light of BT.2020, ITU-R BT.2407
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
ASPECTS = (Fraction(1, 8), Fraction(8))  # others are a mistake


@dataclass(frozen=True)
class Look:
    """How the frames of one video are shown.

    stored: (height, width) of its first frame as it is stored, which holds for all.
    aspect: width of a pixel over its height. turn: (a, b, c, d) of the display matrix; column x,
    line y is shown at (a x + c y, b x + d y). alpha: whether pixels may be transparent. transfer:
    see H.273. hd: whether its colours are to be taken for BT.709 without being named so.
    """

    stored: tuple[int, int]
    aspect: Fraction
    turn: tuple[int, int, int, int]
    alpha: bool
    transfer: int
    hd: bool

    @classmethod
    def of(cls, stream: av.VideoStream, frame: av.VideoFrame) -> Look:
        """How the frames of a stream are shown, by what the file says and the first of them."""
        stored, turn = (frame.height, frame.width), (1, 0, 0, 1)
        for one in frame.side_data:
            if one.type.name == "DISPLAYMATRIX":
                a, b, _, c, d = np.frombuffer(bytes(one), np.int32)[:5].tolist()
                turn = (a, b, c, d)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        is_hd = any(n >= least for n, least in zip(stored, HD, strict=True))
        return cls(
            stored,
            aspect if ASPECTS[0] <= aspect <= ASPECTS[1] else Fraction(1),
            turn,
            any(component.is_alpha for component in frame.format.components),
            stream.codec_context.color_trc,
            is_hd and not frame.format.is_rgb and frame.colorspace == UNNAMED,
        )

    @property
    def square(self) -> tuple[int, int]:
        """(height, width) before turning, of square pixels."""
        return self.stored[0], max(1, round(self.stored[1] * self.aspect))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as it is shown."""
        return self.square[::-1] if self._transposed else self.square

    @property
    def plain(self) -> bool:
        """Whether it takes no more than the file's own matrix and range, and a turn."""
        a, b, c, d = self.turn
        mirrored = a * d - b * c < 0
        special = self.alpha or self.hd or self.transfer in (PQ, HLG)
        return not (mirrored or special) and self.square == self.stored

    def show(self, frame: av.VideoFrame, background: Colour) -> np.ndarray:
        """uint8 RGB `[H, W, 3]`."""
        height, width = self.square
        how = {"width": width, "height": height}
        if self.square != (frame.height, frame.width):
            how["interpolation"] = "BICUBIC"
        if self.hd:
            how["src_colorspace"] = "ITU709"
        if self.transfer in (PQ, HLG):
            pixels = tone_mapped(frame.to_ndarray(format="rgb48le", **how), self.transfer)
        elif self.alpha:
            pixels = over(frame.to_ndarray(format="rgba", **how), background)
        else:
            pixels = frame.to_ndarray(format="rgb24", **how)
        return self._turned(pixels)

    @property
    def _transposed(self) -> bool:
        a, b, c, d = map(abs, self.turn)
        return b + c > a + d

    def _turned(self, pixels: np.ndarray) -> np.ndarray:
        a, b, c, d = self.turn
        if self._transposed:
            return pixels.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
        return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def over(pixels: np.ndarray, background: Colour) -> np.ndarray:
    """uint8 RGBA `[..., 4]`, not premultiplied, over a colour: `[..., 3]`."""
    alpha = pixels[..., 3:].astype(np.uint16)
    mixed = pixels[..., :3] * alpha + np.array(background, np.uint16) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def tone_mapped(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """uint16 RGB `[H, W, 3]` of HDR with primaries of BT.2020 -> uint8 of SDR."""
    light = _light(transfer)[pixels]  # 1 is SDR white
    if transfer == HLG:  # scene light so far; the system gamma of a display of 1000 cd/m²
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = light * (HLG_PEAK / SDR_WHITE * luma[..., None] ** 0.2)
    light = (light @ TO_BT709.T).clip(0)
    peak = light.max(-1, keepdims=True)
    excess = (peak - KNEE).clip(0) / (1 - KNEE)
    least = np.float32(1e-6)
    shown = np.where(excess > 0, KNEE + (1 - KNEE) * excess / (1 + excess), peak)
    light *= (shown + least) / (peak + least)
    return (255 * light.clip(0, 1) ** np.float32(1 / 2.4) + 0.5).astype(np.uint8)


@lru_cache
def _light(transfer: int) -> np.ndarray:
    """Linear light of each code of 16 bits, float32 `[65536]`, by BT.2100: of PQ that of the
    display over SDR white, of HLG that of the scene, 0 to 1."""
    code = np.arange(2**16) / (2**16 - 1)
    if transfer == PQ:
        power = code ** (32 / 2523)
        share = ((power - 107 / 128).clip(0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305)
        return (1e4 / SDR_WHITE * share).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
