"""Where a foundation lies, a folder of this machine or a model of the hub, and how it is opened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..hub import only_local
from ..model.config import FoundationConfig
from .classes import class_of
from .frozen import FrozenAutoencoder

COMMIT = "[0-9a-f]{40}"  # of the hub, which stays the same for ever


def open_foundation(config: FoundationConfig) -> FrozenAutoencoder:
    """The autoencoder that `config` names: a local folder, or one of the Hugging Face hub.

    Raises:
        ValueError: it is not there or out of reach, or is no autoencoder of a known class.
    """
    named = f"'{config.path}'" + (f" (subfolder {config.subfolder})" if config.subfolder else "")
    try:
        return _switched(FrozenAutoencoder(*_opened(config, named)), config)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"the foundation {named} cannot be opened, neither as a folder of this machine nor of "
            f"the hub: {reason}; give a folder that save_pretrained wrote, or the name of a model "
            "on the hub while it is in reach, and the subfolder that holds the autoencoder"
        ) from None


def check_named(config: FoundationConfig, source: str) -> None:
    """A file that anyone may have written names this foundation: ValueError unless that is a folder
    of this machine, or a model of the hub with the commit that it is to be of."""
    if not Path(config.path).is_dir() and not re.fullmatch(COMMIT, config.revision or ""):
        raise ValueError(
            f"{source} stands on '{config.path}', which is no folder here, and of the hub only "
            "with a commit as `revision`: put the foundation there if you trust it"
        )


def _opened(config: FoundationConfig, named: str) -> tuple[nn.Module, str | None]:
    """The autoencoder, and its commit where it is of the hub."""
    from diffusers import AutoencoderKL
    from diffusers.utils import logging

    place, options = config.path, {"subfolder": config.subfolder, "revision": config.revision}
    if Path(config.path).is_dir():
        place, options, commit = str(Path(config.path, config.subfolder or "")), {}, None
        about = _read_config(Path(place, "config.json"))
    else:
        file = "/".join(filter(None, (config.subfolder, "config.json")))
        options["local_files_only"] = only_local(place, file, config.revision)
        about, commit = AutoencoderKL.load_config(place, return_commit_hash=True, **options)
        options["revision"] = commit or config.revision
    if (cls := class_of(name := str(about.get("_class_name")))) is None:
        raise ValueError(f"{named} is of class {name}, which is no autoencoder of diffusers")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        dtype = getattr(torch, config.dtype)
        module = cls.from_pretrained(place, use_safetensors=True, torch_dtype=dtype, **options)
        return module, commit
    finally:
        logging.set_verbosity(verbosity)


def empty_foundation(about: Mapping[str, Any]) -> nn.Module:
    """A module of the class and the settings that `config.json` of a foundation names, its weights
    still to come.

    Raises:
        ValueError: this is no such config.
    """
    name = str(about.get("_class_name"))
    if (cls := class_of(name)) is None:
        raise ValueError(f"the foundation is of class {name}, which is no autoencoder of diffusers")
    try:
        return cls.from_config(dict(about))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"the foundation's config makes no {name}: {error}") from None


def _switched(frozen: FrozenAutoencoder, config: FoundationConfig) -> FrozenAutoencoder:
    """With the switches of its class as they are asked for, after it has been measured."""
    for switch in ("tiling", "slicing"):
        if getattr(config, switch):
            try:
                getattr(frozen.module, f"enable_{switch}")()
            except (AttributeError, NotImplementedError):
                name = type(frozen.module).__name__
                raise ValueError(f"foundation.{switch}: {name} has none; leave it out") from None
    return frozen


def _read_config(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.parent} holds no autoencoder of diffusers: {error}") from None
    if not isinstance(about, dict):
        raise ValueError(f"{path} is no config of diffusers: it holds a {type(about).__name__}")
    return about
