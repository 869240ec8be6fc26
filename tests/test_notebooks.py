"""The notebooks hold what their script says, with outputs, and run."""

from __future__ import annotations

from pathlib import Path

import pytest
from documents import ROOT

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

import make_notebooks as tool  # noqa: E402

NAMES = list(tool.NOTEBOOKS)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_script_writes_with_its_outputs(name: str) -> None:
    found = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    nbformat.validate(found)
    assert [cell.source for cell in found.cells] == tool.NOTEBOOKS[name]
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code) and any(cell.outputs for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    assert str(Path.home()) not in text and "/tmp/" not in text


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str) -> None:
    tool.run(tool.notebook(tool.NOTEBOOKS[name]))
