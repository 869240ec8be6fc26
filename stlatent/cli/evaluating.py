"""The verb `stlatent evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

from . import options as shared
from .options import MODEL, Options, Verb


def add_evaluate(verb: Verb) -> None:
    add = verb.add_argument
    add("model", metavar="M", help=f"{MODEL}; of videos or pictures")
    add("--data", required=True, metavar="DIR", help="where sets lie, or the set itself")
    add("--set", default=".", metavar="NAME", help="mcl-jcv or davis (the first 17 frames, shorter "
        "side 256, central square), kodak (whole pictures), or a folder of DIR, cut as the first "
        "two are (DIR itself)")  # fmt: skip
    add("--beside", action="append", default=[], metavar="A", help="an autoencoder of diffusers "
        "to measure in the same run: a folder or a name on the hub, #SUBFOLDER behind it for part "
        "of a pipeline; may be given several times")  # fmt: skip
    add("--lpips", metavar="FILE", help="an ONNX graph of two pictures that gives their LPIPS")
    add("--fvd", metavar="FILE", help="an ONNX graph of a clip that gives its features, such as "
        "I3D")  # fmt: skip
    add("--out", metavar="FILE", help="the same as JSON")
    shared.precision(verb)
    shared.machine(verb)
    shared.replace(verb, "a file of results that is there")


def evaluate(options: Options) -> int:
    from dataclasses import asdict

    from ..evaluate.networks import ClipFeatures, PictureDistance
    from ..evaluate.peers import FrozenPeer, LadderPeer
    from ..evaluate.yardstick import evaluate as measure
    from ..evaluate.yardstick import table
    from ..files import replace_text
    from ..media.output import check_outputs
    from ..media.registry import yardstick

    out = Path(options.out) if options.out else None
    check_outputs([out] if out else [], options.replace)
    lpips = PictureDistance(options.lpips) if options.lpips else None
    fvd = ClipFeatures(options.fvd) if options.fvd else None
    model = shared.load_model(options.model, options)
    ours = LadderPeer(options.model, model)
    peers = [ours, *(FrozenPeer(place, ours.device) for place in options.beside)]
    clips = yardstick(model, Path(options.data), options.set)
    rows = measure(peers, clips, options.precision, lpips, fvd)
    print(table(rows))
    for name, given in (("LPIPS", lpips), ("FVD", fvd)):
        if given is None:
            print(f"no {name}: its network does not come along; give it with --{name.lower()} FILE")
    if out:
        replace_text(out, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0
