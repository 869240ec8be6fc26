"""How sources may be read, and how much of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .latents.options import LatentOptions
from .shape.options import ShapeOptions
from .video.options import ClipOptions
from .volumes.options import VolumesOptions


class SourceOptions(LatentOptions, VolumesOptions, ClipOptions, ShapeOptions):
    """What may be asked for before it is known which medium is meant: the options of all of them.
    Of each medium those of others stay at their defaults, see `Medium.resolve`."""

    def given(self) -> set[str]:
        """Names of the options that differ from their defaults."""
        fields = SourceOptions.model_fields
        return {name for name, field in fields.items() if getattr(self, name) != field.default}


# what the options are called on the command line, where it is otherwise
WORDS = {"fields": "resolution", "volume_axes": "axes"}


@dataclass(frozen=True)
class Extent:
    """How much of a source is taken, or how large a sample is drawn; None is the medium's choice.

    Attributes:
        frames: steps in time.
        size: height and width of pictures, or of planes; of volumes along x, y and z, or x and y
            alone, where z is as y.
        seconds: of sound.
    """

    frames: int | None = None
    size: tuple[int, ...] | None = None
    seconds: float | None = None

    def check_size(self, what: str, sides: int) -> None:
        """ValueError where a size has more sides than `what` has."""
        if self.size and len(self.size) > sides:
            raise ValueError(f"--size has {len(self.size)} sides; {what} have {sides}")

    def check(self, what: str, words: Sequence[str], sides: int = 2) -> None:
        """ValueError where something else is asked for than `words`, which is what `what` has."""
        self.check_size(what, sides)
        given = {name for name, value in vars(self).items() if value is not None}
        for name in sorted(given - {*words}):
            have = f"have --{words[0]}" if words else "are of one size"
            raise ValueError(f"--{name} is not for {what}, which {have}")
