"""The verb `stlatent doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata as metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Options, Verb

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PURPOSES = {
    "demo": "stlatent demo",
    "docs": "building the documentation",
    "codebooks": "levels that are discrete",
    "entropy": "bitstreams: encode --entropy-code",
    "onnx": "ONNX graphs",
    "perceptual": "perceptual losses",
    "parquet": "sources in tables: encode FILE.parquet",
    "ray": "encode --ray",
    "s3": "data sets in buckets",
    "scans": "NIfTI files and DICOM series",
    "shapes": "meshes and volumes",
    "test": "the tests",
    "text": "captions as conditions of diffusion",
    "xformers": "attention on GPUs",
}


def add_doctor(verb: Verb) -> None:
    """It has no options."""


def doctor(options: Options) -> int:
    from .. import __version__
    from ..shipped import shipped_configs, shipped_models, shipped_pipelines

    print(f"stlatent {__version__} in {Path(__file__).parents[1]}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    core, extras = _requirements()
    wrong = [problem for wanted in core if (problem := _problem(wanted))]
    print("\ncore")
    for wanted in core:
        print(f"  {wanted.name} {_version(wanted) or 'missing'}")
    print("\ndevices")
    for device in _devices():
        print(f"  {device}")
    print("\nextras")
    for name, wanted in extras.items():
        problems = [problem for each in wanted if (problem := _problem(each))]
        state = f"{'; '.join(problems)}: pip install 'stlatent[{name}]'" if problems else "ready"
        print(f"  {name} ({PURPOSES.get(name, 'extra')}): {state}")
    print(f"\nmodels: {', '.join(shipped_models())}\npipelines: {', '.join(shipped_pipelines())}")
    print(f"configs: {', '.join(shipped_configs())}")
    for problem in wrong:
        print(f"stlatent doctor: {problem}: pip install stlatent", file=sys.stderr)
    return 1 if wrong else 0


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What the core needs here, and what each extra adds.

    Raises:
        ValueError: the package is not installed, but lies somewhere on the path.
    """
    from packaging.requirements import Requirement

    try:
        package = metadata.distribution("stlatent")
    except metadata.PackageNotFoundError:
        folder = Path(__file__).parents[2]
        raise ValueError(
            f"stlatent is not installed, only found in {folder}: pip install -e {folder}"
        ) from None
    wanted = [Requirement(line) for line in package.requires or ()]
    core = [each for each in wanted if _applies(each, "")]
    extras = {
        name: [each for each in wanted if _applies(each, name) and each not in core]
        for name in package.metadata.get_all("Provides-Extra") or ()
    }
    return core, extras


def _applies(wanted: Requirement, extra: str) -> bool:
    """Whether something is wanted on this machine, with `extra` or without any."""
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _version(wanted: Requirement) -> str | None:
    try:
        return metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return None


def _problem(wanted: Requirement) -> str | None:
    """What is wrong with something that is wanted, if anything is."""
    version = _version(wanted)
    if version is None:
        return f"{wanted.name} is missing"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{wanted.name} is {version}, not {wanted.specifier}"
    return None


def _devices() -> Iterator[str]:
    try:
        import torch
    except ImportError as error:
        yield f"torch cannot be imported: {error}"
        return
    from ..model.device import native_precision

    precision = native_precision(torch.device("cpu"))
    yield f"cpu: {torch.get_num_threads()} threads, {precision}"
    for k in range(torch.cuda.device_count()):
        device = torch.device("cuda", k)
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        name = torch.cuda.get_device_name(device)
        yield f"cuda:{k}: {name}, {memory:.0f} GiB, {native_precision(device)}"
    if not torch.cuda.device_count():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for CPUs"
        yield f"no GPU that torch {torch.__version__} ({built}) can use"
