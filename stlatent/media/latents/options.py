"""How latents that were computed before may be read."""

from __future__ import annotations

from ...model.config import Strict


class LatentOptions(Strict):
    """What the latents of a ladder on a foundation depend on, of those of the foundation.

    Attributes:
        normalised: whether latents that were computed before are (z - mean) / std already, by what
            the config of the foundation says, and not as its `encode` gives them.
    """

    normalised: bool = False
