"""Which pipelines of the installed `diffusers` take an exported ladder, as a table.

    python tools/pipeline_table.py [--only NAME ...] [--out stlatent/export/PIPELINES.md]

Every pipeline whose constructor takes a `vae` is made with tiny random networks and run to the end,
two steps, with a ladder of two levels (10 or 34 channels), or else with one of 4 or of 16 channels.
A pipeline for which there is no network in pipeline_networks.py is not tried, and said to be so.
"""

from __future__ import annotations

import argparse
import inspect
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers as d
import numpy as np
import torch
from PIL import Image
from pipeline_more import MORE
from pipeline_networks import NETWORKS, Network
from pipeline_videos import VIDEOS

from stlatent import AutoencoderLadder, Ladder, Level, ModelConfig, Stage
from stlatent.export.folder import wrap

SECONDS = 90  # for one attempt
CANNOT = {  # what the source of a pipeline asks of its autoencoder that a ladder has not
    r"\bvae\.bn\b": "reads the statistics of a batch norm inside the autoencoder, `vae.bn`",
    r"decode\(latents\)\.sample\s+frames = frames\.permute\(0, 2, 1, 3, 4\)": (
        "expects a decoder that gives frames before channels"
    ),
    r"isinstance\(self\.vae, \(?AutoencoderDC": "knows the strides of three classes only",
    r"self\.vae\.(config\.)?(sampling_rate|sample_rate|mel_|hop_length)": "is for sound",
    r"vae\._encode\(": "calls a private method of its autoencoder, `_encode`",
    r"vae: (AutoencoderOobleck|LongCatAudioDiTVae)|vocoder: SpeechT5HifiGan": "is for sound",
    r"vae: RFD4ProteinaAutoencoder": "is for proteins",
    r"vae\w*: OnnxRuntimeModel": "runs graphs of ONNX, not modules",
    r"vae: AutoencoderTiny\b": "reads latents of `encode` without a distribution, `.latents`",
}
UNTRIED = {  # why there is no network for some, by their names
    "LTX2|Kandinsky6TI2VA": "make sound as well, by an autoencoder of their own",
    "Blip|UniDiffuser|Versatile|StableUnCLIP|PaintBy|StableVideoD|I2VGen|Marigold|VisualCloze": (
        "ask for encoders of text or pictures at once"
    ),
    ".*": "no tiny network for them here",
}
SIZES = {"image": {"height": 32, "width": 32}}
SIZES["video"] = {"height": 32, "width": 64, "num_frames": 9}
SHAPES = {  # strides and channels of the levels, first choice first
    "image": ((((8, 8), (4, 4)), 2), (((8, 8),), 4), (((8, 8),), 16)),
    "video": ((((4, 8, 8), (2, 4, 4)), 2), (((4, 8, 8),), 4), (((4, 8, 8),), 16)),
}


def ladder(domain: str, strides: tuple[tuple[int, ...], ...], latent: int) -> AutoencoderLadder:
    """A random one, exported."""
    torch.manual_seed(0)
    levels = tuple(Level(stride=s, width=8, latent=latent, blocks=0) for s in strides)
    stem = Stage(stride=strides[-1], width=8, blocks=0)
    model = Ladder(ModelConfig(domain=domain, levels=levels, stem=stem))
    count = latent * len(strides)
    return wrap(model, len(strides), [0.0] * count, [1.0] * count, frames="floor")


def pipelines() -> Iterator[type]:
    """Those whose constructor takes a `vae`, in alphabetical order."""
    for name in sorted(n for n in dir(d) if n.endswith("Pipeline")):
        try:
            found = getattr(d, name)
            takes = inspect.signature(found.__init__).parameters
        except (ImportError, RuntimeError, ValueError, TypeError):  # wants a package of its own
            continue
        if found.__name__ == name and "vae" in takes:
            yield found


def cannot(pipeline: type) -> str | None:
    """What it asks of an autoencoder that a ladder has not, by its source."""
    source = inspect.getsource(sys.modules[pipeline.__module__])
    return next((why for pattern, why in CANNOT.items() if re.search(pattern, source)), None)


