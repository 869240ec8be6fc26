"""Options of a `ModelConfig` that must suit each other, checked when one is read."""

from __future__ import annotations

import itertools
import math

from .strict import Strict

MOST_VALUES = 2**22  # of the input, in the block that one feature covers
MIXED_CHANNELS = 64  # most that a logistic mixture takes
MOST_TOLD_BY = 4096  # coded features: the start of `spread` solves so many equations
CELL = 8  # pixels: the coarsest scale at which motion is looked for
NEAR = 4  # voxels per edge of the blocks of a band, see `geometry/band.py`
SPARSE_LIKELIHOODS = ("laplace", "gaussian", "l1", "mse", "charbonnier")


def check_consistency(config: Strict) -> None:
    """ValueError at the first options of a `ModelConfig` that do not suit each other."""
    for check in (
        *(check_strides, check_attention, check_likelihood, check_spread, check_recall),
        *(check_rate, check_motion, check_field, check_scaling, check_sparse),
    ):
        check(config)


def check_strides(config: Strict) -> None:
    """ValueError unless each stride is a multiple of the next finer one, and none is huge."""
    stages = [*config.levels, config.stem]
    for stage in stages:
        config.axes.check_stride(stage.stride)
        if (values := config.channels * math.prod(stage.stride)) > MOST_VALUES:
            raise ValueError(
                f"one feature at stride {list(stage.stride)} covers {values} values of "
                f"{config.channels} channels; at most {MOST_VALUES} are allowed"
            )
    for coarse, fine in itertools.pairwise(stages):
        if any(c % f for c, f in zip(coarse.stride, fine.stride, strict=True)):
            raise ValueError(
                f"stride {list(coarse.stride)} is followed by {list(fine.stride)}, which does "
                f"not divide it: list levels coarsest first, each a multiple of the next's"
            )


def check_attention(config: Strict) -> None:
    """ValueError where the width of a level is not that of whole heads."""
    for level in config.levels:
        if level.attention and level.width % 64 and level.width > 64:
            raise ValueError(
                f"a level with attention has width {level.width}; above 64 it must be a "
                f"multiple of 64, such as {level.width // 64 * 64}"
            )


def check_likelihood(config: Strict) -> None:
    """ValueError for a mixture of more channels than can depend on each other."""
    if config.likelihood.kind == "logistic_mixture" and config.channels > MIXED_CHANNELS:
        raise ValueError(
            f"channels is {config.channels}; in a logistic_mixture every channel depends on all "
            f"before it, so it takes at most {MIXED_CHANNELS}"
        )


def check_spread(config: Strict) -> None:
    """ValueError if positions are to be told by others as they cannot be."""
    spread = config.spread
    if spread % 2 == 0:
        raise ValueError(f"spread is {spread}; it must be odd, such as {spread + 1}")
    features = max(min(level.latent * level.groups, level.width) for level in config.levels)
    told_by = math.prod(config.axes.kernel(spread, 1)) * features
    if spread > 1 and told_by > MOST_TOLD_BY:
        raise ValueError(
            f"spread is {spread}; each position would be told by {told_by} coded features "
            f"of its neighbourhood; at most {MOST_TOLD_BY} are allowed"
        )


def check_recall(config: Strict) -> None:
    """ValueError if priors are to remember that cannot."""
    codes, levels = any(level.codebook for level in config.levels), len(config.levels)
    if isinstance(config.recall, tuple) and len(config.recall) != levels:
        raise ValueError(f"recall has {len(config.recall)} entries; the model has {levels} levels")
    if config.recall and (codes or not config.axes.has_time):
        raise ValueError(
            f"recall is {config.recall}; it is for Gaussian latents of a domain with time, so "
            f"leave it out" + (", or the codebooks" if codes else f" of '{config.domain}'")
        )
    if config.recall_threshold and not config.recall:
        raise ValueError(
            f"recall_threshold is {config.recall_threshold:g}, but no prior remembers: give recall "
            f"as well, or leave it out"
        )


def check_rate(config: Strict) -> None:
    """ValueError if λ is to be an input of what does not take one."""
    if config.rate and (config.field or config.axes.sparse):
        what = "a field" if config.field else f"domain '{config.domain}'"
        raise ValueError(f"rate is given, but a model of {what} is for one price; leave it out")


