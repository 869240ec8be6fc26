"""ONNX graphs as functions, by onnxruntime, which is an extra."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any


def onnxruntime() -> ModuleType:
    """The module; ValueError where it is not installed."""
    try:
        import onnxruntime as module
    except ModuleNotFoundError:
        raise ValueError(
            "graphs need onnxruntime, which is not installed; install it with: "
            "pip install 'stlatent[onnx]'"
        ) from None
    return module


def session(path: str | Path, inputs: int) -> Any:
    """An ONNX graph from a file, ready to be run, on the CPU.

    Raises:
        ValueError: the file is no graph, or one of another number of inputs.
    """
    module = onnxruntime()
    try:
        graph = module.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of kinds that are its own
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} cannot be read as an ONNX graph: {reason:.300}") from None
    if len(graph.get_inputs()) != inputs:
        raise ValueError(f"{path} has {len(graph.get_inputs())} inputs; a graph of {inputs} fits")
    return graph
