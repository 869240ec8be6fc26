"""Training of an autoencoder on files: `stlatent train CONFIG.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from .. import checkpoint
from ..evaluate.latents import ABOUT, measure_latents
from ..files import resumable
from ..media.training import ReadBatch
from ..model.config import dump, load
from ..model.fingerprint import fingerprint
from .config import RunConfig
from .data import Figures, TrainingData, open_data, with_data
from .decoder import Decoding, decoder_loss, train_decoder_alone
from .extras import Extras
from .folder import claimed
from .loop import Loop, make_accelerator
from .loss import LadderTask
from .plan import describe
from .recall import Rates, held_still, recall_loss
from .sparse import sparse_loss
from .start import start_weights
from .task import Loss, Moment, RunTask


def run(path: str | Path, overrides: Sequence[str] = (), dry_run: bool = False) -> Path | None:
    """Train as the config says, or go on where the run stopped; returns the run folder.

    Args:
        path: YAML file of a `RunConfig`.
        overrides: `key.sub=value` each.
        dry_run: only print the resolved config, sizes and the memory of one step.

    Raises:
        ValueError: the config is wrong, the data cannot be read, or `out` holds another run.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM came, and the run was saved.
    """
    config = load(RunConfig, path, overrides)
    if dry_run:
        print(dump(config) + describe(config))
        return None
    config = with_data(config)
    accelerator = make_accelerator(config)
    with claimed(config, accelerator):
        with resumable():
            task = _kind(config)(config, accelerator)
            loop = Loop(config, config.optimiser, task, accelerator)
        loop.run()
    return config.out


def _kind(run: RunConfig) -> type[Autoencoder]:
    if run.only_recall:
        return OnlyRecall
    if run.only_decoder:
        return OnlyFoundationDecoder if run.model.foundation else OnlyDecoder
    return SparseAutoencoder if run.model.axes.sparse else Autoencoder


class Autoencoder(LadderTask, RunTask):
    """A new model, or one that begins with the weights of another, and its data."""

    name = "model"

    def __init__(self, run: RunConfig, accelerator: Accelerator) -> None:
        self.run, self.device = run, accelerator.device
        torch.manual_seed(run.seed)
        model = checkpoint.build(run.model)
        if run.start:
            model.load_state_dict({**model.state_dict(), **start_weights(run, model.config)})
        model = model.to(self.device)
        extras = Extras(model, run.perceptual, run.adversarial, run.loss.spectral, run.alignment)
        super().__init__(model, run.loss, extras.to(self.device))
        if extras.critic:
            extras.critic.prepare(accelerator)
        self.data: TrainingData = open_data(run)
        self.every = run.data.validation.every
        self.notices, self.unreadable = [self.data.notice], self.data.bad

    def batches(self, step: int, rank: int, processes: int) -> Iterable[ReadBatch]:
        return self.data.batches(step, rank, processes)

    def loss(self, batch: ReadBatch, at: Moment) -> Loss:
        return super().loss(self.data.enter(batch, self.device), at)

    def measure(self, model: checkpoint.Model, step: int) -> Figures | None:
        return self.data.measure(model, step)

    def quality(self, figures: Figures) -> float | None:
        return self.data.quality(figures)

    def keep(self, model: checkpoint.Model, place: str, about: Mapping[str, object]) -> None:
        if place == "best" and model.config.field is None and not model.domain.sparse:
            figures = measure_latents(model, self.data.held_out.values())
            about = {**about, ABOUT: figures.model_dump()}
        checkpoint.save(model, self.run.out / place / checkpoint.FILE, about)

    def modules(self) -> dict[str, nn.Module]:
        critic, spectral = self.extras.critic, self.extras.spectral
        found = {"critic": critic.module if critic else None, "spectral": spectral}
        return {name: module for name, module in found.items() if module is not None}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        critic = self.extras.critic
        return {"critic_optimiser": critic.optimiser} if critic else {}

    def scalers(self) -> dict[str, torch.amp.GradScaler]:
        critic = self.extras.critic
        return {"critic": critic.scaler} if critic and critic.scaler.is_enabled() else {}


class SparseAutoencoder(Autoencoder):
    """One whose finer levels exist in places."""

    def loss(self, batch: ReadBatch, at: Moment) -> Loss:
        return sparse_loss(self.network, self.data.enter(batch, self.device), self.run.loss, at)


class OnlyRecall(Autoencoder):
    """The rate alone, under priors of which nothing is trained but what they remember.

    Where pictures are among the clips, each stands still for the length of a clip: what does not
    move is what there is most to gain from.
    """

    def __init__(self, run: RunConfig, accelerator: Accelerator) -> None:
        latents_of = checkpoint.load(run.start).config.latents_of
        model = run.model.model_copy(update={"latents_of": latents_of})
        super().__init__(run.model_copy(update={"model": model}), accelerator)
        self.network = Rates(self.model)

    def quality(self, figures: Figures) -> None:
        """It is the same throughout."""

    def loss(self, batch: ReadBatch, at: Moment) -> Loss:
        domain, data = self.model.domain, self.run.data
        steps = domain.of_time(data.size(domain))
        x = self.data.enter(batch, self.device)
        x = held_still(domain, x, steps, data.batch_size)
        return recall_loss(self.network, self.model, x, at)


class OnlyDecoder(Autoencoder):
    """What lies behind the last latent of a ladder, by the same loss as the whole."""

    def __init__(self, run: RunConfig, accelerator: Accelerator) -> None:
        latents_of = fingerprint(checkpoint.load(run.start))
        model = run.model.model_copy(update={"latents_of": latents_of})
        super().__init__(run.model_copy(update={"model": model}), accelerator)
        train_decoder_alone(self.model)


class OnlyFoundationDecoder(Autoencoder):
    """The decoder of the foundation, under a ladder of which nothing is trained."""

    def __init__(self, run: RunConfig, accelerator: Accelerator) -> None:
        found = run.model.foundation.model_copy(update={"own_decoder": True})
        model = run.model.model_copy(update={"foundation": found})
        super().__init__(run.model_copy(update={"model": model}), accelerator)
        self.network = Decoding(self.model, run.loss.pixels)

    def quality(self, figures: Figures) -> None:
        """That of all levels is not what is trained."""

    def loss(self, batch: ReadBatch, at: Moment) -> Loss:
        return decoder_loss(self.network, self.model, self.data.enter(batch, self.device), at)
