"""The sparse ladder: level 0 is a whole grid, and each level says where finer cells exist.

    h ── cell: p(z₀|h), q(z₀|h,e₀) ── h ── p(marks | h) ──┐ up, marked cells only
                                                          ▼
         cell: p(z₁|h), q(z₁|h,e₁) ── h ── p(marks | h) ──┐
                                                          ▼
                                          stem, head ── voxels of the cells that are left

It is the ladder of `model/ladder.py` over rows (`model/rows.py`): the same cells, the same passes,
the same `choose`. What is added are the marks, one more latent of every level, which follow from
the input (`marks.py`) and are chosen by `choose` like any other. Time and memory grow with the
cells that are there, which are those near a surface.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..model import choose as choosing
from ..model import transform
from ..model.cells import Head
from ..model.choose import Choose, Draw, Site
from ..model.config import ModelConfig
from ..model.inputs import check_batch, check_levels
from ..model.ladder import Ladder
from ..model.passes import Step
from .blocks import Blocks
from .cells import Cells
from .choose import Ample, Given, Kept, NearCells, Shared
from .latents import SparseEncoded, SparseLatents, SparsePass
from .marks import MarkPrior, Marks
from .places import Places, start


class SparseLadder(Ladder):
    """A hierarchical variational autoencoder of shapes near their surface, domain `sparse`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.strides = tuple(stage.stride[0] for stage in (*config.levels, config.stem))
        self.preview = nn.ModuleList()  # marks tell what a level alone knows of the input
        self.marks = nn.ModuleList(Head(config, level.width, 1) for level in config.levels)

    @property
    def block(self) -> int:
        """Voxels per edge of the blocks that are read: a cell of the finest level is one."""
        return self.strides[-2]

    def _last_site(self, level: int) -> Site:
        """That of the marks."""
        return Site(level, self.levels[level].groups)

    def _refined(
        self, level: int, h: Tensor, choose: Choose, places: Places, steps: list[Step]
    ) -> Tensor:
        """Mark the cells in which anything finer is, and go on in these."""
        prior = MarkPrior(self.marks[level](h, places)[0].float())
        known = level < len(places.marks)
        posterior = Marks(places.marks[level][:, None]) if known else None
        site = self._last_site(level)
        marks = choose(site, posterior, prior)
        steps.append(Step(site, posterior, prior, marks))
        places.mark(marks[:, 0])
        return super()._refined(level, h, choose, places, steps)

    # what one does with it --------------------------------------------------------------------

    def forward(
        self, x: Blocks, choose: Choose = choosing.mean, keep: Tensor | None = None
    ) -> SparsePass:
        """Encode and decode.

        Args:
            keep: number of levels that each sample keeps, all by default: finer latents are the
                prior's mean, in the cells that the input has `[batch]`.
        """
        self.check(x)
        places = Places.of(x, self.strides)
        target = places.rows(x)
        chosen = choose if keep is None else Kept(choose, keep, places)
        steps, parameters = self._passes(self._read(target), places, chosen)
        sample = places.levels[-1].sample.repeat_interleave(self.strides[-1] ** 3)
        return SparsePass(parameters, target, sample, SparseEncoded.of(steps, places, x.resolution))

    def encode(self, x: Blocks, choose: Choose = choosing.mean) -> SparseEncoded:
        """Latents and marks of shapes, with deviations and rates.

        Raises:
            ValueError: blocks are of another size, or no float values in [-1, 1].
        """
        self.check(x)
        places = Places.of(x, self.strides)
        steps, _ = self._passes(self._read(places.rows(x)), places, choose)
        return SparseEncoded.of(steps, places, x.resolution)

    def given(self, latents: SparseLatents) -> Choose:
        """Chooses these latents and marks, of all levels."""
        return Given(latents, len(latents.levels), choosing.mean, self._widths)

    def decode(
        self, latents: SparseLatents, levels: int | None = None, draw: Choose = choosing.mean
    ) -> Blocks:
        """Shapes from the first `levels` levels and their marks, all by default.

        Args:
            draw: how finer levels and marks are chosen: the prior's mean, or `choose.Draw(...)`;
                where the latents name what is finer, only those that it has not.

        Raises:
            ValueError: fewer levels were given than asked for, or more asked for than there are;
                or latents do not lie where the marks say, or are not finite.
        """
        kept = len(latents.levels) if levels is None else levels
        check_levels(kept, len(latents.levels), len(self.levels))
        self._check_given(latents, kept)
        places, finer = self._start(latents), latents.finer
        if not latents.marks:  # between two shapes, or drawn
            draw = Ample(draw)
        if finer:
            draw = Shared(finer, self._cells(finer), self._widths, places, draw)
        return self._generate(Given(latents, kept, draw, self._widths), places, latents.batch)

    def sample(
        self,
        size: Sequence[int],
        batch_size: int = 1,
        held: SparseLatents | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        strength: float = 0.0,
    ) -> Blocks:
        """Draw shapes, from coarse to fine: latents, then marks, then the latents in the cells that
        these name.

        Args:
            size: of the cube in voxels, `(n, n, n)`.
            held: the first levels of something that is there, of `batch_size` shapes.
            strength: above 0, draws are near them, see `choose.Near`; marks, too, so that there may
                be other cells.

        Raises:
            ValueError: `size` is no cube of a multiple of the coarsest stride, there is no sample
                to make, the temperature is negative or NaN, the strength is not in [0, 1], or what
                is held does not fit.
        """
        check_batch(batch_size)
        draw = Draw(temperature, generator)
        if held is None:
            self._check_size(size)
            places = start(self.strides, size[0], batch_size, self.top.device)
            return self._generate(draw, places, batch_size)
        if held.batch != batch_size or held.size != tuple(size):
            raise ValueError(
                f"held levels are of {held.batch} shapes of {list(held.size)} voxels; asked for "
                f"are {batch_size} of {list(size)}"
            )
        if not strength:
            return self.decode(held, draw=draw)
        self._check_given(held, len(held.levels))
        places = self._start(held)
        near = NearCells(held, self._cells(held), self._widths, places, draw, strength)
        return self._generate(near, places, batch_size)

    def latent_shape(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Per level, channels and grid of the cells that there may be at most: `(C, n, n, n)`."""
        self._check_size(size)
        return super().latent_shape(size)

    # on whole grids, as data sets have them ---------------------------------------------------

    def chosen_grids(self, choose: Choose, resolution: int, levels: int) -> list[Tensor]:
        """The first levels of one shape, see `grids`, as `choose` says without an input."""
        places = start(self.strides, resolution, 1, self.top.device)
        steps, _ = self.descend(choose, (), places, batch=len(places.cells), levels=levels)
        return self.grids(SparseEncoded.of(steps, places, resolution))

    def grids(self, latents: SparseLatents) -> list[Tensor]:
        """Latents and marks, per level `[batch, C_l + 1, n, n, n]`: 0 where no cell is, and else 1
        or -1 in the last channel, which is the mark."""
        return self._grids(latents, latents.rows)

    def std_grids(self, latents: SparseEncoded) -> list[Tensor]:
        """The posteriors' standard deviations in the same places: 0 of marks, which are certain."""
        none = (0, 1)
        rows = [nn.functional.pad(log_std.exp(), none) for log_std in latents.log_stds]
        return self._grids(latents, rows)

    def from_grids(self, grids: Sequence[Tensor]) -> SparseLatents:
        """The inverse: from the first levels, whatever lies where no cell is. Marks are what is
        above 0, so that diffusion may say them roughly."""
        batch, _, side, *_ = grids[0].shape
        resolution, levels = side * self.strides[0], []
        places = start(self.strides, resolution, batch, grids[0].device)
        for grid in grids:
            rows = grid.movedim(1, -1)[places.cells.index.unbind(1)]
            levels.append(rows[:, :-1])
            places.mark(rows[:, -1] > 0)
            places.at += 1
        return SparseLatents(tuple(levels), tuple(places.marks), resolution, batch)

    # inside -----------------------------------------------------------------------------------

    def _passes(self, x: Tensor, places: Places, choose: Choose) -> tuple[list[Step], Tensor]:
        """Both passes over voxels `[V, C]`: the steps, and what the likelihood reads."""
        features = self.bottom_up(x, places)
        steps, merged = self.descend(choose, (), places, features)
        return steps, merged[-1]

    def _read(self, rows: Tensor) -> Tensor:
        """Voxels as they are read: where a colour is not known, the mean of those of its block, so
        that no edge of what is known has to be coded."""
        if self.config.channels == 1:
            return rows
        distance, colour = rows.unflatten(0, (-1, self.block**3)).split([1, 3], 2)
        known = (colour != 0).any(2, keepdim=True)
        mean = colour.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)
        return torch.cat([distance, torch.where(known, colour, mean)], 2).flatten(0, 1)

    def _expected_channels(self) -> transform.Channels:
        """Colours are much alike; a distance has nothing to do with them."""
        if self.config.channels == 1:
            return super()._expected_channels()
        colours = transform.alike(3)
        turn = torch.block_diag(torch.eye(1).double(), colours.turn)
        return transform.Channels(turn, torch.cat([torch.ones(1).double(), colours.variance]))

    @property
    def _widths(self) -> list[int]:
        """Channels of a group of each level."""
        return [level.latent for level in self.levels]

    def _grids(self, latents: SparseLatents, levels: Sequence[Tensor]) -> list[Tensor]:
        """What the cells of each level have `[N_l, C]` as `[batch, C, n, n, n]`, 0 elsewhere."""
        found = []
        for rows, cells in zip(levels, self._cells(latents), strict=True):
            grid = rows.new_zeros(latents.batch, *[cells.side] * 3, rows.shape[1])
            found.append(grid.index_put(cells.index.unbind(1), rows).movedim(-1, 1))
        return found

    def _start(self, latents: SparseLatents) -> Places:
        return start(self.strides, latents.resolution, latents.batch, self.top.device)

    def _cells(self, latents: SparseLatents) -> list[Cells]:
        """Those that the latents of each level lie in."""
        places = self._start(latents)
        for marks in latents.marks:
            places.mark(marks)
            places.at += 1
        return places.levels[: len(latents.levels)]

    def _generate(self, choose: Choose, places: Places, batch: int) -> Blocks:
        """From the beginning of the way down."""
        resolution = places.cells.side * self.strides[0]
        _, merged = self.descend(choose, (), places, batch=len(places.cells))
        values = self.likelihood.mean(merged[-1]).clamp(-1, 1)
        return places.blocks(values, resolution, batch)

    def check(self, x: Blocks) -> None:
        """ValueError unless these are shapes that this model reads."""
        if not isinstance(x, Blocks):
            raise ValueError(f"input is a {type(x).__name__}; a sparse model reads Blocks")
        self._check_size((x.resolution,) * 3)
        if x.channels != self.config.channels:
            raise ValueError(
                f"blocks have {x.channels} channels; this model reads {self.config.channels}"
            )
        if x.side != self.block:
            raise ValueError(f"blocks are of {x.side}^3 voxels; this model reads {self.block}^3")
        if not x.values.is_floating_point() or not x.values.abs().le(1).all():
            raise ValueError("values are no floats in [-1, 1]; only these are read")

    def _check_size(self, size: Sequence[int]) -> None:
        self.domain.check(size)
        unit = self.strides[0]
        if len({*size}) > 1 or size[0] % unit:
            raise ValueError(
                f"the cube has {'x'.join(map(str, size))} voxels; give one of the same multiple of "
                f"{unit}, the coarsest stride, along each axis"
            )

    def _check_given(self, latents: SparseLatents, kept: int) -> None:
        self._check_size(latents.size)
        rows = latents.batch * (latents.resolution // self.strides[0]) ** 3
        for number in range(kept):
            level, z = self.levels[number], latents.levels[number]
            known = number < len(latents.marks)
            marks = latents.marks[number] if known else torch.zeros(rows, dtype=torch.bool)
            shape = (rows, level.latent * level.groups)
            if tuple(z.shape) != shape or tuple(marks.shape) != shape[:1]:
                raise ValueError(
                    f"level {number} has {list(z.shape)} latents and {list(marks.shape)} marks; "
                    f"the marks above it need {list(shape)} and [{rows}]"
                )
            if marks.dtype != torch.bool or not torch.isfinite(z).all():
                raise ValueError(
                    f"level {number} holds marks that are no bool, or no finite values"
                )
            rows = int(marks.sum()) * (self.strides[number] // self.strides[number + 1]) ** 3
