"""Latents of one stream, told so that they are read as another one that began later.

    frames     0 ... 8 | 9 ... 16 | 17 ... 24 | 25 ... 32
    written    ────────────────────────────────────────►   posteriors, which decoders expect
    read                          key ─────────────────►   priors, of who begins to read here

What a latent is to be depends on all that came before, so whoever decodes notices no key. What it
costs, and from where its steps are counted, depends on what a reader knows who begins at the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..model.choose import Choose, Distribution, Site
from ..model.ladder import Ladder
from ..model.past import Past


class AsRead:
    """Chooses latents of a stream by the posteriors there and the priors of a reader.

    Args:
        grid: of the coarsest level.
        past: of the reader's stream; after the last site it is that after the chunk.
        choose: what chooses under these priors.
    """

    def __init__(self, model: Ladder, grid: Sequence[int], past: Past, choose: Choose) -> None:
        self.model, self.grid, self.past, self.choose = model, grid, past, choose
        self._chosen: dict[Site, Tensor] = {}

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        def step(at: Site, _: Distribution | None, prior: Distribution) -> Tensor:
            if at == site:
                self._chosen[site] = self.choose(site, posterior, prior)
            elif at in self._chosen:
                prior.walk(lambda _, cut: cut(self._chosen[at]))  # which is remembered
            return self._chosen.get(at, prior.mean)

        self.model.descend(step, self.grid, self.past, levels=site.level + 1)
        return self._chosen[site]
