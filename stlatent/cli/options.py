"""Options that several verbs share, and what they mean.

Nothing in `cli` imports another room at module level, so that `--help` is there at once."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ..checkpoint import Model

MODEL = (
    "a shipped model by name (such as video), a run folder, a model file or its folder, an "
    "exported folder, or user/model on the Hugging Face hub"
)
Options = argparse.Namespace
FORMER = {"--clips": "--count"}  # what options were called


class Verb(argparse.ArgumentParser):
    """The words of one verb, or of all. What is wrong is a ValueError of one line, and an option
    that is none is named first, with the one that was probably meant."""

    instead = ""  # what to write where something that is no option was given as one

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Options | None = None
    ) -> tuple[Options, list[str]]:
        words = sys.argv[1:] if args is None else args
        if self._subparsers is None:  # else each verb looks at its own
            self._check_options(words)
        return super().parse_known_args(words, namespace)

    def _check_options(self, words: Sequence[str]) -> None:
        from ..shipped import meant

        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in itertools.takewhile(lambda word: word != "--", words):
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                if name in FORMER:
                    self.error(f"{name} is called {FORMER[name]} now")
                self.error(f"there is no option {name}{meant(name, known) or self.instead}")

    def error(self, message: str) -> NoReturn:
        verb = self.prog.partition(" ")[2]
        raise ValueError(f"{verb and verb + ': '}{message} (see `{self.prog} --help`)")


def machine(verb: Verb) -> None:
    verb.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    verb.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the network")


def precision(verb: Verb) -> None:
    help = "of the network (default: bf16 where the device is made for it, else fp32)"
    verb.add_argument("--precision", choices=["fp32", "bf16"], help=help)


def format(verb: Verb) -> None:
    help = (
        "mp4 (H.264), png (a folder of pictures) or npy (uint8 [T, H, W, 3]) (mp4); of shapes glb, "
        "obj, ply or webp, a picture that turns (glb); of sound wav or flac (wav); of planes npy; "
        "of volumes npy, nii.gz or nii (scans nii.gz)"
    )
    verb.add_argument("--format", metavar="F", help=help)


def resolution(verb: Verb, default: str) -> None:
    help = f"of shapes: voxels per edge ({default})"
    verb.add_argument("--resolution", type=positive, metavar="R", help=help)


def tile(verb: Verb, default: str) -> None:
    help = f"cut larger frames into overlapping tiles of so many pixels a side ({default})"
    verb.add_argument("--tile", type=positive, metavar="N", help=help)


def replace(verb: Verb, what: str) -> None:
    verb.add_argument("--replace", action="store_true", help=f"replace {what}")


def whole(text: str) -> int:
    """A whole number that 64 bits hold."""
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def amount(text: str) -> float:
    """A finite number from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 on")
    return value


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def size(text: str) -> tuple[int, ...]:
    """`128x96` (height x width) or `128`; of volumes also `128x128x16`."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH in pixels, such as 128x96")
    sides = tuple(map(int, text.split("x")))
    return sides * 2 if len(sides) == 1 else sides


def out(verb: Verb, what: str, usual: str | None = None, required: bool = True) -> None:
    """`--out`, a folder of this machine."""
    how = {"required": True} if required and usual is None else {"default": usual}
    verb.add_argument("--out", type=_local, metavar="DIR", help=what, **how)


def _local(text: str) -> str:
    if "://" in text:
        held = f"'{text}' is a URL; give a folder of this machine, and copy it from there"
        raise argparse.ArgumentTypeError(held)
    return text


def count(verb: Verb, usual: int, what: str = "how many") -> None:
    help = f"{what} ({usual})"
    verb.add_argument("-n", "--count", type=positive, default=usual, metavar="N", help=help)


def strength(verb: Verb, usual: float, what: str) -> None:
    """How far draws go from something that is there."""
    help = f"{what} ({usual:g})"
    verb.add_argument("--strength", type=float, default=usual, metavar="S", help=help)


def class_of(text: str) -> int | str:
    """A class by its number or its name."""
    return int(text) if text.isdecimal() else text


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def byte_count(text: str) -> int:
    """`2GiB`, `1.5 GB`, `64M` (of 1024^2) or plain bytes."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?B|B)?", text)
    if not parts or not (count := int(float(parts[1]) * _unit(parts[2].upper(), parts[3]))):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; give one such as 2GiB or 500MB")
    return count


def _unit(prefix: str, suffix: str | None) -> int:
    """Bytes; a thousand of one are the next where B stands alone, and else 1024."""
    return (1000 if suffix == "B" else 1024) ** " KMGT".index(prefix or " ")


def device_of(options: Options) -> str:
    """Where a network is to run; sets the threads that are asked for."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")


def load_model(reference: str, options: Options) -> Model:
    """The model, on the device and with the threads that are asked for; ValueError if it cannot be
    used there."""
    from ..checkpoint import load
    from ..store.manifest import MANIFEST

    if Path(reference, MANIFEST).is_file():
        how = f"its {MANIFEST} says what it holds, `stlatent verify {reference}` if all is there"
        raise ValueError(f"{reference} is a data set of latents and no model; {how}")
    return load(reference, device_of(options))
