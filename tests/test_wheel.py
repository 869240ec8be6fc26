"""The package as it is installed from a wheel, far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stlatent.shipped import locate_config, shipped_configs, shipped_models

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a wheel of this checkout was installed."""
    pytest.importorskip("hatchling")
    wheels, target = (tmp_path_factory.mktemp(name) for name in ("wheels", "target"))
    build = f"from hatchling.build import build_wheel; build_wheel({str(wheels)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    wheel = str(next(wheels.glob("*.whl")))
    assert os.path.getsize(wheel) < 100e6, "package indexes take no larger one"
    subprocess.run([*install, "--target", target, wheel], check=True, capture_output=True)
    return target


def run(installed: Path, work: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stlatent", *words]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)


def test_everything_a_user_needs_is_in_it(installed, tmp_path):
    assert "usage: stlatent" in run(installed, tmp_path, "--help").stdout
    doctor = run(installed, tmp_path, "doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert f"in {installed / 'stlatent'}" in doctor.stdout
    for names in (shipped_models(), shipped_configs()):
        assert len(names) > 1 and ", ".join(names) in doctor.stdout
    files = {str(f.relative_to(ROOT)) for f in (ROOT / "stlatent").rglob("*.py*")}
    files = {name for name in files if "__pycache__" not in name} | {"stlatent/py.typed"}
    assert files <= {str(f.relative_to(installed)) for f in installed.rglob("*")}


def test_configs_go_by_name(installed, tmp_path):
    done = run(installed, tmp_path, "train", "video/tiny", "--dry-run", "out=mine")
    assert done.returncode == 0, done.stderr
    assert "out: mine" in done.stdout and "# parameters: 0." in done.stdout
    assert not any(tmp_path.iterdir())


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate_config("video/base") == ROOT / "configs" / "video" / "base.yaml"
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "base").write_text("steps: 1")
    assert locate_config("video/base") == Path("video/base")
    with pytest.raises(
        ValueError, match=r"video/huge does not exist.* shipped config: .*video/base"
    ):
        locate_config("video/huge")
