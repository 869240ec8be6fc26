"""The verbs `stlatent generate | mix`."""

from __future__ import annotations

import sys
from pathlib import Path

from . import options as shared
from .options import MODEL, Options, Verb


def add_generate(verb: Verb) -> None:
    add = verb.add_argument
    add("model", metavar="M", help="the `pipeline` folder of a run of latent diffusion, or one "
        "that ships, by name (moving); or a model as --model takes it, which draws from its own "
        "prior")  # fmt: skip
    shared.out(verb, "where they go, with a sheet of them")
    shared.count(verb, 8)
    add("--frames", type=shared.positive, metavar="T", help="of a video (as in training)")
    add("--size", type=shared.size, metavar="HxW", help="of frames (as in training)")
    add("--seconds", type=shared.rate, metavar="S", help="of sound (as in training)")
    add("--temperature", type=shared.amount, metavar="T", help="of what a ladder's own prior makes "
        "(0, its mean, below levels that are diffused or near FILE; 0.3 with --shape-of; "
        "1 else)")  # fmt: skip
    add("--shape-of", metavar="FILE", help="a mesh, or a clip: hold its level 0, and draw the rest "
        "from the ladder's own prior")  # fmt: skip
    add("--similar-to", metavar="FILE", help="a file of what is drawn: draw what is near it, by "
        "diffusion that begins with it and noise, or by a ladder's own prior")  # fmt: skip
    add("--levels", type=shared.positive, metavar="K", help="near it in K levels, coarsest first, "
        "and free in the others (those of the first denoiser; 1)")  # fmt: skip
    shared.strength(verb, 0.5, "0 is it itself, 1 a draw that knows nothing of it")
    add("--classes", "--class", type=shared.class_of, nargs="+", default=[], metavar="C",
        help="to ask for, in turn: numbers, or names where the model knows them")  # fmt: skip
    add(
        "--prompt",
        nargs="+",
        default=[],
        dest="prompts",
        metavar="TEXT",
        help="texts to ask for, in turn, of a model that was trained with a text encoder",
    )
    add(
        "--guidance",
        type=shared.amount,
        metavar="G",
        help="towards what is asked for; 1 is none (as the pipeline has it)",
    )
    add("--steps", type=shared.positive, nargs="+", metavar="N", help="of diffusion: one number, "
        "or one per stage (as the pipeline has it)")  # fmt: skip
    add("--tries", type=shared.positive, metavar="N", help="draw each N times and take the "
        "likeliest, of shapes the likeliest that is whole (as the pipeline has it); of a ladder's "
        "own prior, which draws shapes alone like this, the first that is whole (1)")  # fmt: skip
    add("--windows", type=shared.positive, default=1, metavar="N", help="of the length in "
        "training, one after the other (1)")  # fmt: skip
    add("--fps", type=shared.rate, metavar="F", help="of mp4 files (24)")
    add(
        "--seed",
        type=shared.whole,
        default=0,
        metavar="S",
        help="of the first; the next ones count on (0)",
    )
    add("--beside-data", metavar="RUN", help="of shapes: measure them beside those that RUN, "
        "a run folder, was trained on and those that it held back")  # fmt: skip
    shared.format(verb)
    shared.resolution(verb, "the model's own")
    shared.machine(verb)
    shared.replace(verb, "files that are there")


def generate(options: Options) -> int:
    from diffusers.utils import logging

    from ..diffusion.generate import Drawn, Wish
    from ..diffusion.generate import generate as write
    from ..media.options import Extent
    from ..media.output import Output

    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # of the parts of a pipeline, as they are loaded
    names = ("count", "seed", "temperature", "classes", "prompts", "steps", "guidance", "windows",
             "shape_of", "similar_to", "levels", "strength", "tries")  # fmt: skip
    wish = Wish(
        **{name: getattr(options, name) for name in names},
        extent=Extent(options.frames, options.size, options.seconds),
    )
    drawn, out = Drawn(options.model, wish, shared.device_of(options)), Path(options.out)
    how = Output(options.format, options.resolution)
    found = write(drawn, out, how, options.fps, options.beside_data, options.replace)
    print(f"{out}: {wish.count} samples, and sheet.png")
    if found:
        whole = round(found["valid"] * wish.count)
        hint = "" if whole == wish.count else "; more --tries find more that are"
        print(f"{whole} of them whole, see figures.json{hint}")
    return 0


def add_mix(verb: Verb) -> None:
    add = verb.add_argument
    add("pair", nargs=2, metavar="FILE", help="the two meshes, or clips; with a sparse "
        "model, finer levels of the second stand where it has cells, as far as they fit, and "
        "elsewhere the prior's mean")  # fmt: skip
    add("--model", default="voxel", metavar="M", help=f"{MODEL} (voxel)")
    shared.out(verb, "where the mixtures go, with a sheet of them")
    add("--steps", type=shared.positive, default=5, metavar="N", help="from one to the other, "
        "both included (5)")  # fmt: skip
    add("--frames", type=shared.positive, metavar="T", help="of clips: first ones (17)")
    add("--size", type=shared.size, metavar="HxW", help="of clips: central crop (128x128)")
    add("--seconds", type=shared.rate, metavar="S", help="of sounds: first ones (2)")
    shared.format(verb)
    shared.resolution(verb, "the model's own")
    shared.machine(verb)
    shared.replace(verb, "files that are there")


def mix(options: Options) -> int:
    from ..jobs.mix import mix_samples
    from ..media.options import Extent
    from ..media.output import Output

    model = shared.load_model(options.model, options)
    extent = Extent(options.frames, options.size, options.seconds)
    how = Output(options.format, options.resolution)
    made = mix_samples(
        model, options.pair, options.out, options.steps, extent, how, options.replace
    )
    print(f"{options.out}: {len(made)} mixtures, and sheet.png")
    return 0
