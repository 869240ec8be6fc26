"""What comes with the library: models, pipelines and configs, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent
ROOTS = (PACKAGE, PACKAGE.parent)  # an installed package carries both, a checkout has them on top
FILE = "model.safetensors"  # of every model, in whatever folder
INDEX = "model_index.json"  # of a pipeline of diffusers
PIPELINE = "pipeline"  # the folder of it in that of the run that made it


def shipped_models() -> dict[str, Path]:
    """The file of every shipped model, by name, such as `video`."""
    folders = (root / "assets" / "models" for root in ROOTS)
    return {f.parent.name: f for d in folders for f in sorted(d.glob(f"*/{FILE}"))}


def shipped_pipelines() -> dict[str, Path]:
    """The folder of every shipped pipeline of latent diffusion, by name, such as `moving`."""
    folders = (root / "assets" / "models" for root in ROOTS)
    return {f.parent.name: f.parent for d in folders for f in sorted(d.glob(f"*/{INDEX}"))}


def shipped_configs() -> dict[str, Path]:
    """The file of every shipped config, by name, such as `video/base`."""
    folders = (root / "configs" for root in ROOTS)
    return {f"{f.parent.name}/{f.stem}": f for d in folders for f in sorted(d.glob("*/*.yaml"))}


def locate_config(reference: str | Path) -> Path:
    """The file that `reference` means: a path, or the name of a shipped config.

    Raises:
        ValueError: neither is there.
    """
    path, names = Path(reference), shipped_configs()
    if path.is_file():
        return path
    if str(reference) not in names:
        raise ValueError(
            f"config {reference} does not exist; give the path of a YAML file, or a shipped "
            f"config: {', '.join(names) or 'none'}{meant(reference, names)}"
        )
    return names[str(reference)]


def locate_pipeline(reference: str | Path) -> Path | None:
    """The folder of a pipeline on this machine, its own or that of the run that made it: a path
    comes before the name of a shipped one."""
    for folder in (Path(reference), Path(reference) / PIPELINE):
        if (folder / INDEX).is_file():
            return folder
    return shipped_pipelines().get(str(reference))


def meant(reference: str | Path, names: Iterable[str]) -> str:
    """The end of a message that nothing is called so: the nearest of these names, if one is near.

    >>> meant("vidoe", ["image", "video"])
    '; did you mean video?'
    """
    near = difflib.get_close_matches(str(reference), list(names), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def check_may_be_model(reference: str) -> None:
    """Raise ValueError where a name is that of a config or of a pipeline that ships."""
    if reference in shipped_configs():
        how = f"`stlatent train {reference} data.root=FOLDER out=runs/mine` makes a model by it"
        raise ValueError(f"{reference} is a config and no model; {how}")
    if reference in shipped_pipelines():
        how = f"`stlatent generate {reference}` draws from it"
        raise ValueError(f"{reference} is a pipeline of diffusion and no model; {how}")
