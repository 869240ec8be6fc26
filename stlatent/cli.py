"""The command line: `stlatent train | encode | decode | inspect | sample`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from . import Ladder, __version__, load
from .codec import LatentStore, decode_store, encode_folder
from .codec.manifest import check_free
from .codec.sample import centre_clips, draw_samples, held_levels
from .codec.video_writer import FORMATS, check_outputs, frame_writer, suffix
from .data import centre_clip, to_uint8

EXAMPLES = {
    "train": "stlatent train configs/video/base.yaml data.root=VIDEOS out=runs/mine",
    "encode": "stlatent encode VIDEOS --model video --out latents/",
    "decode": "stlatent decode latents/ --levels 1 --out previews/ --format mp4",
    "inspect": "stlatent inspect video --data VIDEOS --out report/",
    "sample": "stlatent sample video --frames 33 --size 128x128 --keep-level 0 --from clip.mp4",
}
MODEL = "a shipped model by name (video), a run folder, or a model file or its folder"
DEFAULT_MODEL = "video"  # of videos, and of pictures: videos of one frame
Verb = argparse.ArgumentParser
Options = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (some files failed) or 2 (wrong input)."""
    options = _parse(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"stlatent: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stlatent: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(
        "stlatent",
        description="Hierarchical latent autoencoders of video.",
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
    from .train import run  # takes a second to import

    run(options.config, options.overrides, options.dry_run)
    return 0


def _encode(verb: Verb) -> None:
    verb.add_argument("input", metavar="INPUT", help="a folder, searched to its depth, or one file")
    verb.add_argument("--model", metavar="M", help=f"{MODEL}; default: {DEFAULT_MODEL}")
    verb.add_argument("--out", required=True, metavar="DIR", help="the data set to make")
    verb.add_argument(
        "--dtype",
        choices=["float16", "bfloat16", "float32"],
        default="float16",
        help="of the latents on disk (default: float16)",
    )
    _precision(verb)
    _machine(verb)
    _replace(verb, "a data set of latents that is there; it stays until the new one is complete")


def encode(options: Options) -> int:
    check_free(Path(options.out), options.replace)
    reference = options.model or DEFAULT_MODEL
    result = encode_folder(
        _load(reference, options),
        options.input,
        options.out,
        reference,
        options.dtype,
        options.precision,
        options.replace,
    )
    print(result)
    return 1 if result.failed else 0


def _decode(verb: Verb) -> None:
    verb.add_argument("latents", metavar="DIR", help="a data set made by `stlatent encode`")
    verb.add_argument("--model", metavar="M", help=f"{MODEL}; default: the one that encoded it")
    verb.add_argument("--levels", type=int, metavar="K", help="decode from the first K levels only")
    verb.add_argument("--out", metavar="DIR", help="where files go (default: DIR-decoded)")
    _format(verb)
    _precision(verb)
    _machine(verb)
    _replace(verb, "files that are there")


def decode(options: Options) -> int:
    store = LatentStore(options.latents)
    levels = store.check_levels(options.levels)
    here = store.path.resolve()
    out = Path(options.out) if options.out else here.with_name(f"{here.name}-decoded")
    try:
        model = _load(options.model or store.manifest.model, options)
    except ValueError as error:
        hint = "" if options.model else "; it made these latents: give its place with --model"
        raise ValueError(f"{error}{hint}") from None
    precision, replace = options.precision, options.replace
    made = decode_store(
        model, store, out, levels, options.format, precision=precision, replace=replace
    )
    print(f"{out}: {len(made)} sources from {levels} of {len(store.manifest.levels)} levels")
    return 0


def _inspect(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    verb.add_argument("--data", required=True, metavar="VIDEOS", help="what to measure it on")
    verb.add_argument("--out", required=True, metavar="DIR", help="the report: index.html and JSON")
    verb.add_argument("--frames", type=_positive, default=17, help="first ones, at most (17)")
    verb.add_argument("--size", type=_size, default=(256, 256), help="central crop, at most (256)")
    verb.add_argument("--clips", type=_positive, default=8, help="so many files of all (8)")
    _machine(verb)
    _replace(verb, "a report that is there")


def inspect(options: Options) -> int:
    from .evaluate.report import write_report  # brings matplotlib

    model = _load(options.model, options)
    size = (options.frames, *options.size)
    clips = centre_clips(model, options.data, size, options.clips)
    write_report(model, clips, options.out, title=options.model, replace=options.replace)
    print(Path(options.out) / "index.html")
    return 0


def _sample(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    verb.add_argument("--frames", type=_positive, help="of a video (17)")
    verb.add_argument("--size", type=_size, default=(128, 128), help="HEIGHTxWIDTH (128x128)")
    verb.add_argument(
        "--keep-level",
        type=int,
        action="extend",
        nargs="+",
        default=[],
        metavar="LEVEL",
        help="hold these levels of the clip and draw the others; 0 is the coarsest",
    )
    verb.add_argument("--from", dest="clip", metavar="CLIP", help="its first frames, central crop")
    verb.add_argument("-n", type=_positive, default=1, dest="count", help="how many (1)")
    verb.add_argument("--out", default="samples", metavar="DIR", help="where they go (samples)")
    verb.add_argument("--temperature", type=float, default=1.0, help="of what is drawn (1)")
    verb.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    _format(verb)
    _machine(verb)
    _replace(verb, "files that are there")


def sample(options: Options) -> int:
    model = _load(options.model, options)
    still = model.domain.causal is None
    size, held, fps = _sample_size(options, still), {}, None
    names = (f"{i:04d}{suffix(options.format, still)}" for i in range(options.count))
    paths = [Path(options.out) / name for name in names]
    check_outputs(paths, options.replace)
    if options.clip:
        clip, fps = centre_clip(options.clip, size)
        if clip.shape[2:] != size:
            given, asked = ("x".join(map(str, shape)) for shape in (clip.shape[2:], size))
            raise ValueError(
                f"{options.clip} has {given} (TxHxW) to give, not {asked}; ask for less"
            )
        held = held_levels(model, clip, options.keep_level)
    axes = size[1:] if still else size
    draws = draw_samples(model, axes, options.count, held, options.temperature, options.seed)
    for path, x in zip(paths, draws, strict=True):
        with frame_writer(path, options.format, still, size, fps) as writer:
            writer.write(to_uint8(x))
    drawn = [level for level in range(len(model.levels)) if level not in held]
    print(f"{options.out}: {options.count} samples; levels held {list(held)}, drawn {drawn}")
    return 0


def _sample_size(options: Options, still: bool) -> tuple[int, int, int]:
    """`(T, H, W)` of a sample; ValueError where options contradict each other."""
    if still and options.frames not in (None, 1):
        raise ValueError(f"--frames is {options.frames}, but an image model draws single pictures")
    if options.keep_level and not options.clip:
        raise ValueError("--keep-level holds levels of a real clip; name it with --from CLIP")
    if options.clip and not options.keep_level:
        raise ValueError("--from names a clip; say with --keep-level which of its levels to hold")
    return (1 if still else options.frames or 17, *options.size)


VERBS: dict[str, tuple[str, Callable[[Verb], None], Callable[[Options], int]]] = {
    "train": ("train a model; the same command resumes", _train, train),
    "encode": ("compress videos and pictures to multi-level latents", _encode, encode),
    "decode": ("turn latents, or their coarse levels, back into videos", _decode, decode),
    "inspect": ("measure and show what each level of a model holds", _inspect, inspect),
    "sample": ("draw from a model, holding levels of a real clip", _sample, sample),
}


# what they share ------------------------------------------------------------------------------


def _machine(verb: Verb) -> None:
    verb.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    verb.add_argument("--threads", type=_positive, metavar="N", help="CPU threads of the network")


def _precision(verb: Verb) -> None:
    help = "of the network (default: bf16 where the device is made for it, else fp32)"
    verb.add_argument("--precision", choices=["fp32", "bf16"], help=help)


def _format(verb: Verb) -> None:
    help = "H.264, folders of png, or uint8 arrays [T, H, W, 3] (mp4)"
    verb.add_argument("--format", choices=FORMATS, default="mp4", help=help)


def _replace(verb: Verb, what: str) -> None:
    verb.add_argument("--replace", action="store_true", help=f"replace {what}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    """`128x96` (height x width) or `128`."""
    sides = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not sides:
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH in pixels, such as 128x96")
    return int(sides[1]), int(sides[2] or sides[1])


def _load(reference: str, options: Options) -> Ladder:
    if options.threads:
        torch.set_num_threads(options.threads)
    name = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device '{name}' cannot be used: {reason}; give cpu or cuda") from None
    return load(reference, name)
