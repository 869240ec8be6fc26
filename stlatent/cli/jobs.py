"""The verbs about data sets of latents: `stlatent encode | jobs | verify`."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

from . import options as shared
from .options import MODEL, Options, Verb
from .outcome import say

if TYPE_CHECKING:
    from ..checkpoint import Model
    from ..jobs.encode import EncodeResult
    from ..jobs.options import EncodeOptions
    from ..jobs.ray_pool import RayPool
    from ..jobs.team import Team

DTYPES = ("float16", "bfloat16", "float32", "int8")


def add_encode(verb: Verb) -> None:
    add = verb.add_argument
    add("input", metavar="INPUT", help="a folder, searched to its depth, or one file; WebDataset "
        "shards (.tar), tables (.parquet), a list of paths or URLs (.txt, .jsonl, .csv); or a URL; "
        "for a model on a foundation also latents of that: a data set, or .safetensors and .pt "
        "files")  # fmt: skip
    add("--model", metavar="M", help=f"{MODEL}; default: video, or voxel for meshes")
    add("--out", required=True, metavar="DIR", help="the data set to make, or a URL; the same "
        "command goes on after an interruption")  # fmt: skip
    add("--short-side", type=shared.positive, metavar="N", help="resize frames to N pixels there")
    add("--size", type=shared.size, metavar="HxW", help="resize frames to cover so many pixels, "
        "and keep the centre")  # fmt: skip
    add("--buckets", type=_pixels, metavar="HxW", help="the same, each source to that of a few "
        "sizes of at most so many pixels in all whose aspect is nearest to its own")  # fmt: skip
    add("--fps", type=shared.rate, metavar="F", help="frames per second (the source's own)")
    add("--clip-frames", type=shared.positive, metavar="N", help="cut sources into clips of N")
    add("--scenes", action="store_true", help="cut sources where scenes change, and then into "
        "clips (whole files)")  # fmt: skip
    add("--background", type=_colour, default=(255, 255, 255), metavar="COLOUR", help="behind "
        "transparent pixels: a name or #rrggbb (white)")  # fmt: skip
    shared.tile(verb, "about 2048")
    shared.resolution(verb, "64, or what the model reads")
    add("--axes", type=_axes, metavar="X,Y,Z", help="of shapes: the asset's directions along the "
        "axes of the cube, such as x,z,-y where z is up (x,y,z)")  # fmt: skip
    add("--max-voxels", type=shared.positive, default=512**3, metavar="N", help="of a volume; "
        "a larger one is named, and left out (512^3)")  # fmt: skip
    add("--normalised", action="store_true", help="of latents computed before: they are normalised "
        "by the foundation's mean and deviation (as its encode gives them)")  # fmt: skip
    add("--refine", type=shared.whole, default=0, metavar="N", help="of shapes: improve the "
        "latents of each by N steps of gradient descent (0)")  # fmt: skip
    add("--turned", action="store_true", help="of meshes: encode each also turned and mirrored, in "
        "the 8 ways that leave the vertical alone; decoded, all lie as it does")  # fmt: skip
    add("--dtype", type=_dtypes, default=("float16",), metavar="D[,D...]", help="of the latents on "
        "disk: float16, bfloat16, float32 or int8; one, or one per level (float16)")  # fmt: skip
    add("--entropy-code", action="store_true", help="store bits, rounded to --step and "
        "coded under the model's own priors; reading them takes the model")  # fmt: skip
    add("--step", type=_steps, default=(), metavar="S[,S...]", help="of rounding before entropy "
        "coding, in deviations of the posterior; one, or one per level (3.46: as noisy as it is; "
        "of the finest level of codecs 5.54)")  # fmt: skip
    add("--psnr", type=shared.rate, metavar="DB", dest="psnr_db", help="store bits, as few as "
        "give this PSNR in every part of a source; levels, steps and λ follow")  # fmt: skip
    add("--bits-per-pixel", type=shared.rate, metavar="B", help="store bits, at most so many per "
        "pixel and frame of a source, as good as these allow; the same follow")  # fmt: skip
    add("--size-limit", type=shared.byte_count, metavar="SIZE", help="store bits, at most so many "
        "bytes of latents in all, such as 2GiB, shared out by the bytes of the sources, as good as "
        "these allow; each source is read twice")  # fmt: skip
    add("--rate-weight", type=shared.rate, metavar="W", help="of a model for a range of rates: "
        "the price of a bit; more is fewer of them (the middle of its range; with a target, what "
        "reaches it in every part)")  # fmt: skip
    add("--key-every", type=shared.positive, metavar="N", help="of bits: begin anew after every N "
        "steps of level 0, so that reading may begin there (only at the beginning)")  # fmt: skip
    add("--std", action="store_true", help="also store the posteriors' standard deviations")
    add("--shard", type=_shard, default=(0, 1), metavar="I/N", help="do the I-th of N parts of "
        "the work, from 0; any machines, one folder (all)")  # fmt: skip
    add("--ray", type=shared.positive, metavar="N", help="let N actors of a Ray cluster do it, "
        "each with --threads CPUs (1), and a GPU where there are any; RAY_ADDRESS names the "
        "cluster, which is else this machine")  # fmt: skip
    add("--unit-files", type=shared.positive, default=64, metavar="N", help="sources per unit of "
        "work, at most (64); what is interrupted inside a unit is done again")  # fmt: skip
    add("--time-limit", type=shared.rate, default=120.0, metavar="SECONDS", help="after which a "
        "file whose decoder does not answer is given up (120)")  # fmt: skip
    add("--retry-failed", action="store_true", help="try again what is named in failed.jsonl")
    shared.precision(verb)
    shared.machine(verb)
    shared.replace(verb, "a data set that is there; it stays until the new one is complete")


def encode(options: Options) -> int:
    from ..jobs.find import usual_model
    from ..jobs.folder import check_free
    from ..jobs.ray_pool import RayPool
    from ..jobs.team import launched_team
    from ..store.place import Place

    place = Place(options.out)
    place.check_keeps()
    check_free(place, options.replace)
    reference = options.model or usual_model(options.input)
    pool = RayPool(options.ray, options.threads or 1) if options.ray else None
    if options.device is None:
        options.device = _local_device(int(os.environ.get("LOCAL_RANK", 0)))
    model = shared.load_model(reference, options)
    with launched_team() as team:
        result = _encode(model, reference, options, team, pool)
        if team.first:
            say(result)
        team.wait()  # a launcher ends the others as soon as one says that something failed
    return 1 if result.failed else 0


def _encode(
    model: Model, reference: str, options: Options, team: Team, pool: RayPool | None
) -> EncodeResult:
    from ..jobs.encode import encode_folder

    return encode_folder(
        model,
        options.input,
        options.out,
        reference,
        _encode_options(options, model),
        shard=options.shard,
        team=team,
        pool=pool,
        replace=options.replace,
        retry_failed=options.retry_failed,
        limit_seconds=options.time_limit,
    )


def _encode_options(options: Options, model: Model) -> EncodeOptions:
    from ..jobs.options import EncodeOptions
    from ..media.registry import medium_of
    from ..model.config import parse

    values = {n: v for n, v in vars(options).items() if n in EncodeOptions.model_fields}
    asked = medium_of(model).asked(resolution=options.resolution, axes=options.axes)
    return parse(EncodeOptions, values | asked, "encode")


def add_jobs(verb: Verb) -> None:
    verb.add_argument("action", choices=["show"], help="what is done, left and failed, how fast")
    verb.add_argument("job", metavar="DIR", help="the --out of `stlatent encode`, at any time")


def jobs(options: Options) -> int:
    from ..jobs.status import job_status

    say(job_status(options.job))
    return 0


def add_verify(verb: Verb) -> None:
    verb.add_argument("latents", metavar="DIR", help="a data set made by `stlatent encode`")


def verify(options: Options) -> int:
    from ..jobs.verify import verify_store

    files, size, problems = verify_store(options.latents)
    for problem in problems:
        say(problem)
    found = f"{len(problems)} problems" if problems else "all as written"
    print(f"{options.latents}: {files} files, {size:,} bytes: {found}")
    return 1 if problems else 0


def _local_device(rank: int) -> str | None:
    """The GPU of one of several processes on a machine."""
    import torch

    return f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else None


def _dtypes(text: str) -> tuple[str, ...]:
    dtypes = tuple(text.split(","))
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise argparse.ArgumentTypeError(
                f"invalid choice: '{dtype}' (choose from {', '.join(DTYPES)})"
            )
    return dtypes


def _colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        held = f"'{text}' is no colour; give a name such as black, or #rrggbb"
        raise argparse.ArgumentTypeError(held) from None


def _steps(text: str) -> tuple[float, ...]:
    return tuple(shared.rate(step) for step in text.split(","))


def _axes(text: str) -> tuple[str, ...]:
    axes = tuple(text.split(","))
    if sorted(axis.removeprefix("-") for axis in axes) != ["x", "y", "z"]:
        raise argparse.ArgumentTypeError(
            f"'{text}' does not name each of x, y, z once, or its negative, such as x,z,-y"
        )
    return axes


def _pixels(text: str) -> int:
    height, width = shared.size(text)
    return height * width


def _shard(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"(\d+)/(\d+)", text)
    if not parts or int(parts[1]) >= int(parts[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N with I from 0 to N - 1, such as 0/8")
    return int(parts[1]), int(parts[2])
