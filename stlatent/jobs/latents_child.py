"""How the child of `reader.py` reads latents of a foundation from a data set of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..media.latents.child import steps
from ..model.domains import DOMAINS
from ..model.packing import Packing
from ..store.reader import LatentStore


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """An item's levels as latents of the foundation, see `media/latents/child.py`; its path is
    that of a file of level 0."""
    domain, name = DOMAINS[request["domain"]], request["source"]
    packing = Packing(domain, **request["packing"])
    store, levels = LatentStore(Path(request["path"]).parents[1]), len(packing.level_channels)
    item = store.items[name]
    about, done = {"size": item.size, "fps": item.fps}, 0
    count = domain.of_time(item.grids[0])
    if not domain.has_time:
        z = packing.pack(store.read(name, levels).levels)
        yield {**about, "count": count, "last": True}, z[0].numpy()
        return
    for parts in store.stream(name, levels, steps(request, domain.of_space(item.grids[0]))):
        z = packing.pack(parts, started=done > 0)
        done += domain.of_time(z.shape[2:])
        yield {**about, "count": count, "last": done == count}, z[0].numpy()
