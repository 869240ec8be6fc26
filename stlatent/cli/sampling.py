"""The verb `stlatent sample`."""

from __future__ import annotations

from pathlib import Path

from . import options as shared
from .options import MODEL, Options, Verb

NOTHING_HELD = (
    "nothing was held: every position of a level is drawn by itself, so expect texture or rubble, "
    "not scenes or objects; --from FILE holds level 0 of something real, and `stlatent generate` "
    "draws by latent diffusion"
)


def add_sample(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    verb.add_argument("--frames", type=shared.positive, metavar="T", help="of a video (17)")
    verb.add_argument("--seconds", type=shared.rate, metavar="S", help="of sound (2)")
    verb.add_argument("--size", type=shared.size, metavar="HxW", help="of frames (128x128)")
    verb.add_argument(
        "--keep-level",
        type=shared.whole,
        action="extend",
        nargs="+",
        default=[],
        metavar="LEVEL",
        help="hold these levels of a real clip or mesh and draw the others; 0 is the coarsest (0, "
        "with --from)",
    )
    verb.add_argument("--from", dest="source", metavar="FILE", help="a clip, of which the first "
        "frames, central crop, are taken, or a mesh")  # fmt: skip
    shared.strength(verb, 0, "draw what is held anew, near it: up to 1, which knows nothing of it")
    shared.count(verb, 1)
    shared.out(verb, "where they go (samples)", "samples")
    help = "of what is drawn; 1 is the prior itself, which few models were pressed to learn (0.3)"
    verb.add_argument("--temperature", type=shared.amount, metavar="T", help=help)
    verb.add_argument("--seed", type=shared.whole, default=0, metavar="S", help="of the noise (0)")
    shared.format(verb)
    shared.resolution(verb, "the model's own")
    shared.machine(verb)
    shared.replace(verb, "files that are there")


def sample(options: Options) -> int:
    from tqdm import tqdm

    from ..jobs.sample import TEMPERATURE, draw_samples, held_levels
    from ..media.options import Extent
    from ..media.output import Output, check_outputs
    from ..media.registry import medium_of

    if options.keep_level and not options.source:
        raise ValueError("--keep-level holds levels of something real; name it with --from FILE")
    if options.strength and not options.source:
        raise ValueError("--strength is how far from something real; name it with --from FILE")
    model = shared.load_model(options.model, options)
    medium, how = medium_of(model), Output(options.format, options.resolution)
    medium.check_output(how)
    sample = medium.blank(Extent(options.frames, options.size, options.seconds))
    held, kept = None, []
    ending = medium.ending(sample.kind, how)
    paths = [Path(options.out) / f"{i:04d}{ending}" for i in range(options.count)]
    check_outputs(paths, options.replace)
    if options.source:
        x, sample = medium.open(Path(options.source), sample)
        kept = sorted({*(options.keep_level or [0])})
        held = held_levels(model, x, kept)
    temperature = TEMPERATURE if options.temperature is None else options.temperature
    freely = temperature, options.seed, options.strength
    draws = draw_samples(model, sample.size, options.count, held, *freely)
    draws = tqdm(draws, total=len(paths), unit="sample", disable=None)
    for path, x in zip(paths, draws, strict=True):
        medium.write(path, [medium.take(model, x, sample)], sample, how)
    others = [level for level in range(len(model.levels)) if level not in kept]
    print(f"{options.out}: {options.count} samples; levels held {kept}, drawn {others}")
    if not kept:
        print(NOTHING_HELD)
    return 0
