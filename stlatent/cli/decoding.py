"""The verbs `stlatent decode | convert`."""

from __future__ import annotations

from pathlib import Path

from . import options as shared
from .options import MODEL, Options, Verb

LAYOUTS = ("ltx2", "finetrainers", "musubi", "webdataset", "huggingface", "latents")


def add_decode(verb: Verb) -> None:
    verb.add_argument("latents", metavar="DIR", help="a data set made by `stlatent encode`")
    verb.add_argument("--model", metavar="M", help=f"{MODEL}; default: the one that encoded it")
    verb.add_argument(
        "--levels", type=shared.whole, metavar="K", help="decode from the first K levels only"
    )
    shared.out(verb, "where files go (default: DIR-decoded)", required=False)
    shared.tile(verb, "as they were encoded")
    shared.format(verb)
    shared.resolution(verb, "as they were encoded")
    help = "of shapes: colours in a picture, and not at the vertices"
    verb.add_argument("--texture", action="store_true", help=help)
    shared.precision(verb)
    shared.machine(verb)
    shared.replace(verb, "files that are there")


def decode(options: Options) -> int:
    from ..jobs.decode import decode_store
    from ..store.reader import LatentStore

    store = LatentStore(options.latents)
    levels = store.check_levels(options.levels)
    here = store.place.local or Path(Path(store.place.root).name)
    out = Path(options.out) if options.out else here.with_name(f"{here.name}-decoded")
    try:
        model = shared.load_model(options.model or store.manifest.model, options)
    except ValueError as error:
        hint = "" if options.model else "; it made these latents: give its place with --model"
        raise ValueError(f"{error}{hint}") from None
    names = ("format", "precision", "replace", "tile", "resolution", "texture")
    how = {name: getattr(options, name) for name in names}
    made = decode_store(model, store, out, levels, **how)
    print(f"{out}: {len(made)} items from {levels} of {len(store.manifest.levels)} levels")
    return 0


def add_convert(verb: Verb) -> None:
    help = "a data set made by `stlatent encode`, or, for `latents`, a collection made of one"
    verb.add_argument("latents", metavar="DIR", help=help)
    help = "for LTX-2's, finetrainers' or musubi-tuner's training, as a collection of all levels, "
    help += "or as a data set again"
    verb.add_argument("--to", required=True, choices=LAYOUTS, help=help)
    shared.out(verb, "the folder to make")
    help = "of trainers: the exported autoencoder, as which latents are packed and normalised"
    verb.add_argument("--vae", metavar="DIR", help=help)


def convert(options: Options) -> int:
    from ..export.convert import convert as write

    count = write(options.latents, options.out, options.to, options.vae)
    print(f"{options.out}: {count} items for {options.to}")
    return 0