def attempt(pipeline: type, network: Network, vae: AutoencoderLadder) -> None:
    """Make `pipeline` and run it to the end; raises whatever goes wrong."""
    channels = vae.config.latent_channels
    parts = network.parts(channels) | {"vae": vae, "requires_safety_checker": False}
    takes = inspect.signature(pipeline.__init__).parameters
    needed = [n for n, p in takes.items() if p.default is p.empty and n != "self"]
    given = {name: None for name in needed} | {k: v for k, v in parts.items() if k in takes}
    made = pipeline(**given)
    made.set_progress_bar_config(disable=True)
    call = usual(network.domain) | network.call
    takes = inspect.signature(made.__call__).parameters
    found = made(**{name: value for name, value in call.items() if name in takes})
    values = torch.as_tensor(np.asarray(found[0]))
    if values.shape[-1] != 3 or not values.isfinite().all():  # some choose a size of their own
        raise ValueError(f"what came out is {list(values.shape)}, not pictures, channels last")
    if "num_frames" in takes and values.shape[-4] not in (1, call["num_frames"]):
        raise ValueError(f"{values.shape[-4]} frames came out, not {call['num_frames']}")


def usual(domain: str) -> dict[str, Any]:
    """Arguments by the names that pipelines have for them."""
    size = SIZES[domain]
    shape = size["height"], size["width"]
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    picture = Image.fromarray(noise)
    mask = Image.fromarray(noise[..., 0])
    video = [picture] * 9
    return size | {
        "prompt": None,
        "negative_prompt": None,
        "image": picture,
        "control_image": picture,
        "mask_image": mask,
        "video": video,
        "control_video": video,
        "strength": 1.0,
        "num_inference_steps": 2,
        "generator": torch.Generator().manual_seed(0),
        "output_type": "np",
    }


def outcome(pipeline: type) -> tuple[str, str]:
    """How it went, and a remark."""
    name = pipeline.__name__
    known = (*VIDEOS, *NETWORKS, *MORE)
    network = next((n for n in known if re.match(n.pattern, name)), None)
    why = cannot(pipeline)
    if network is None:
        untried = next(said for pattern, said in UNTRIED.items() if re.match(pattern, name))
        return ("cannot", why) if why else ("not tried", untried)
    first = ""
    for strides, latent in SHAPES[network.domain]:
        vae = ladder(network.domain, strides, latent)
        signal.alarm(SECONDS)
        try:
            attempt(pipeline, network, vae)
        except Exception as error:  # whatever a pipeline raises is an outcome
            first = first or f"{type(error).__name__}: {error}".splitlines()[0][:160]
            continue
        finally:
            signal.alarm(0)
        only = "" if len(strides) > 1 else f"only with {latent} channels: {first}"
        return "runs", only
    return ("cannot", why) if why else ("fails here", first)


def table(only: list[str]) -> str:
    """The whole table in Markdown."""
    rows = []
    for pipeline in pipelines():
        if only and not any(word in pipeline.__name__ for word in only):
            continue
        how, remark = outcome(pipeline)
        print(f"{pipeline.__name__}: {how} {remark}", file=sys.stderr, flush=True)
        rows.append((how, pipeline.__name__.removesuffix("Pipeline"), remark.replace("|", "\\|")))
    parts = [HEAD.format(version=d.__version__)]
    for how, meaning in MEANINGS.items():
        found = [(name, remark) for h, name, remark in rows if h == how]
        parts.append(f"## {meaning} ({len(found)})\n")
        if how == "not tried":
            named = {r: [name for name, own in found if own == r] for r in UNTRIED.values()}
            found = [(", ".join(names), why) for why, names in named.items() if names]
        plain = [name for name, remark in found if not remark]
        told = [pair for pair in found if pair[1]]
        parts += [", ".join(plain) + ".\n"] if plain else []
        if told:
            lines = [f"| {name} | {remark} |" for name, remark in told]
            parts.append("\n".join(["| pipeline | |", "|---|---|", *lines]) + "\n")
    return "\n".join(parts)


HEAD = """# Pipelines of diffusers {version}, tried with an exported ladder

Made by `python tools/pipeline_table.py`: every pipeline that takes a `vae`, with tiny random
networks and embeddings of text, two steps, to the end.
"""
MEANINGS = {
    "runs": "Run to the end",
    "cannot": "Cannot take a ladder",
    "fails here": "Did not run in this trial, which has no encoders of text or pictures",
    "not tried": "Not tried",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there (print it)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    d.utils.logging.set_verbosity_error()
    torch.set_grad_enabled(False)

    def late(*_: object) -> None:
        raise TimeoutError(f"it took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    found = table(options.only)
    if options.out:
        options.out.write_text(found)
    else:
        print(found)


if __name__ == "__main__":
    main()
