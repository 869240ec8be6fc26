"""The documentation: every command and every piece of code of it runs, and the site is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docs_hooks
import pytest
from documents import ROOT, blocks, commands, environment, folder, lines, pages, run_document

import stlatent
from stlatent.cli.verbs import VERBS, parser
from stlatent.train.config import RunConfig

PAGES = {str(page.relative_to(ROOT / "docs")): page for page in pages()}
FIGURES = {"benchmarks.md", "studies.md"}  # whose commands take hours, and are in ```text
RUN = {name: page for name, page in PAGES.items() if name not in FIGURES}
LONG = [name for name, page in RUN.items() if "<!-- long" in page.read_text()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, here: Path) -> Iterator[None]:
    """`s3://data/videos` on this machine."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    import fsspec

    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of another server
    fs = fsspec.filesystem("s3")
    fs.call_s3("create_bucket", Bucket="data")
    for file in ("0.mp4", "wide.png"):
        fs.put(str(here / "VIDEOS" / file), f"data/videos/{file}")
    yield
    server.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize("name", RUN)
def test_commands_and_code_of_every_page_run(name: str, request: pytest.FixtureRequest) -> None:
    text = RUN[name].read_text()
    request.getfixturevalue("bucket" if "s3://" in text else "here")
    run_document(text)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_those_that_take_long_run_too(name: str, request: pytest.FixtureRequest) -> None:
    text = RUN[name].read_text()
    request.getfixturevalue("bucket" if "s3://" in text else "here")
    run_document(text, long=True)


def test_every_verb_is_in_a_page_and_exists() -> None:
    """Also those of the pages of figures, which are only read."""
    for page in PAGES.values():
        for line in commands(page.read_text().replace("```text", "```bash")):
            if line[1:2] and "..." not in line:
                parser().parse_args(line[1:])
    everything = [page.read_text().replace("```text", "```bash") for page in RUN.values()]
    assert {line[1] for text in everything for line in commands(text)} == set(VERBS)


def test_scripts_that_pages_speak_of_exist() -> None:
    for page in (*PAGES.values(), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for script in re.findall(r"(?:bash|python|`)\s?(tools/[\w/]+\.\w+)", page.read_text()):
            assert (ROOT / script).is_file(), f"{page.name}: {script}"


def test_every_extra_has_its_line() -> None:
    told = PAGES["how-to/extras.md"].read_text()
    known = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    for extra in re.findall(r"^(\w+) = \[", known.partition("\n[")[0], re.MULTILINE):
        assert f"| `{extra}` |" in told, extra


def test_nothing_is_promised_for_later() -> None:
    for name, page in PAGES.items():
        assert not re.search(r"coming soon|to come|\bTODO\b|not yet written", page.read_text()), (
            name
        )
        for block in blocks(page.read_text(), "bash"):
            assert lines(block), f"{name} has an empty block"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Links, anchors and names of the code included."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=environment() | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    keys = (tmp_path / "site" / "reference" / "configs" / "index.html").read_text()
    for key in ("model.levels.N", "loss.rate", "data.validation", "diffusion.stages.N"):
        assert key in keys
    api = (tmp_path / "site" / "reference" / "api" / "model" / "index.html").read_text()
    assert "Encode and decode" in api  # docstrings are there


def test_every_public_name_and_every_key_is_in_the_reference() -> None:
    rooms = {f"stlatent.{face.parent.name}" for face in ROOT.glob("stlatent/*/__init__.pyi")}
    assert rooms == {f"stlatent.{room}" for room in docs_hooks.ROOMS if room != "stlatent"}
    page = docs_hooks.api_page("stlatent")
    for name in set(stlatent.__all__) - docs_hooks.NOT_HERE - {"checkpoint"}:
        assert re.search(rf"(\.|`){name}\b", page), name
    keys = docs_hooks.configs_page()
    for key, cls in docs_hooks.tree(RunConfig):
        assert f"({cls.__name__})" in keys, key
        assert all(f"| `{name}` |" in keys for name in cls.model_fields), key
    verbs = docs_hooks.commands_page()
    assert all(f"## stlatent {verb}\n" in verbs for verb in VERBS) and "`--entropy-code`" in verbs
