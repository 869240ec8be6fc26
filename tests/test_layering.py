"""Who may import whom: the layers of the package, read from its source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args

import pytest

from stlatent.media.source import Kind
from stlatent.model.domains import ALL_DOMAINS

ROOT = Path(__file__).parents[1]
PACKAGE = "stlatent"
MAX_LINES = 330

# Imports point down or sideways: a unit may import those of its own row and of the rows above it.
LAYERS = [
    {"files"},
    {"model", "weights", "shipped", "hub", "runtime"},
    {"triplane", "foundation", "sparse"},
    {"checkpoint", "geometry", "losses"},
    {"media"},
    {"bits"},
    {"store"},
    {"jobs", "train", "evaluate"},
    {"diffusion", "export"},
    {"demo"},
    {"cli", "__main__", ""},  # "" is the package's own face, stlatent/__init__.py
]
RANK = {unit: rank for rank, row in enumerate(LAYERS) for unit in row}

# Not installed with the core: each in one file, inside a function, where its absence is explained.
OPTIONAL = {"timm", "torchvision", "xformers", "transformers", "ray", "open3d", "igl", "gradio"}
OPTIONAL |= {
    "vector_quantize_pytorch",
    "constriction",
    "pyarrow",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "torchcodec",
    "nibabel",
    "pydicom",
    "wandb",
}
# Slow to import, and most commands do without: inside functions.
LAZY = OPTIONAL | {"matplotlib"}


def sources() -> dict[str, str]:
    """Module name (`stlatent.media.video`; a package ends in `.__init__`) -> source."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {
        ".".join(f.relative_to(ROOT).with_suffix("").parts): f.read_text(encoding="utf-8")
        for f in files
    }


def unit(module: str) -> str:
    """The part of the package that a module belongs to: `media` for `stlatent.media.video`."""
    return module.removesuffix(".__init__").partition(".")[2].partition(".")[0]


def imports(module: str, source: str) -> Iterator[tuple[str, bool]]:
    """Absolute dotted names that a module imports, and whether only when a function needs them."""
    tree = ast.parse(source)
    late = {id(node) for block in ast.walk(tree) if is_late(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            base += [node.module] if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from ((name, id(node) in late) for name in names)


def is_late(block: ast.AST) -> bool:
    """Whether what stands in it is not run on import: a function, or types for a checker."""
    if isinstance(block, ast.If):
        return isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
    return isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef)


def resolve(name: str, modules: dict[str, str]) -> str:
    """The module of this package that `from a.b import c` reads: `a.b.c`, or else `a.b`."""
    while f"{name}.__init__" not in modules and name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return f"{name}.__init__" if f"{name}.__init__" in modules else name


def violations(modules: dict[str, str]) -> list[str]:
    """One line for every import that is not allowed."""
    found, graph, users = [], {}, {}
    for module, source in modules.items():
        if unit(module) not in RANK:
            found.append(f"{module} has no place in LAYERS: give it one")
            continue
        for name, late in imports(module, source):
            top = name.partition(".")[0]
            if top in LAZY and not late:
                found.append(f"{module} imports {top} at module level")
            if top in OPTIONAL:
                users.setdefault(top, set()).add(module)
            if top != PACKAGE:
                continue
            target = resolve(name, modules)
            if target != module:
                graph.setdefault(module, set()).add(target)
            if RANK.get(unit(target), 0) > RANK[unit(module)]:
                found.append(f"{module} imports {target}, which lies above it")
    found += [f"{p} is imported by {', '.join(sorted(u))}" for p, u in users.items() if len(u) > 1]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports go in a circle: {' -> '.join(error.args[1])}")
    return found


def test_imports_point_down() -> None:
    found = violations(sources())
    assert not found, "\n".join(found)


def test_files_that_are_pointed_to_are_there() -> None:
    """`x.py` in a docstring or comment lies beside the file, or is named from the package or the
    checkout down."""
    for module, source in sources().items():
        beside = (ROOT / Path(*module.split("."))).parent
        for name in re.findall(r"(?:see|of|as in) `([\w/]+\.py)`", source):
            places = (beside, ROOT / PACKAGE, ROOT)
            assert any((place / name).is_file() for place in places), (module, name)


def test_files_stay_short() -> None:
    files = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    lines = {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8").count("\n") for f in files}
    assert {f: n for f, n in lines.items() if n > MAX_LINES} == {}


# What a sample is, only `media` knows, and of domains only `model`. Elsewhere nothing imports one
# medium, asks which domain, kind or axis it has to do with, or which class a model is of.
MEDIA = {folder.name for folder in (ROOT / PACKAGE / "media").iterdir() if folder.is_dir()}
TOLD_APART = {*ALL_DOMAINS, *get_args(Kind), "t", "h", "w", "u", "v"}
MODELS = {"Ladder", "TriplaneAutoencoder", "SparseLadder"}
MAY_TELL = {  # and why
    # data sets of latents as sources: they lie in the store, of which media know nothing
    "stlatent.jobs.latents": "latents",
    "stlatent.jobs.latents_child": "latents",
}


def told_apart(module: str, source: str) -> set[str]:
    """The media, domains, kinds, axes and classes of models that a module tells from others."""
    found: set[str] = set()
    if unit(module) in ("media", "model"):
        return found
    for name, _ in imports(module, source):
        parts = name.split(".")
        if parts[:2] == [PACKAGE, "media"] and len(parts) > 2 and parts[2] in MEDIA:
            found.add(parts[2])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.Match):
            said = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            found |= said & TOLD_APART
        called = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
        if called:
            names = {getattr(part, "id", "") for part in ast.walk(node.args[1])}
            found |= names & MODELS
    return found


def test_nothing_above_media_asks_what_a_sample_is() -> None:
    found = {module: told_apart(module, source) for module, source in sources().items()}
    allowed = {module: {name} for module, name in MAY_TELL.items()}
    assert {module: names for module, names in found.items() if names} == allowed


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from ..media.video.clips import ClipDataset", {"video"}),
        ("def f():\n    from stlatent.media.audio import medium", {"audio"}),
        ("if model.config.domain == 'voxel':\n    pass", {"voxel"}),
        ("if item.kind in ('mesh', 'volume'):\n    pass", {"mesh", "volume"}),
        ("pictures = names[-2:] == ['h', 'w']", {"h", "w"}),
        ("match domain:\n    case 'video':\n        pass", {"video"}),
        ("planes = isinstance(model, (Ladder, SparseLadder, TriplaneAutoencoder))", MODELS),
        ("from ..media.base import Medium\nfrom ..media.registry import medium_of", set()),
        ("'The domain video'\nkinds = {'video': 1}", set()),
    ],
)
def test_the_checker_finds_what_is_told_apart(source: str, names: set[str]) -> None:
    assert told_apart("stlatent.jobs.job", source) == names
    assert told_apart("stlatent.media.video.medium", source) == set()


