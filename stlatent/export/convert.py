"""A data set of latents -> what trainers, and other programs, read; and back, see `restore.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoint import load
from ..files import writing
from ..jobs.decode import outputs
from ..model.around import ladder_in
from ..store.reader import LatentStore, made_by
from .autoencoder import AutoencoderLadder
from .exchange import COLLECTIONS
from .restore import restore
from .trainers import CACHES

LATENTS = "latents"  # a data set of latents itself
LAYOUTS = (*CACHES, *COLLECTIONS, LATENTS)


def convert(path: str | Path, out: str | Path, to: str, vae: str | Path | None = None) -> int:
    """Write the latents of a data set as another program reads them; how many items there were.

    The folder appears when it is complete.

    Args:
        path: the data set, a folder or a URL; to `latents`, the folder that was made of one.
        to: one of `LAYOUTS`: those of trainers, see `trainers.py`, hold packed latents;
            `webdataset` and `huggingface` all levels as they are, see `exchange.py`; `latents` is a
            data set again, see `restore.py`.
        vae: of trainers, the folder of the exported autoencoder that is trained with: how it packs
            and normalises latents, they are packed and normalised.

    Raises:
        ValueError: there is no such layout or data set, something lies at `out`, or the autoencoder
            is missing, another one than encoded, or not one of pictures.
    """
    out = Path(out)
    if to not in LAYOUTS:
        raise ValueError(f"layout is '{to}'; there are {', '.join(LAYOUTS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} holds other things; give a new folder")
    if vae is not None and to not in CACHES:
        raise ValueError(f"{to} holds latents as they are, of no autoencoder; leave out --vae")
    if to == LATENTS:
        with writing(out) as folder:
            return restore(path, folder)
    store = LatentStore(path)
    if to in COLLECTIONS:
        with writing(out) as folder:
            return _collect(store, folder, to)
    if vae is None:
        raise ValueError(
            f"{to} is for training with an exported autoencoder, which says how latents are "
            f"packed: `stlatent export {store.manifest.model} --out vae`, and give --vae vae"
        )
    autoencoder = AutoencoderLadder.from_pretrained(vae).eval()
    store.manifest.check_one_rate()
    store.model = made_by(load(vae), store.manifest, store.place)
    ladder_in(store.model).check_usual_rate()
    if not autoencoder.ladder.domain.pictures:
        raise ValueError(f"{to} trains on videos and pictures, and these latents are of others")
    with writing(out) as folder:
        return _cache(store, folder, to, autoencoder)


def _collect(store: LatentStore, folder: Path, to: str) -> int:
    with COLLECTIONS[to].open(folder, store.manifest) as collection:
        for name, item in tqdm(store.items.items(), unit="item", disable=None):
            levels = store.read(name).levels
            dtypes = [level.dtype for level in store.manifest.levels]
            collection.add(item, [_array(z, d) for z, d in zip(levels, dtypes, strict=True)])
    return collection.count


@torch.inference_mode()
def _cache(store: LatentStore, folder: Path, to: str, vae: AutoencoderLadder) -> int:
    names = [path.relative_to(folder) for _, path in outputs(store, folder, lambda _: "")]
    with CACHES[to].open(folder) as cache:
        items = zip(store.items.values(), names, strict=True)
        for item, name in tqdm(items, total=len(names), unit="item", disable=None):
            levels = store.read(item.name, vae.config.levels).levels
            cache.add(item, name, vae.packing.pack(levels)[0].contiguous())
    return cache.count


def _array(z: Tensor, dtype: str) -> np.ndarray:
    """`[1, C, *grid]` -> `[C, *grid]`, in the type that loses nothing."""
    return z[0].numpy().astype(np.float16 if dtype == "float16" else np.float32)
