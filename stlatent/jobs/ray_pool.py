"""A job on a cluster: its units go to a pool of model actors of Ray Data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import torch
from tqdm import tqdm

from ..checkpoint import Model
from ..media.base import Medium
from ..store.place import Place
from ..store.records import UnitRecord
from .inputs import Input
from .job import Job
from .reader import Reader
from .record import JobRecord
from .scratch import scratch
from .worker import Tally, encode_units

Row = dict[str, Any]


@dataclass(frozen=True)
class RayPool:
    """Actors that each have a copy of the model and do one unit at a time.

    An actor that is killed is started anew, and its unit is begun again: what is done is done.
    Where the model of the caller lies on a GPU, each actor has one of its own.

    Attributes:
        actors: how many.
        threads: CPU threads of each.

    Raises:
        ValueError: Ray Data is not installed.
    """

    actors: int
    threads: int = 1

    def __post_init__(self) -> None:
        _import_ray()

    def encode(
        self,
        medium: Medium,
        model: Model,
        job: Job,
        todo: Mapping[int, UnitRecord | None],
        limit_seconds: float,
    ) -> Tally:
        """Do some units of a job, on the cluster that `RAY_ADDRESS` names, or on this machine."""
        tally = Tally()
        device = next(model.parameters()).device
        rows = [_row(job, unit, former) for unit, former in todo.items()]
        if not rows:
            return tally
        with _session() as ray:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars, context.print_on_execution_start = False, False
            weights = ray.put(model.cpu())
            model.to(device)
            given = (
                weights,
                medium,
                device.type,
                job.place.url,
                job.record,
                self.threads,
                limit_seconds,
            )
            done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Actor,
                fn_constructor_args=given,
                compute=ray.data.ActorPoolStrategy(size=self.actors),
                num_cpus=self.threads,
                num_gpus=1 if device.type == "cuda" else 0,
            )
            sources = sum(len(job.inputs(unit, former)) for unit, former in todo.items())
            with tqdm(total=sources, unit="file", disable=None) as bar:
                for row in done.iter_rows():
                    for name in ("sources", "parts", "bytes"):
                        setattr(tally, name, getattr(tally, name) + row[name])
                    tally.show(bar, medium.parts)
        return tally


class _Actor:
    """Encodes units in a process of its own, somewhere."""

    def __init__(
        self,
        weights: Any,
        medium: Medium,
        device: str,
        url: str,
        record: JobRecord,
        threads: int,
        limit_seconds: float,
    ) -> None:
        torch.set_num_threads(threads)
        self.model = _import_ray().get(weights).to(device)
        self.medium, self.url, self.record = medium, url, record
        plan = self.medium.plan(record.options, torch.device(device))
        self.reader = Reader(plan, limit_seconds)

    def __call__(self, row: Row) -> Row:
        unit, inputs = row["unit"], [Input(**one) for one in json.loads(row["inputs"])]
        former = UnitRecord.model_validate_json(row["former"]) if row["former"] else None
        with scratch(Place(self.url), f"unit-{unit}") as place:
            job = Job(place, self.record, {unit: inputs})
            tally = encode_units(
                self.medium, self.model, job, self.reader, {unit: former}, quiet=True
            )
        return {"sources": tally.sources, "parts": tally.parts, "bytes": tally.bytes}


def _row(job: Job, unit: int, former: UnitRecord | None) -> Row:
    inputs = json.dumps([asdict(one) for one in job.units[unit]])
    return {"unit": unit, "inputs": inputs, "former": former.model_dump_json() if former else ""}


@contextmanager
def _session() -> Iterator[ModuleType]:
    """Ray, connected; what was not connected before is not afterwards."""
    ray = _import_ray()
    own = not ray.is_initialized()
    if own:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def _import_ray() -> ModuleType:
    try:
        import ray.data
    except Exception as error:  # its compiled parts may fail in ways of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--ray needs Ray Data ({reason}): pip install 'stlatent[ray]'") from None
    return ray
