"""The domains that there are, by the names that configs call them: `DOMAINS` over whole grids, and
those over parts of them."""

from __future__ import annotations

from typing import Literal

from .axes import Axis
from .domain import Domain
from .planes import Planes
from .rows import Rows

TIME = Axis("t", "causal")


def _space(*names: str) -> tuple[Axis, ...]:
    return tuple(Axis(name, "space") for name in names)


IMAGE = Domain("image", _space("h", "w"))
VIDEO = Domain("video", (TIME, *_space("h", "w")))
AUDIO = Domain("audio", (TIME,))
VOXEL = Domain("voxel", _space("x", "y", "z"))
VOLUMES = Domain("volumes", (TIME, *_space("x", "y", "z")))  # that move
TRIPLANE = Planes("triplane", (Axis("plane", "index", 3), *_space("u", "v")))

DOMAINS = {one.name: one for one in (IMAGE, VIDEO, AUDIO, VOXEL, VOLUMES, TRIPLANE)}

# of which there are only those cells that something is in
SPARSE = Rows("sparse", _space("x", "y", "z"))

ALL_DOMAINS = DOMAINS | {SPARSE.name: SPARSE}
DomainName = Literal[tuple(ALL_DOMAINS)]
