"""Encoder and decoder as graphs of tensors alone: for `torch.export`, and for ONNX.

    encoder         sample            -> latent_mean, latent_logvar, next...   all, or its beginning
    encoder_next    sample, state...  -> latent_mean, latent_logvar, next...   more of it
    decoder         latent            -> sample, next...
    decoder_next    latent, state...  -> sample, next...

The second of each pair is there where the domain has time: what a stream remembers goes in and
comes out, so that a video of any length goes through in constant memory. Graphs take whole groups:
a beginning has 1 + k f frames, more of it k f, and pictures are multiples of the stride; repeat the
last ones to fill it. Batch and sizes may change from call to call. Levels that are not packed are
the prior's mean.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..files import writing
from ..model.past import Past
from ..runtime import onnxruntime
from .autoencoder import AutoencoderLadder

TOLERANCE = 1e-4  # relative to the largest value, in float32: other kernels, other rounding
STEPS = 2  # latents along each axis of what is traced; 1 would be taken for a constant
CHECKED = ((1, 0), (3, 1), (2, 3))  # batch and latents along each axis, see `example`
State = dict[str, Tensor]  # by layer, in the order in which the first call of a stream leaves it


class Part(nn.Module):
    """One of the graphs, with one input and the state of a stream.

    Args:
        started: whether it goes on with a stream; else its state is empty.
    """

    name: str
    outputs: tuple[str, ...]

    def __init__(self, vae: AutoencoderLadder, started: bool) -> None:
        super().__init__()
        self.vae, self.started = vae, started

    def past(self, state: State) -> Past:
        return Past(state if self.started else None)


class Encoder(Part):
    """Samples `[B, C, *axes]` and the state before them -> means and log-variances of their packed
    latents, and the state after them."""

    name, outputs = "sample", ("latent_mean", "latent_logvar")

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        past = self.past(state)
        return (*self.vae.encode_step(x, past), past.state)


class Decoder(Part):
    """Packed latents `[B, C, *grid]` and the state before them -> samples, and the state after
    them."""

    name, outputs = "latent", ("sample",)

    def forward(self, z: Tensor, state: State) -> tuple[Tensor, State]:
        past = self.past(state)
        return self.vae.decode_step(z, past), past.state


def parts(vae: AutoencoderLadder) -> dict[str, Part]:
    """The graphs of `vae`, by name.

    Raises:
        ValueError: its latents lie on a finer grid than that of level 0, or it tells motion.
    """
    if vae.ladder.config.motion:
        raise ValueError(
            "graphs of tensors alone do not move frames, and this model has motion; export it "
            "without --onnx, for diffusers"
        )
    if max(vae.packing.unit) > 1:
        raise ValueError(
            f"graphs take latents on the grid of level 0, and these are at "
            f"{list(vae.packing.stride)}; export with grid='coarsest'"
        )
    found: dict[str, Part] = {"encoder": Encoder(vae, False), "decoder": Decoder(vae, False)}
    if vae.ladder.domain.has_time:
        found |= {"encoder_next": Encoder(vae, True), "decoder_next": Decoder(vae, True)}
    return found


def program(part: Part) -> ExportedProgram:
    """`part` as `torch.export` traces it, called with `(input, state)`."""
    inputs = example(part, 2, STEPS)
    shapes = _dimensions(part, inputs)
    with torch.no_grad():
        return torch.export.export(part, inputs, dynamic_shapes=shapes, strict=False)


def export_onnx(vae: AutoencoderLadder, out: str | Path) -> dict[str, Path]:
    """Write `encoder.onnx`, `decoder.onnx` and, for streams, `*_next.onnx`, in a new folder.

    Each is run by onnxruntime at several sizes and compared with `vae` before the folder appears
    under its name.

    Raises:
        ValueError: `out` is there, the extra `onnx` is not installed, `vae` is not on the CPU, or a
            graph does not give what the model gives.
    """
    out = Path(out)
    if vae.device.type != "cpu":
        raise ValueError(f"graphs are made and checked on the CPU, not {vae.device}: vae.to('cpu')")
    if out.exists():
        raise ValueError(f"{out} is there already; give a new folder")
    runtime = _runtime()
    with writing(out) as folder:
        folder.mkdir()
        names = list(parts(vae))
        for name, part in parts(vae).items():
            _write(part, folder / f"{name}.onnx")
            _compare(runtime, part, folder / f"{name}.onnx")
    return {name: out / f"{name}.onnx" for name in names}


@torch.no_grad()
def example(part: Part, batch: int, steps: int) -> tuple[Tensor, State]:
    """Noise for `part`, so many latents along each axis, and the state before it.

    The first step of a causal axis comes on top of them.
    """
    vae, domain, state = part.vae, part.vae.ladder.domain, {}
    if part.started:
        beginning = type(part)(vae, False)
        *_, state = beginning(*example(beginning, batch, steps))
    grid = []
    for axis in domain.axes:
        first = axis.kind == "causal" and not part.started
        grid.append(axis.size or (1 + steps if first else max(steps, 1)))
    size, channels = grid, vae.config.latent_channels
    if isinstance(part, Encoder):
        size = domain.samples(grid, vae.packing.stride, part.started)
        channels = vae.config.in_channels
    noise = torch.Generator().manual_seed(0)
    values = torch.rand(batch, channels, *size, generator=noise) * 2 - 1
    return values.to(vae.device), state


def _dimensions(part: Part, inputs: tuple[Tensor, State]) -> tuple[Any, Any]:
    """What may change in the inputs: the batch, and each axis as a multiple of the latents'."""
    axes = part.vae.ladder.domain
    batch, counts = Dim("batch", min=1), {}
    for i, axis in enumerate(axes.axes):
        if axis.size is None:
            shared = axes.square and counts
            counts[i] = next(iter(counts.values())) if shared else Dim(f"n_{axis.name}", min=1)

    def free(tensor: Tensor, remembered: bool) -> dict[int, Any]:
        found: dict[int, Any] = {0: batch}
        for i, count in counts.items():
            causal = axes.axes[i].kind == "causal"
            if remembered and causal:
                continue  # as many steps as the kernels look back
            first = int(causal and not part.started)
            ratio = (tensor.shape[2 + i] - first) // STEPS
            multiple = count if ratio == 1 else ratio * count
            found[2 + i] = multiple + first if first else multiple
        return found

    x, state = inputs
    return free(x, False), {name: free(tensor, True) for name, tensor in state.items()}


