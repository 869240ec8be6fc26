"""A stretch of time of latents on several levels, and what came before it, as a value.

    level 0    past ░░░░░░░░░░░░░░░░░ | window ██
    level 1              past ░░░░░░░ | window ████          each level remembers as many steps
    level 2                  past ░░░ | window ████████      of its own as it is told to

A window is a run of steps of level 0 and what lies under them in the finer levels: `f` steps each.
At the beginning of a video the first step of every level covers one frame, so that a finer level
has a single step there: it is repeated, as packing does, and all windows have equal shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..model.domain import Domain

Label = int | Tensor


class LatentWindow(NamedTuple):
    """One window, or a batch of them with `B` in front of every shape.

    Attributes:
        latents: per level `[C_l, n f_l, *space]`, or packed `[C, n, *space]`; domains without time
            have no n. float32.
        mask: per level `[n f_l]`: False where a step is a repetition of the first one, or, after
            the end of an item that is too short, of the last one. Empty for domains without time.
        past: per level `[C_l, p_l, *space]`, the steps before the window; zeros, which are the mean
            of whitened latents, where the video had not begun. Empty if none was asked for.
        past_mask: per level `[p_l]`: False where the video had not begun.
        start: step of level 0 at which the window begins; a list of them in a batch.
        name: of the item; a list of them in a batch.
        label: a class or a vector; int64 `[B]` or `[B, D]` in a batch. `()` if there are none.
        caption: what is said of the source, "" if nothing is; a list of them in a batch.
    """

    latents: Tensor | tuple[Tensor, ...]
    mask: tuple[Tensor, ...]
    past: tuple[Tensor, ...]
    past_mask: tuple[Tensor, ...]
    start: int | list[int]
    name: str | list[str]
    label: Label | tuple[()]
    caption: str | list[str] = ""


def collate(windows: Sequence[LatentWindow]) -> LatentWindow:
    """Windows of equal shape as a batch, for `DataLoader(dataset, collate_fn=collate)`.

    The loader's own way does as well, but makes lists of tuples, and tells less of shapes that
    differ.

    Raises:
        ValueError: their shapes differ.
    """
    packed = isinstance(windows[0].latents, Tensor)
    shapes = {tuple(z.shape for z in ([w.latents] if packed else w.latents)) for w in windows}
    if len(shapes) > 1:
        some = " and ".join(str([list(z) for z in shape]) for shape in sorted(shapes)[:2])
        raise ValueError(
            f"windows of shapes {some} make no batch; choose items of one size by `names`, or let "
            f"LatentStream put equal ones together"
        )
    latents, mask, past, past_mask, start, name, labels, captions = zip(*windows)
    known = not isinstance(labels[0], tuple)
    label = torch.stack([torch.as_tensor(one) for one in labels]) if known else ()
    return LatentWindow(
        latents=torch.stack(latents) if packed else _stacked(latents),
        mask=_stacked(mask),
        past=_stacked(past),
        past_mask=_stacked(past_mask),
        start=list(start),
        name=list(name),
        label=label,
        caption=list(captions),
    )


def split(
    domain: Domain, z: Tensor, window: tuple[int, int], past: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cuts what was read of one level into window, mask, past and mask of the past.

    Args:
        z: the steps that there are `[B, C, *axes]`.
        window: how many of them are the window's, the last ones, and how many it is to have.
        past: how many steps the past is to have.
    """
    known, whole = window
    there = domain.of_time(z.shape[2:]) - known
    before, now = domain.steps(z, 0, there), domain.last(z, known)
    if known < whole:
        now = domain.joined([domain.steps(now, 0, 1)] * (whole - known) + [now])
    missing = past - there
    if missing:  # no copy of a later step: it would give the window away
        nothing = z.new_zeros(*z.shape[:2], *domain.with_time(z.shape[2:], missing))
        before = domain.joined([nothing, before])
    return now, _last(known, whole), before, _last(past - missing, past)


def lengthened(domain: Domain, z: Tensor, mask: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """A window of one level and its mask, made `steps` long by repeating the last step."""
    missing = steps - domain.of_time(z.shape[2:])
    if missing <= 0:
        return z, mask
    longer = domain.joined([z] + [domain.last(z, 1)] * missing)
    return longer, torch.cat([mask, mask.new_zeros(missing)])


def _stacked(levels: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(level) for level in zip(*levels))


def _last(count: int, total: int) -> Tensor:
    """`[total]`, True for the last `count`."""
    return torch.arange(total) >= total - count