PROPER = {
    "stlatent.__init__": "import lazy_loader",
    "stlatent.model.domain": "import torch",
    "stlatent.model.config": "from .domain import Domain",
    "stlatent.model.choose": "from .domain import Domain",
    "stlatent.model.ladder": "from . import choose\nfrom .config import X",
    "stlatent.media.__init__": "import lazy_loader",
    "stlatent.media.video": "from ..model.domain import Domain",
    "stlatent.jobs.job": "from ..media.video import Reader",
    "stlatent.train.loop": "from ..media.video import Reader\nimport stlatent.model.ladder",
    "stlatent.losses.perceptual": "def f():\n    import timm",
    "stlatent.evaluate.plots": "def f():\n    import matplotlib.pyplot as plt",
    "stlatent.evaluate.more": "def f():\n    from matplotlib import pyplot",
    "stlatent.evaluate.types": "if TYPE_CHECKING:\n    from matplotlib.axes import Axes",
}


def test_the_checker_accepts_what_is_proper() -> None:
    assert violations(PROPER) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("stlatent.model.domain", "from ..train.loop import X", "imports stlatent.train.loop"),
        ("stlatent.media.mesh", "from ..jobs.job import X", "imports stlatent.jobs.job, which"),
        ("stlatent.losses.gan", "def f():\n    from ..jobs import job", "imports stlatent.jobs"),
        ("stlatent.model.ladder", "import stlatent.train.loop", "imports stlatent.train.loop"),
        ("stlatent.jobs.job", "from stlatent import load", "imports stlatent.__init__, which"),
        ("stlatent.jobs.job", "import stlatent", "imports stlatent.__init__, which"),
        ("stlatent.model.domain", "from .config import X", "stlatent.model.config -> stlatent"),
        ("stlatent.train.grid", "import matplotlib.pyplot", "imports matplotlib at module level"),
        ("stlatent.losses.lpips", "class A:\n    from timm import x", "imports timm at module"),
        ("stlatent.losses.lpips", "def f():\n    import timm.data", "timm is imported by"),
        ("stlatent.helpers", "", "no place in LAYERS"),
    ],
)
def test_the_checker_finds(module: str, source: str, complaint: str) -> None:
    assert complaint in "\n".join(violations({**PROPER, module: source}))


def test_who_only_reads_latents_imports_no_network() -> None:
    """Nor jobs, nor anything that encodes; that comes with latents that only their model reads."""
    code = "import sys, stlatent.store.dataset, stlatent.store.shuffle, stlatent.store.reader\n"
    code += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {*done.stdout.split()}
    assert "stlatent.store.reader" in modules
    network = {"model.ladder", "triplane.autoencoder", "checkpoint", "bits.encoder"}
    network |= {"bits.bitstream", "bits.decoder", "media.coder", "jobs", "train"}
    assert not modules & {f"stlatent.{name}" for name in network}
    assert not modules & {"av", "PIL", "trimesh", "diffusers", "accelerate", "scipy"}