def check_motion(config: Strict) -> None:
    """ValueError if level 0 is to say how things move that do not, or cannot."""
    if not config.motion:
        return
    if config.domain != "video":
        raise ValueError(f"motion is for domain 'video', not '{config.domain}'; leave it out")
    level, (unit, *cell) = config.levels[0], config.levels[0].stride
    if unit == 1 or any(side % CELL for side in cell):
        fitting = [max(unit, 2), *(-(-side // CELL) * CELL for side in cell)]
        raise ValueError(
            f"motion is that of several frames, in multiples of {CELL} pixels, and the stride of "
            f"level 0 is {list(level.stride)}; give one such as {fitting}"
        )
    if level.groups > 1 or level.latent < 3 or level.codebook:
        raise ValueError(
            "motion takes the last two latents of level 0: give that one group, of at least three "
            f"latents and without codes; it has {level.groups}, of {level.latent}"
            + (" with codes" if level.codebook else "")
        )
    if config.exact or config.foundation:
        what = "exact" if config.exact else "foundation"
        raise ValueError(f"motion moves pixels that a ladder decodes, so {what} is to be left out")


def check_field(config: Strict) -> None:
    """ValueError if there is a field that the rest does not suit."""
    if config.field is None:
        return
    if config.exact:
        raise ValueError("exact is for what a ladder reads; planes with a field are made by it")
    if config.domain != "triplane" or config.likelihood.kind != "sdf":
        raise ValueError(
            f"field is given for domain '{config.domain}' and likelihood "
            f"'{config.likelihood.kind}'; it needs domain triplane and likelihood sdf"
        )
    stride = config.field.lift.stride
    config.axes.check_stride(stride)
    if stride[1] != stride[2] or config.field.resolution % stride[1]:
        raise ValueError(
            f"field.lift.stride is {list(stride)}; the planes of {config.field.resolution}^3 "
            f"voxels need the same divisor of {config.field.resolution} along both axes"
        )
    if config.channels < config.field.channels:
        raise ValueError(
            f"channels is {config.channels}; planes that hold a field of "
            f"{config.field.channels} channels need at least as many"
        )


def check_scaling(config: Strict) -> None:
    """ValueError unless there is a scale for every channel, if for any."""
    if config.scaling is None:
        return
    for name, values in config.scaling:
        if len(values) != config.channels:
            raise ValueError(
                f"scaling.{name} has {len(values)} entries; the model has "
                f"{config.channels} channels"
            )


def check_sparse(config: Strict) -> None:
    """ValueError if cells that are there only in places are asked for what needs a whole grid."""
    if not config.axes.sparse:
        return
    for stage in (*config.levels, config.stem):
        if len({*stage.stride}) > 1:
            raise ValueError(
                f"stride {list(stage.stride)} differs between axes; cells of domain 'sparse' are "
                f"cubes, such as {[max(stage.stride)] * 3}"
            )
    if (finest := config.levels[-1].stride[0]) % NEAR:
        raise ValueError(
            f"the finest level has stride {finest}; shapes are read in blocks of so many voxels: "
            f"give a multiple of {NEAR}"
        )
    if config.channels not in (1, 4):
        raise ValueError(
            f"channels is {config.channels}; domain 'sparse' reads 1, a distance, or 4, a distance "
            f"and red, green and blue"
        )
    if config.likelihood.kind not in SPARSE_LIKELIHOODS:
        raise ValueError(
            f"likelihood is '{config.likelihood.kind}'; domain 'sparse' is judged value by value: "
            f"give {', '.join(SPARSE_LIKELIHOODS)}"
        )
    given = {
        "attention": any(level.attention for level in config.levels),
        "codebook": any(level.codebook for level in config.levels),
        "cell 'nvae'": config.cell.kind == "nvae",
        "spread": config.spread > 1,
        "drop_path": config.drop_path > 0,
        "exact": config.exact,
        "checkpointing": config.checkpointing,
        "foundation": config.foundation is not None,
    }
    if found := [name for name, is_given in given.items() if is_given]:
        raise ValueError(f"{found[0]} is not for domain 'sparse'; leave it out")
