"""Encoder and decoder as ONNX graphs, run by onnxruntime, and as programs of torch.export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exported import tiny
from torch import Tensor

from stlatent.export.graphs import Encoder, example, export_onnx, program

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def vae():
    return tiny(strides=((2, 4, 4),), spread=3)


def run(session, *inputs: Tensor) -> list[Tensor]:
    names = [node.name for node in session.get_inputs()]
    given = {name: x.contiguous().numpy() for name, x in zip(names, inputs, strict=True)}
    return [torch.from_numpy(value) for value in session.run(None, given)]


def test_a_stream_through_onnx_gives_what_the_whole_gives(vae, tmp_path: Path) -> None:
    import onnxruntime

    sessions = {
        name: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for name, path in export_onnx(vae, tmp_path / "onnx").items()
    }
    assert sorted(sessions) == ["decoder", "decoder_next", "encoder", "encoder_next"]
    for batch, height, width in ((1, 4, 12), (3, 8, 8)):  # other sizes than those it checks itself
        x = torch.rand(batch, 3, 9, height, width) * 2 - 1
        posterior = vae.encode(x).latent_dist
        first, log_var, *state = run(sessions["encoder"], x[:, :, :3])
        means, log_vars = [first], [log_var]
        for start, stop in ((3, 5), (5, 9)):
            mean, log_var, *state = run(sessions["encoder_next"], x[:, :, start:stop], *state)
            means.append(mean)
            log_vars.append(log_var)
        torch.testing.assert_close(torch.cat(means, 2), posterior.mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.cat(log_vars, 2), posterior.logvar, atol=1e-4, rtol=1e-4)
        z = posterior.mean
        start, *state = run(sessions["decoder"], z[:, :, :2])
        end, *_ = run(sessions["decoder_next"], z[:, :, 2:], *state)
        torch.testing.assert_close(
            torch.cat([start, end], 2), vae.decode(z).sample, atol=1e-4, rtol=1e-4
        )
    with pytest.raises(ValueError, match="there already"):
        export_onnx(vae, tmp_path / "onnx")


def test_graphs_are_made_on_the_cpu_and_examples_where_the_model_is(tmp_path: Path) -> None:
    elsewhere = tiny("image", ((4, 4),)).to("meta")
    with pytest.raises(ValueError, match="on the CPU, not meta"):
        export_onnx(elsewhere, tmp_path / "onnx")
    assert example(Encoder(elsewhere, started=False), 1, 1)[0].is_meta


def test_a_program_takes_other_sizes() -> None:
    part = Encoder(tiny("image", ((4, 4),)), started=False)
    traced = program(part).module()
    for batch, steps in ((1, 3), (4, 5)):
        inputs = example(part, batch, steps)
        torch.testing.assert_close(traced(*inputs), part(*inputs), atol=1e-5, rtol=1e-5)
