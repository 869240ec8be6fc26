"""What a pipeline is asked for, read or refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoint import Model
from ..export.noise import Generators
from ..media.registry import medium_of
from .denoiser import LadderDenoiser
from .similar import Similar
from .text import embed, words

Steps = int | Sequence[int]
Asked = int | str | Sequence[int] | Sequence[str] | Tensor | None


@dataclass(frozen=True)
class Call:
    """What all windows and stages of one call have in common; B counts every draw of each sample.

    Attributes:
        steps: evaluations of the denoiser, of each stage.
        condition: classes `[B]` or embeddings `[B, D]`; None for no condition.
        augmentation: deviation of the noise on the levels that a stage is given.
        generator: one, or one per draw.
        similar: what the stages begin near.
        stepped: is told the timestep and the latents after every step; with what it returns the
            next one goes on.
    """

    steps: Sequence[int]
    condition: Tensor | None
    augmentation: float
    generator: Generators
    similar: Similar
    stepped: Callable[[Tensor, Tensor], Tensor]


def read_condition(
    denoiser: LadderDenoiser, asked: Asked, batch: int, device: torch.device
) -> tuple[Tensor | None, int]:
    """What a denoiser is told, classes `[B]` or embeddings `[B, D]`, and for how many samples: for
    `batch` of them where one condition, or none, is meant for all.

    Raises:
        ValueError: it was trained with other conditions, or none.
    """
    if asked is None:
        return None, batch
    if texts := words(asked):
        kinds = denoiser.condition
        read = torch.tensor(kinds.numbers(texts)) if kinds.names else _embedded(denoiser, texts)
        asked = read.squeeze(0)
    given = torch.as_tensor(asked, device=device)
    single = 1 if denoiser.condition.embedding else 0
    if given.ndim == single:
        given = given.expand(batch, *given.shape)
    denoiser.check_condition(given, len(given))
    return given, len(given)


def _embedded(denoiser: LadderDenoiser, texts: Sequence[str]) -> Tensor:
    """By the encoder that the model was trained with."""
    encoder = denoiser.condition.encoder
    if encoder is None:
        raise ValueError("this model has no text encoder and no names of classes; give numbers")
    return embed(texts, encoder)


def read_steps(steps: Steps, stages: int) -> list[int]:
    """Evaluations of the denoiser for each stage; ValueError where that is not what is given."""
    found = [steps] * stages if isinstance(steps, int) else list(steps)
    if len(found) != stages or min(found) < 1:
        raise ValueError(
            f"num_inference_steps is {steps}; give one number from 1 on, or {stages}, one per stage"
        )
    return found


def read_output_type(kind: str | None, ladder: Model) -> str:
    """What is asked for, or what people look at; ValueError where there is no such type."""
    shown = medium_of(ladder).object_type
    legal = list(dict.fromkeys((shown, "pt", "latent")))
    if kind not in (None, *legal):
        raise ValueError(
            f"output_type is '{kind}'; of domain '{ladder.domain.whole.name}' give "
            f"{' or '.join(legal)}"
        )
    return kind or shown


def read_tries(tries: int | None, usual: int, windows: int) -> int:
    """Draws of each sample; of several windows one, unless more are asked for: ValueError."""
    if tries is None:
        return usual if windows == 1 else 1
    if tries < 1:
        raise ValueError(f"tries is {tries}; give 1 or more")
    if tries > 1 and windows > 1:
        raise ValueError(f"tries is {tries}; what has {windows} windows is drawn once")
    return tries


def check_windows(windows: int, remembers: bool) -> None:
    """ValueError unless a model that remembers, or does not, makes so many windows."""
    if windows < 1:
        raise ValueError(f"windows is {windows}; give 1 or more")
    if windows > 1 and not remembers:
        raise ValueError(
            f"windows is {windows}; this model makes 1, since it was trained without a past"
        )


def check_similar(given: Sequence[int], wanted: Sequence[int], windows: int) -> None:
    """ValueError unless samples of a size, `[B, *axes]`, may be drawn near something of the shape
    `given`, `[1 or B, C, *axes]`."""
    if windows > 1:
        raise ValueError(f"windows is {windows}; what is similar to a sample is 1 window long")
    if (*given[2:],) != (*wanted[1:],) or given[0] not in (1, wanted[0]):
        raise ValueError(
            f"similar_to is of size {list(given)}; {wanted[0]} samples of size {list(wanted[1:])} "
            f"are to be drawn"
        )


def check_augmentation(augmentation: float) -> None:
    """ValueError unless it is the deviation of a part of a variance of 1."""
    if not 0 <= augmentation <= 1:
        raise ValueError(f"augmentation is {augmentation}; give 0 to 1")


def check_generators(given: Generators, samples: int) -> None:
    """ValueError unless there is one generator for all samples, or one for each."""
    if isinstance(given, Sequence) and len(given) != samples:
        raise ValueError(f"{len(given)} generators are given for {samples} samples")


def check_callback(asked: Sequence[str], there: Sequence[str]) -> None:
    """ValueError unless a callback can be given all that it asks for."""
    if unknown := [name for name in asked if name not in there]:
        raise ValueError(
            f"callback_on_step_end_tensor_inputs has {unknown[0]!r}; give {' or '.join(there)}"
        )
