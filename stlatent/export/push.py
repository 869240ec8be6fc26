"""A trained model -> the Hugging Face hub, with a page that says what it is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..checkpoint import EXPORTED, FILE, load, locate
from ..hub import NAME, endpoint, in_one_line
from ..media.base import Medium
from ..media.options import Extent
from ..media.registry import medium_of
from ..model.config import load as load_config
from ..train.config import RunConfig
from ..train.data import measured, open_data
from .card import card, told

SAMPLES, EXTENT = 8, Extent(17, (256, 256))  # of a folder to measure on
CONFIG = "config.yaml"


def push(
    reference: str | Path,
    name: str,
    data: str | Path | None = None,
    licence: str = "other",
    private: bool = False,
) -> str:
    """Put a model on the hub, where `stlatent.load(name)` finds it, and return its address.

    What goes there: the model's file, a page with its config, data, figures per prefix and licence,
    and a picture. No path of this machine does. A model that is there gets a new version; former
    ones stay in its history.

    Args:
        reference: what `stlatent.load` takes, of this machine.
        name: `user/model`.
        data: a folder to measure on; by default what the run held out.
        private: whether a new model is seen by its owner alone.

    Raises:
        ValueError: there is nothing to measure on, the hub does not take it, or what is to be
            private is there already, for all to see.
    """
    if not (found := NAME.fullmatch(name)) or found[2]:
        raise ValueError(f"'{name}' is no name on the hub; give user/model")
    file = locate(reference)
    if file.name == EXPORTED:
        raise ValueError(f"{reference} is an exported folder; give the model that was exported")
    model, run = load(file), _run(file)
    medium = medium_of(model)
    held_out = _samples(medium, data) if data else _held_out(run, reference)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures, picture = measured(medium, model, held_out)
        shutil.copyfile(file, folder / FILE)
        Image.fromarray(picture).save(folder / "picture.png")
        page = card(name, model, medium, figures, list(held_out), _about(run), licence)
        (folder / "README.md").write_text(page, encoding="utf-8")
        return _upload(folder, name, private)


def _run(file: Path) -> RunConfig | None:
    """The run that a model's file lies in, if it does."""
    places = (folder / CONFIG for folder in (file.parent, file.parent.parent))
    config = next((place for place in places if place.is_file()), None)
    return load_config(RunConfig, config) if config else None


def _about(run: RunConfig | None) -> str:
    if run is None:
        return "Its author did not say what it was trained on."
    words = (f"`{key}: {value}`" for key, value in told(run.data).items() if key != "validation")
    return f"Trained with {', '.join(words)}, for at most {run.steps} steps in {run.precision}."


def _samples(medium: Medium, data: str | Path) -> Mapping[str, Tensor]:
    return dict(medium.samples(Path(data), SAMPLES, EXTENT))


def _held_out(run: RunConfig | None, reference: str | Path) -> Mapping[str, Tensor]:
    ask = "give --data, a folder to measure its prefixes on"
    if run is None:
        raise ValueError(f"{reference} is no run with files held out: {ask}")
    try:
        held_out = open_data(run).held_out
    except ValueError as error:
        raise ValueError(f"{error}: {ask}") from None
    if not held_out:
        raise ValueError(f"{reference} held nothing out: {ask}")
    return held_out


def _upload(folder: Path, name: str, private: bool) -> str:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint(), library_name="stlatent")
    with in_one_line(name):
        where = api.create_repo(name, private=private, exist_ok=True)
        if private and not api.model_info(name).private:
            raise ValueError(
                f"{name} is there already, for all to see; make it private on the hub, or leave "
                "--private away"
            )
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="stlatent push")
    return str(where)
