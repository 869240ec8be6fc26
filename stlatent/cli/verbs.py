"""All verbs of the command line, and how their words are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from .. import __version__
from .decoding import add_convert, add_decode, convert, decode
from .demo import add_demo, demo
from .doctor import add_doctor, doctor
from .evaluating import add_evaluate, evaluate
from .generating import add_generate, add_mix, generate, mix
from .jobs import add_encode, add_jobs, add_verify, encode, jobs, verify
from .models import add_export, add_inspect, add_push, export, inspect, push
from .options import Options, Verb
from .sampling import add_sample, sample
from .training import add_train, train

EXAMPLES = {
    "train": "stlatent train video/base data.root=VIDEOS out=runs/mine",
    "encode": "stlatent encode VIDEOS --model video --out latents/\n"
    "  stlatent encode MESHES --model runs/voxel --out latents/ --refine 40",
    "jobs": "stlatent jobs show latents/",
    "verify": "stlatent verify latents/",
    "decode": "stlatent decode latents/ --levels 1 --out previews/ --format mp4\n"
    "  stlatent decode latents/ --levels 2 --out meshes/ --format glb --resolution 128",
    "convert": "stlatent convert latents/ --to ltx2 --vae vae/ --out cached/\n"
    "  stlatent convert latents/ --to webdataset --out shards/\n"
    "  stlatent convert shards/ --to latents --out again/",
    "inspect": "stlatent inspect video --data VIDEOS --out report/",
    "evaluate": "stlatent evaluate video --data SETS --set mcl-jcv --beside madebyollin/taesd",
    "export": "stlatent export video --out vae/",
    "push": "stlatent push runs/mine user/model --license apache-2.0",
    "sample": "stlatent sample video --frames 33 --size 128x128 --keep-level 0 --from clip.mp4",
    "generate": "stlatent generate runs/diffusion/pipeline -n 8 --out videos/",
    "mix": "stlatent mix A.glb B.glb --model voxel --out mixed/",
    "demo": "stlatent demo",
    "doctor": "stlatent doctor",
}


def parser() -> Verb:
    """All verbs and their options."""
    top = Verb(
        "stlatent",
        description="Hierarchical latent autoencoders of video and 3D shapes.",
        epilog="examples:\n  " + "\n  ".join(EXAMPLES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"stlatent {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, (purpose, build, run) in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=f"example:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.set_defaults(run=run)
        build(verb)
    return top


def parse(arguments: Sequence[str] | None) -> Options:
    """Also takes overrides that follow an option, as in `train CONFIG --dry-run key=value`."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if rest and (options.run is not train or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


VERBS: dict[str, tuple[str, Callable[[Verb], None], Callable[[Options], int]]] = {
    "train": ("train a model; the same command resumes", add_train, train),
    "encode": ("compress videos, pictures or meshes to multi-level latents", add_encode, encode),
    "jobs": ("say how far a job of `stlatent encode` is", add_jobs, jobs),
    "verify": ("check that a data set of latents is as it was written", add_verify, verify),
    "decode": (
        "turn latents, or their coarse levels, back into videos or meshes",
        add_decode,
        decode,
    ),
    "convert": (
        "hand latents to trainers of diffusion models, and to other programs",
        add_convert,
        convert,
    ),
    "inspect": ("measure and show what each level of a model holds", add_inspect, inspect),
    "evaluate": (
        "measure prefixes on a public set, beside autoencoders of diffusers",
        add_evaluate,
        evaluate,
    ),
    "export": ("hand a model to diffusers", add_export, export),
    "push": ("put a model on the Hugging Face hub, with a page about it", add_push, push),
    "sample": ("draw from a model, holding levels of something real", add_sample, sample),
    "generate": ("draw videos, pictures or meshes by latent diffusion", add_generate, generate),
    "mix": ("mix two meshes or clips, level by level", add_mix, mix),
    "demo": ("open a page to play with levels, on this machine", add_demo, demo),
    "doctor": ("say what is installed, what is missing, and how to get it", add_doctor, doctor),
}
