"""Say of every mesh below a folder what kind of thing it is, by the words of its name.

python tools/name_assets.py ASSETS --out kinds.json

The first kind of the list that has one of the words is taken, so that `table_long_broken.glb` is
furniture; what has none of them is `other`. The file is what `data.labels` of a run of diffusion
takes.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.media.shape.data import find_shapes

KINDS = {
    "character": "barbarian knight mage rogue character dummy",
    "flag": "banner flag",
    "food": "food plate bowl stew",
    "container": "barrel box chest keg trunk crate crates cargo container containers bucket jar "
    "can sack bottle quiver coffin pot mug",
    "wall": "wall door doorway window arch fence barrier pillar column post",
    "kitchen": "kitchencabinet kitchencounter kitchentable oven stove fridge extractorhood "
    "dishrack",
    "furniture": "armchair bed bench book cabinet chair couch lamp pictureframe pillow rug shelf "
    "shelves stool table",
    "floor": "floor path road track platform landingpad",
    "hex": "hex",
    "building": "building basemodule roofmodule cargodepot structure tunnel crypt shrine",
    "tree": "tree trees cactus bush forest waterplant",
    "landscape": "hill hills mountain rock rocks terrain rubble cloud",
    "light": "candle torch lantern streetlight trafficlight lights",
    "vehicle": "vehicle car spacetruck lander",
    "weapon": "sword shield dagger crossbow staff wand arrow blaster weaponrack",
    "stairs": "stairs slope ladder",
    "target": "target",
}
OTHER = "other"


def kind_of(name: str) -> str:
    """The kind of a file, such as `wall` of `dungeon/wall_arched.glb`."""
    words = {*re.split("[^a-z]+", PurePosixPath(name).stem.lower())}
    return next((kind for kind, own in KINDS.items() if words & {*own.split()}), OTHER)


@command("name_assets")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path, help="a folder, searched to its depth")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    options = parser.parse_args(arguments)
    kinds = {name: kind_of(name) for name in find_shapes(options.assets)}
    replace_text(options.out, json.dumps(kinds, indent=1) + "\n")
    for kind, count in Counter(kinds.values()).most_common():
        print(f"{count:5d} {kind}")


if __name__ == "__main__":
    raise SystemExit(main())
