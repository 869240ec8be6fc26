"""The pages of the documentation that are made of the code: run by mkdocs (`bash tools/docs.sh`).

reference/commands.md    every verb and option, from the parser
reference/configs.md     every key of a config, from the classes of configs
reference/api/*.md       every public name, from the faces of the packages (`__init__.pyi`)

Pages that lie beside the code (the format on disk, what is exported, the map of the house) are
taken into the site as they are.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

TAKEN = {  # pages that lie elsewhere, by their place in the site
    "reference/format.md": "stlatent/store/FORMAT.md",
    "reference/exported.md": "stlatent/export/README.md",
    "reference/pipelines.md": "stlatent/export/PIPELINES.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
ROOMS = {  # packages whose names are documented, and what they are for
    "stlatent": "the names that most programs need",
    "model": "the ladder itself",
    "media": "kinds of data: reading, measuring, writing",
    "jobs": "whole data sets to latents and back",
    "store": "latents on disk",
    "train": "training",
    "evaluate": "what each level holds",
    "diffusion": "latent diffusion",
    "export": "ladders in diffusers",
    "geometry": "meshes and fields",
}
NOT_HERE = {"ModelMixin", "choose"}  # of diffusers; a module


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, text in generated().items():
        files.append(File.generated(config, uri, content=text))
    return files


def generated() -> dict[str, str]:
    """The text of every generated page, by its place in the site."""
    pages = {uri: taken(ROOT / path) for uri, path in TAKEN.items()}
    pages["reference/commands.md"] = commands_page()
    pages["reference/configs.md"] = configs_page()
    return pages | {f"reference/api/{room}.md": api_page(room) for room in ROOMS}


def taken(path: Path) -> str:
    """A page that lies beside the code; links to files become plain names."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", path.read_text())


# commands -----------------------------------------------------------------------------------------


def commands_page() -> str:
    """A section per verb."""
    from stlatent.cli.verbs import EXAMPLES, VERBS, parser

    top = parser()
    (verbs,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    parts = [
        "# Commands\n\nWrong input costs one line that says what was given and what is allowed, "
        "and exit code 2; 1 is for jobs of which some files failed, 130 for Ctrl-C. Nothing that "
        "exists is overwritten without `--replace`."
    ]
    for name, (purpose, _, _) in VERBS.items():
        example = "\n".join(line.strip() for line in EXAMPLES[name].splitlines())
        parts.append(f"## stlatent {name}\n\n{purpose[0].upper()}{purpose[1:]}.")
        parts.append(f"```text\n{example}\n```")
        rows = [_option(a) for a in verbs.choices[name]._actions if a.dest != "help"]
        if rows:
            parts.append("| | |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _option(action: argparse.Action) -> str:
    shown = action.metavar or (action.choices and "{" + ", ".join(map(str, action.choices)) + "}")
    shown = shown or action.dest.upper()
    value = shown if isinstance(shown, str) else " ".join(shown)
    takes = action.nargs != 0
    words = [f"`{name} {value}`" if takes else f"`{name}`" for name in action.option_strings]
    names = ", ".join(words) or f"`{value}`"
    return f"| {names} | {_cell(action.help or '')}{' (required)' if _required(action) else ''} |"


def _required(action: argparse.Action) -> bool:
    return bool(action.required and action.option_strings)


def _cell(text: str) -> str:
    """Text of a cell of a table, of which pipes are part."""
    return text.replace("%%", "%").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


# configs ------------------------------------------------------------------------------------------


def configs_page() -> str:
    """A section per class of configs, under the key at which it stands."""
    from stlatent.diffusion.config import DiffusionRun
    from stlatent.train.config import RunConfig

    parts = [
        "# Config keys\n\nA run is one YAML file and overrides `key.sub=value` behind it. An "
        "unknown key is an error that names the nearest valid one. `N` stands for an index from 0. "
        "A group of which one thing is given besides its defaults may be written as its kind "
        "alone: `cell: nvae`.\n\nEach table says where its keys are defined, and their meaning "
        "names the paper where there is one."
    ]
    for title, run in {"Autoencoders": RunConfig, "Latent diffusion": DiffusionRun}.items():
        parts.append(f"## {title}")
        places: dict[type[BaseModel], list[str]] = {}
        for key, cls in tree(run):
            places.setdefault(cls, []).append(key)
        parts += [_table(cls, keys) for cls, keys in places.items()]
    return "\n\n".join(parts) + "\n"


def tree(cls: type[BaseModel], key: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every class of configs below `cls`, with the key at which it stands; a run's data are those
    of every medium."""
    yield key, cls
    for name, field in cls.model_fields.items():
        below = f"{key}.{name}".strip(".")
        for inner, many in _classes(field.annotation):
            place = f"{below}.N" if many else below
            for one in _media_data() if inner.__name__ == "DataConfig" else [inner]:
                yield from tree(one, place)


def _media_data() -> list[type[BaseModel]]:
    from stlatent.media.registry import media

    return [medium.data for medium in media()]


def _classes(annotation: Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The classes of configs in a type, and whether a list of them is asked for."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation, many
        return
    listed = many or getattr(annotation, "__origin__", None) is tuple
    for part in get_args(annotation):
        yield from _classes(part, listed)


def _table(cls: type[BaseModel], keys: list[str]) -> str:
    from stlatent.model.reference import reference

    module = cls.__module__.replace(".", "/") + ".py"
    first = keys[0] or "top"
    where = " and ".join(f"`{key}`" for key in keys) if keys[0] else "the top of the file"
    summary = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    rows = [
        f"| `{row.name}` | {_cell(row.kind)} | {_default(row.default)} | {_cell(row.meaning)} |"
        for row in reference(cls)
    ]
    head = "| key | type | default | meaning |\n|---|---|---|---|"
    title = f"### {first} ({cls.__name__})"
    return f"{title}\n\n{summary} At {where}; defined in `{module}`.\n\n{head}\n" + "\n".join(rows)


def _default(value: str | None) -> str:
    return "*required*" if value is None else f"`{_cell(value)}`" if value else ""


# api ----------------------------------------------------------------------------------------------


def api_page(room: str) -> str:
    """Every name of a package's face, documented where it is defined; the package's own face
    passes on what others document."""
    package = "stlatent" if room == "stlatent" else f"stlatent.{room}"
    elsewhere = {}
    if room == "stlatent":
        others = ((other, names(f"stlatent.{other}")) for other in ROOMS if other != room)
        elsewhere = {f"{place}.{n}": other for other, all in others for n, place in all.items()}
    parts, links = [f"# {package}\n\n`{package}`: {ROOMS[room]}."], []
    for name, place in names(package).items():
        if (where := f"{place}.{name}") in elsewhere:
            links.append(f"[`{name}`]({elsewhere[where]}.md#{where})")
        else:
            parts.append(f"::: {where}")
    if links:
        parts.insert(1, f"Also here, and described with their rooms: {', '.join(links)}.")
    return "\n\n".join(parts) + "\n"


def names(package: str) -> dict[str, str]:
    """Public names of a package, and the module that defines each; from its `__init__.pyi`."""
    face = ROOT / package.replace(".", "/") / "__init__.pyi"
    found = {}
    for node in ast.parse(face.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:  # without one, modules
            base = f"{package}.{node.module}"
            found |= {alias.name: origin(base, alias.name) for alias in node.names}
    return {name: place for name, place in found.items() if name not in NOT_HERE}


def origin(module: str, name: str) -> str:
    """The module where a name is defined: faces pass on those of other modules."""
    face = ROOT / module.replace(".", "/") / "__init__.pyi"
    return names(module).get(name, module) if face.is_file() else module