def _write(part: Part, path: Path) -> None:
    x, state = example(part, 1, 1)
    given = [f"state_{i}" for i in range(len(state))]
    *_, after = part(x, state)
    carried = [f"next_{i}" for i in range(len(after))]
    graph = torch.onnx.export(
        program(part),
        input_names=[part.name, *given],
        output_names=[*part.outputs, *carried],
        dynamo=True,
        verbose=False,
    )
    graph.save(path)


@torch.no_grad()
def _compare(runtime: ModuleType, part: Part, path: Path) -> None:
    """ValueError unless the graph at `path` gives what `part` gives, at several sizes."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for batch, steps in CHECKED:
        x, state = example(part, batch, steps)
        given = [tensor.contiguous().numpy() for tensor in (x, *state.values())]
        found = session.run(None, dict(zip(names, given, strict=True)))
        *made, after = part(x, state)
        wanted = (*made, *after.values())
        for name, value, expected in zip(session.get_outputs(), found, wanted, strict=True):
            scale = expected.abs().max().clamp_min(1e-8)
            difference = (torch.from_numpy(value) - expected).abs().max() / scale
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"{path.name} differs from the model in {name.name} by {difference:.1e} of "
                    f"its largest value, for a {part.name} of shape {list(x.shape)}"
                )


def _runtime() -> ModuleType:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"graphs need {error.name}, which is not installed; "
            f"install it with: pip install 'stlatent[onnx]'"
        ) from None
    return onnxruntime()
