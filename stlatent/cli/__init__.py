"""The command line: `stlatent train | encode | decode | inspect | sample | export | …`: thin."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import __version__
from ..jobs.decode import decode_store
from ..jobs.decode_shapes import decode_meshes
from ..jobs.planes import decode_planes
from ..jobs.sample import centre_clips, spread_shapes
from ..model.config import read
from ..store.reader import LatentStore
from . import options as shared
from .jobs import add_encode, add_jobs, add_verify, encode, jobs, verify
from .options import MODEL, Options, Verb
from .outcome import command
from .sampling import add_sample, sample

EXAMPLES = {
    "train": "stlatent train configs/video/base.yaml data.root=VIDEOS out=runs/mine",
    "encode": "stlatent encode VIDEOS --model video --out latents/\n"
    "  stlatent encode MESHES --model runs/voxel --out latents/ --refine 40",
    "jobs": "stlatent jobs show latents/",
    "verify": "stlatent verify latents/",
    "decode": "stlatent decode latents/ --levels 1 --out previews/ --format mp4\n"
    "  stlatent decode latents/ --levels 2 --out meshes/ --format glb --resolution 128",
    "inspect": "stlatent inspect video --data VIDEOS --out report/",
    "export": "stlatent export runs/mine --out vae/ --data VIDEOS",
    "sample": "stlatent sample video --frames 33 --size 128x128 --keep-level 0 --from clip.mp4",
}


@command("stlatent")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (some files failed) or 2 (wrong input)."""
    options = _parse(arguments)
    logging.basicConfig(format="%(message)s")
    return options.run(options)


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(
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


def _parse(arguments: Sequence[str] | None) -> Options:
    """Also takes overrides that follow an option, as in `train CONFIG --dry-run key=value`."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if rest and (options.run is not train or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


# the verbs ------------------------------------------------------------------------------------


def _train(verb: Verb) -> None:
    verb.add_argument("config", metavar="CONFIG.yaml", help="such as configs/video/base.yaml")
    verb.add_argument(
        "overrides", nargs="*", metavar="key.sub=value", help="in place of the file's"
    )
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="only print the resolved config, parameters, latent sizes and memory of one step",
    )


def train(options: Options) -> int:
    if "diffusion" in read(options.config):
        from ..diffusion.training import run  # brings diffusers
    else:
        from ..train import run  # takes a second to import

    run(options.config, options.overrides, options.dry_run)
    return 0


def _decode(verb: Verb) -> None:
    verb.add_argument("latents", metavar="DIR", help="a data set made by `stlatent encode`")
    verb.add_argument("--model", metavar="M", help=f"{MODEL}; default: the one that encoded it")
    verb.add_argument("--levels", type=int, metavar="K", help="decode from the first K levels only")
    verb.add_argument("--out", metavar="DIR", help="where files go (default: DIR-decoded)")
    shared.tile(verb, "as they were encoded")
    shared.format(verb)
    shared.resolution(verb, "as they were encoded")
    shared.precision(verb)
    shared.machine(verb)
    shared.replace(verb, "files that are there")


def decode(options: Options) -> int:
    store = LatentStore(options.latents)
    levels = store.check_levels(options.levels)
    here = store.place.local or Path(Path(store.place.root).name)
    out = Path(options.out) if options.out else here.with_name(f"{here.name}-decoded")
    try:
        model = shared.load_model(options.model or store.manifest.model, options)
    except ValueError as error:
        hint = "" if options.model else "; it made these latents: give its place with --model"
        raise ValueError(f"{error}{hint}") from None
    how = {"precision": options.precision, "replace": options.replace}
    if model.config.reads == "shapes":
        shape = (options.format or "glb", options.resolution)
        made = decode_meshes(model, store, out, levels, *shape, **how)
    elif model.config.reads == "planes":
        if options.format not in (None, "npy") or options.resolution:
            raise ValueError(
                "planes come back as npy, as large as they were; leave out --format "
                "and --resolution"
            )
        made = decode_planes(model, store, out, levels, **how)
    else:
        video = options.format or "mp4"
        made = decode_store(model, store, out, levels, video, tile=options.tile, **how)
    print(f"{out}: {len(made)} items from {levels} of {len(store.manifest.levels)} levels")
    return 0


def _inspect(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    verb.add_argument("--data", required=True, metavar="DATA", help="what to measure it on")
    verb.add_argument("--out", required=True, metavar="DIR", help="the report: index.html and JSON")
    verb.add_argument("--frames", type=shared.positive, default=17, help="first ones, at most (17)")
    verb.add_argument(
        "--size", type=shared.size, default=(256, 256), help="central crop, at most (256)"
    )
    verb.add_argument("--clips", type=shared.positive, default=8, help="so many files of all (8)")
    help = "also the importance-weighted log-likelihood, of so many draws (such as 64)"
    verb.add_argument("--draws", type=shared.positive, default=0, metavar="N", help=help)
    shared.machine(verb)
    shared.replace(verb, "a report that is there")


def inspect(options: Options) -> int:
    from ..evaluate.report import write_report  # brings matplotlib

    model = shared.load_model(options.model, options)
    if model.config.reads == "shapes":
        clips = spread_shapes(model, options.data, options.clips)
    else:
        size = (options.frames, *options.size)
        clips = centre_clips(model, options.data, size, options.clips)
    title, draws, replace = options.model, options.draws, options.replace
    write_report(model, clips, options.out, title=title, draws=draws, replace=replace)
    print(Path(options.out) / "index.html")
    return 0


def _export(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    verb.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    verb.add_argument("--levels", metavar="0..K", help="first and last level (default: by layout)")
    help = "all levels, or level 0 with the prior below it (packed)"
    verb.add_argument("--layout", choices=["packed", "coarse"], default="packed", help=help)
    help = "to measure latents on (default: what the run was trained on)"
    verb.add_argument("--data", metavar="VIDEOS", help=help)
    shared.replace(verb, "an exported model that is there")


def export(options: Options) -> int:
    from ..export.folder import export as write  # brings diffusers
    from ..export.folder import parse_levels

    levels = parse_levels(options.levels) if options.levels else None
    print(write(options.model, options.out, levels, options.layout, options.data, options.replace))
    return 0


VERBS: dict[str, tuple[str, Callable[[Verb], None], Callable[[Options], int]]] = {
    "train": ("train a model; the same command resumes", _train, train),
    "encode": ("compress videos, pictures or meshes to multi-level latents", add_encode, encode),
    "jobs": ("say how far a job of `stlatent encode` is", add_jobs, jobs),
    "verify": ("check that a data set of latents is as it was written", add_verify, verify),
    "decode": ("turn latents, or their coarse levels, back into videos or meshes", _decode, decode),
    "inspect": ("measure and show what each level of a model holds", _inspect, inspect),
    "export": ("hand a model to diffusers", _export, export),
    "sample": ("draw from a model, holding levels of something real", add_sample, sample),
}
