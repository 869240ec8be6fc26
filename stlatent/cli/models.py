"""The verbs about a trained model: `stlatent inspect | export | push`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import options as shared
from .options import MODEL, Options, Verb

if TYPE_CHECKING:
    from ..checkpoint import Model

SEAM_LATENTS = 20  # of a clip on which streaming is measured: more than a window sees


def add_inspect(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    add = verb.add_argument
    add("--data", required=True, metavar="DATA", help="what to measure it on")
    shared.out(verb, "the report: index.html and JSON")
    help = "first ones, at most (17)"
    add("--frames", type=shared.positive, default=17, metavar="T", help=help)
    help = "central crop, at most (256x256)"
    add("--size", type=shared.size, default=(256, 256), metavar="HxW", help=help)
    add("--seconds", type=shared.rate, metavar="S", help="of sound, at most (2)")
    shared.count(verb, 8, "so many files of all")
    help = "also the importance-weighted log-likelihood, of so many draws (such as 64)"
    add("--draws", type=shared.positive, default=0, metavar="N", help=help)
    shared.machine(verb)
    shared.replace(verb, "a report that is there")


def inspect(options: Options) -> int:
    from ..evaluate.report import write_report
    from ..media.options import Extent
    from ..media.registry import medium_of

    model = shared.load_model(options.model, options)
    extent = Extent(options.frames, options.size, options.seconds)
    clips = medium_of(model).samples(Path(options.data), options.count, extent)
    title, draws, replace = options.model, options.draws, options.replace
    write_report(model, clips, options.out, title=title, draws=draws, replace=replace)
    for line in _streaming(model, options):
        print(line)
    print(Path(options.out) / "index.html")
    return 0


def _streaming(model: Model, options: Options) -> Iterator[str]:
    """How a foundation of videos streams, and how far that is off one piece, on a clip that is
    long enough to show it."""
    from ..foundation.seams import seams
    from ..media.options import Extent
    from ..media.registry import medium_of

    if model.frozen is not None and model.domain.has_time:
        extent = Extent(1 + SEAM_LATENTS * model.frozen.stride[0], (128, 128))
        for _, x in medium_of(model).samples(Path(options.data), 1, extent):
            yield str(seams(model.frozen, model.filled(model.as_input(x))))


def add_export(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    shared.out(verb, "the folder to make")
    verb.add_argument("--levels", metavar="0..K", help="first and last level (default: by layout)")
    help = "all levels, level 0 with the prior below it, or the foundation's own latents (packed)"
    verb.add_argument(
        "--layout", choices=["packed", "coarse", "foundation"], default="packed", help=help
    )
    help = "what becomes of last frames that fill no step of latents (pad: none is lost)"
    grid = "on which levels are packed: coarsest, finest, a level's number, or a stride, 4x16x16"
    verb.add_argument("--grid", default="coarsest", metavar="G", help=f"{grid} (coarsest)")
    least = "channels that the latents have at least; zeros fill them up"
    verb.add_argument("--channels", type=shared.positive, default=0, metavar="N", help=least)
    verb.add_argument("--frames", choices=["pad", "floor"], default="pad", help=help)
    help = "of a ladder on a foundation: keep the name of that in the folder, and not its weights"
    verb.add_argument("--foundation-apart", action="store_true", help=help)
    verb.add_argument("--data", metavar="DATA", help="to measure the latents' mean and deviation "
        "on (those that the model carries, or else what the run was trained on)")  # fmt: skip
    shared.replace(verb, "an exported model that is there")


def export(options: Options) -> int:
    from ..export.folder import export as write
    from ..export.folder import parse_levels

    levels = parse_levels(options.levels) if options.levels else None
    how = {"layout": options.layout, "data": options.data, "frames": options.frames}
    how |= {"grid": options.grid, "least_channels": options.channels, "replace": options.replace}
    how["inside"] = not options.foundation_apart
    print(write(options.model, options.out, levels, **how))
    return 0


def add_push(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help="a run folder, a model file, or a shipped model")
    verb.add_argument("name", metavar="USER/MODEL", help="on the Hugging Face hub; a model that is "
        "there gets a new version")  # fmt: skip
    verb.add_argument("--data", metavar="DATA", help="to measure its prefixes on (what the run "
        "held out)")  # fmt: skip
    verb.add_argument("--license", default="other", metavar="ID", help="such as apache-2.0 or "
        "cc-by-4.0; other, unless you say")  # fmt: skip
    verb.add_argument("--private", action="store_true", help="a new model is seen by you alone")


def push(options: Options) -> int:
    from ..export.push import push as put

    print(put(options.model, options.name, options.data, options.license, options.private))
    return 0
