"""Write the notebooks, with their outputs: every cell is run.

python tools/make_notebooks.py [--out notebooks]
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from stlatent.cli.outcome import command

ROOT = Path(__file__).parents[1]
LONGEST_S = 300  # a notebook may take on a CPU

SETUP = """\
import shutil
import sys
from pathlib import Path
from IPython.display import Image as Shown, display
from PIL import Image

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q 'stlatent[shapes]'")
{name} = Path("assets/{name}")  # of a checkout
if not {name}.is_dir():  # such as on Colab: take some of your own
    from google.colab import files
    {name} = Path("mine")
    {name}.mkdir(exist_ok=True)
    for file in files.upload():
        shutil.move(file, {name} / file)

def show(picture, width=900):
    picture = Image.fromarray(picture) if not isinstance(picture, Image.Image) else picture
    picture.convert("RGB").save("shown.jpg", quality=85)
    display(Shown("shown.jpg", width=width))"""

NOTEBOOKS: dict[str, list[str]] = {
    "compress": [
        "# Compress a folder\nFrom clips to latents on three levels, and back from one.",
        SETUP.format(name="clips"),
        "The shipped model; frames of 128 pixels, so that it is quick.",
        """\
import stlatent
from stlatent.jobs import EncodeOptions, encode_folder

model = stlatent.load("video")
small = EncodeOptions(short_side=128, clip_frames=33)
done = encode_folder(model, clips, "latents", "video", small)
print(done.items, "items,", len(done.failed), "failed")""",
        "Each level lies in files of its own: reading level 0 touches no byte of the others.",
        """\
from stlatent.store import LatentStore

store = LatentStore("latents")
name = next(iter(store.items))
for k, level in enumerate(store.read(name).levels):
    print(name, "level", k, list(level.shape), level.numel(), "numbers")""",
        "What every prefix decodes to, one frame of some clips:",
        'show(Image.open("latents/preview.png"))',
        "Files from level 0 alone, with names, sizes and rates of the sources:",
        """\
from stlatent.jobs import decode_store

made = decode_store(model, store, "previews", 1)
print(sorted(path.name for path in map(Path, made))[:4])""",
    ],
    "train": [
        "# Train, and look at it\nA tiny ladder on a few clips, a minute on a CPU. For real use "
        "take `video/base`, and `start=video model.recall=2` to fine-tune the shipped model.",
        SETUP.format(name="clips"),
        "The same command resumes. `minutes=` is the other way to end a run.",
        """\
!{sys.executable} -m stlatent train video/tiny data.root={clips} out=runs/mine steps=40 \\
    save_every=20 data.frames=9 data.crop=64 data.batch_size=2 data.workers=0 \\
    2>/dev/null | tail -4""",
        "One clip was held out, measured and pictured: original, then each prefix.",
        'show(Image.open(sorted(Path("runs/mine/reconstructions").glob("*.png"))[-1]), 700)',
        """\
import json

for line in Path("runs/mine/metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    if "psnr_db" in row:
        print("step", row["step"], "PSNR of each prefix, dB:", row["psnr_db"])""",
        "The run is a model like any other:",
        """\
import stlatent

model = stlatent.load("runs/mine")
print(model.latent_shape((9, 64, 64)))""",
    ],
    "shapes": [
        "# Meshes to levels and back\nThe shipped voxel model: 128 to 4,096 numbers a shape.",
        SETUP.format(name="meshes"),
        """\
import stlatent
from stlatent.geometry import read_surface, shape_picture
from stlatent.media import medium_of
from stlatent.media.options import Extent

model = stlatent.load("voxel")
medium = medium_of(model)
path = sorted(p for p in meshes.iterdir() if p.suffix in medium.kinds)[-1]
x, sample = medium.open(path, medium.blank(Extent()))
latents = model.encode(x)
print(path.name, [z[0].numel() for z in latents.levels])""",
        "Original, then every prefix:",
        """\
import numpy as np

prefixes = [model.decode(latents, k) for k in range(1, 4)]
show(np.concatenate([medium.frames(y)[0] for y in (x, *prefixes)], 1))
for k, y in enumerate(prefixes):
    figures = {name: round(value, 3) for name, value in medium.compare(x, y).items()}
    print("levels 0 to", k, figures)""",
        "Hold level 0 and draw the others: the same shape, other detail. Then write it.",
        """\
import torch

drawn = model.sample(x.shape[2:], held={0: latents.levels[0]}, temperature=0.5,
                     generator=torch.Generator().manual_seed(0))
show(np.concatenate([medium.frames(y)[0] for y in (x, drawn)], 1), 500)
from stlatent.media.output import Output

medium.write(Path("drawn.glb"), [medium.take(model, drawn, sample)], sample, Output())
print(Path("drawn.glb").stat().st_size > 10_000)""",
    ],
    "diffusion": [
        "# Latent diffusion on level 0\nThe whole path in small: too few steps for pictures, "
        "enough to see how it goes.",
        SETUP.format(name="clips"),
        """\
!{sys.executable} -m stlatent encode {clips} --model video --short-side 96 --clip-frames 17 \\
    --out latents 2>/dev/null | tail -2""",
        "Level 0 alone is diffused; the ladder's own prior makes the rest.",
        """\
!{sys.executable} -m stlatent train diffusion/coarse data.root=latents out=runs/diffusion \\
    steps=60 save_every=60 data.batch_size=8 data.workers=0 diffusion.stages.0.width=64 \\
    diffusion.stages.0.depth=2 2>/dev/null | tail -3""",
        """\
import torch
from stlatent import LadderPipeline

pipeline = LadderPipeline.from_pretrained("runs/diffusion/pipeline")
made = pipeline(batch_size=3, num_inference_steps=8, generator=torch.Generator().manual_seed(0))
print(len(made.frames), "videos of", len(made.frames[0]), "frames of", made.frames[0][0].size)""",
        """\
import numpy as np

show(np.concatenate([np.asarray(video[-1]) for video in made.frames], 1), 600)""",
    ],
}


@command("make_notebooks")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--only", nargs="+", choices=NOTEBOOKS, default=list(NOTEBOOKS))
    options = parser.parse_args(arguments)
    options.out.mkdir(exist_ok=True)
    for name in options.only:
        nbformat.write(run(notebook(NOTEBOOKS[name])), options.out / f"{name}.ipynb")
        print(options.out / f"{name}.ipynb")


def notebook(cells: Sequence[str]) -> nbformat.NotebookNode:
    """Text and code: the first cell and every one without a line of code is text."""
    made = nbformat.v4.new_notebook()
    for number, cell in enumerate(cells):
        new = nbformat.v4.new_code_cell if is_code(cell) else nbformat.v4.new_markdown_cell
        made.cells.append(new(cell, id=f"cell-{number}"))
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return made


def is_code(cell: str) -> bool:
    return bool(re.match(r"(import |from |show\(|!)", cell))


def run(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Every cell, in a folder of its own with `assets`; outputs without paths of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "assets").symlink_to(ROOT / "assets")
        NotebookClient(made, timeout=LONGEST_S, resources={"metadata": {"path": folder}}).execute()
        shutil.rmtree(Path(folder, "runs"), ignore_errors=True)
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return made


if __name__ == "__main__":
    raise SystemExit(main())
