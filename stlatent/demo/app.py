"""The page itself: `stlatent demo`. This file alone, with `stlatent[demo]` among the requirements,
is a Space of Hugging Face as well (`app.py`).

Everything that is uploaded or made lies in one temporary folder, which goes when the page ends;
what is older than an hour goes before.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from stlatent.demo.studio import Opened, Studio
from stlatent.jobs.sample import TEMPERATURE
from stlatent.media.options import Extent

MODELS = ("video", "voxel")
MOST_BYTES = 64 * 2**20  # of an upload
MOST_FRAMES, MOST_SIDE = 65, 512
SWEEP_S, AGE_S = 600, 3600  # how often old files are looked for, and how old they may get
MADE = "made-"  # the folders of what is made
SESSIONS = 8  # visitors whose levels are kept at a time, up to 1 GB each
HIDDEN = "hidden"  # and there: a viewer of shapes that comes later stays empty
ABOUT = """# stlatent
Drop a clip, a picture or a mesh. It is encoded on several levels, level 0 the coarsest; every \
prefix of them decodes. Hold some levels and draw the others anew, or mix two files level by level.
"""


def gradio() -> ModuleType:
    """The library of the page; ValueError where it is not installed."""
    try:
        import gradio as module
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the page needs {error.name}, which is not installed; install it with: "
            "pip install 'stlatent[demo]'"
        ) from None
    return module


class Page:
    """One page over a studio.

    Attributes:
        blocks: of gradio, to be launched.
    """

    def __init__(self, studio: Studio, folder: Path) -> None:
        self.gr, self.studio, self.folder = gradio(), studio, folder
        gr = self.gr
        with gr.Blocks(
            title="stlatent", analytics_enabled=False, delete_cache=(SWEEP_S, AGE_S)
        ) as self.blocks:
            gr.Markdown(ABOUT)
            self.opened = gr.State(None, time_to_live=AGE_S)
            with gr.Row():
                with gr.Column(scale=1):
                    self._inputs()
                with gr.Column(scale=3):
                    with gr.Group(elem_id="prefixes"):
                        self.panels = self._views("Original, then every prefix", 300)
                    self.numbers = gr.Markdown(elem_id="numbers")
            with gr.Tab("Levels"):
                self._levels()
            with gr.Tab("Redraw"):
                self._redraw()
            with gr.Tab("Mix"):
                self._mix()
            self.files = gr.File(label="To keep", file_count="multiple", elem_id="files")
            self._events()

    # what is there ----------------------------------------------------------------------------

    def _inputs(self) -> None:
        gr = self.gr
        types = self.studio.suffixes
        self.file = gr.File(label="A clip, a picture or a mesh", file_types=types, elem_id="file")
        self.frames = gr.Slider(1, MOST_FRAMES, 17, step=8, label="First frames, at most")
        self.side = gr.Slider(64, MOST_SIDE, 256, step=32, label="Central pixels a side, at most")
        self.encode = gr.Button("Encode", variant="primary", elem_id="encode")

    def _levels(self) -> None:
        self.count = self.gr.Slider(
            1, 3, 1, step=1, label="Decode so many levels, from the coarsest", elem_id="count"
        )
        with self.gr.Group(elem_id="decoded"):
            self.decoded = self._views("Decoded")

    def _redraw(self) -> None:
        gr = self.gr
        with gr.Row():
            self.held = gr.CheckboxGroup([], label="Levels held; the others are drawn")
            self.temperature = gr.Slider(0, 1, TEMPERATURE, step=0.05, label="Temperature")
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31)
        self.draw = gr.Button("Draw", elem_id="draw")
        with gr.Group(elem_id="drawn"):
            self.drawn = self._views("Drawn")

    def _mix(self) -> None:
        gr = self.gr
        types = self.studio.suffixes
        self.other = gr.File(label="Another file of the kind", file_types=types, elem_id="other")
        self.of_other = gr.CheckboxGroup([], label="Levels of the other file")
        self.blend = gr.Button("Mix", elem_id="mix")
        with gr.Group(elem_id="mixed"):
            self.mixed = self._views("Mixed")

    def _views(self, label: str, height: int = 420) -> list[Any]:
        """A place for a video, one for a picture and one for a shape, of which one is seen."""
        gr = self.gr
        how = {"label": label, "interactive": False, "height": height, "visible": HIDDEN}
        return [
            gr.Video(autoplay=True, loop=True, **how),
            gr.Image(format="png", buttons=["download", "fullscreen"], **how),
            gr.Model3D(clear_color=(0.35, 0.37, 0.4, 1.0), **how),
        ]

    def _events(self) -> None:
        opened = [self.opened, *self.panels, self.numbers, self.count, self.held, self.of_other]
        self.encode.click(
            self._said(self.on_encode),
            [self.file, self.frames, self.side],
            [*opened, *self.decoded, self.files],
        )
        self.count.release(
            self._said(self.on_count), [self.opened, self.count], [*self.decoded, self.files]
        )
        self.draw.click(
            self._said(self.on_draw),
            [self.opened, self.held, self.temperature, self.seed],
            [*self.drawn, self.files],
        )
        self.blend.click(
            self._said(self.on_mix),
            [self.opened, self.other, self.of_other],
            [*self.mixed, self.files],
        )

    # what happens -----------------------------------------------------------------------------

    def on_encode(self, file: str | None, frames: float, side: float) -> list[Any]:
        gr = self.gr
        if not file:
            raise ValueError("drop a file first")
        frames, side = min(int(frames), MOST_FRAMES), min(int(side), MOST_SIDE)
        opened = self.studio.open(file, Extent(frames, (side, side)))
        place, levels = new_place(self.folder), [str(k) for k in range(len(opened.latents.levels))]
        rows = "\n".join(f"| {' | '.join(row)} |" for row in self.studio.table(opened))
        figure = opened.medium.figures[0].title
        head = f"| level | stride | numbers | bits | {figure}, up to it |\n|---|---|---|---|---|\n"
        panels = self.studio.panels(opened, place)
        whole = self.studio.write(opened, opened.prefixes[-1], place, "decoded")
        latents = self.studio.save_latents(opened, place)
        return [
            opened,
            *self._shown(panels),
            head + rows,
            gr.update(maximum=len(levels), value=len(levels)),
            gr.update(choices=levels, value=levels[:1]),
            gr.update(choices=levels, value=levels[1:]),
            *self._shown(whole),
            [str(latents), str(whole), str(panels)],
        ]

    def on_count(self, opened: Opened | None, count: float) -> list[Any]:
        opened = _needed(opened)
        count = min(max(int(count), 1), len(opened.prefixes))
        return self._kept(opened, opened.prefixes[count - 1], f"levels_{count}")

    def on_draw(
        self, opened: Opened | None, held: list[str], temperature: float, seed: float
    ) -> list[Any]:
        opened = _needed(opened)
        levels = [int(level) for level in held]
        drawn = self.studio.redraw(opened, levels, float(temperature), int(seed or 0))
        return self._kept(opened, drawn, "drawn")

    def on_mix(self, opened: Opened | None, other: str | None, of_other: list[str]) -> list[Any]:
        opened = _needed(opened)
        if not other:
            raise ValueError("drop another file to mix with")
        second = self.studio.open(other, Extent(), like=opened)
        mixed = self.studio.mix(opened, second, [int(level) for level in of_other])
        return self._kept(opened, mixed, "mixed")

    def _kept(self, opened: Opened, x: Any, name: str) -> list[Any]:
        place = new_place(self.folder)
        path = self.studio.write(opened, x, place, name)
        return [*self._shown(path), [str(self.studio.save_latents(opened, place)), str(path)]]

    def _shown(self, path: Path) -> list[Any]:
        """Updates of the three places, of which the one for this file is seen."""
        return [
            self.gr.update(value=str(path) if fits else None, visible=fits or HIDDEN)
            for fits in (path.suffix == ending for ending in (".mp4", ".png", ".glb"))
        ]

    def _said(self, act: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """What goes wrong is a message on the page, in one line, without places of this machine."""

        def acted(*arguments: Any) -> list[Any]:
            try:
                return act(*arguments)
            except (ValueError, OSError) as error:
                line = " ".join(str(error).split()).replace(str(self.folder), "…")
                raise self.gr.Error(line, title="Not done", print_exception=False) from None

        # gradio reads what a function takes from its signature
        acted.__signature__ = inspect.signature(act)
        return acted


def _needed(opened: Opened | None) -> Opened:
    if opened is None:
        raise ValueError("encode a file first")
    return opened


def new_place(folder: Path) -> Path:
    """A folder in there for what is made now; those that are too old go, which gradio, with copies
    of its own, does not do."""
    for place in folder.glob(f"{MADE}*"):
        with suppress(FileNotFoundError):
            if time.time() - place.stat().st_mtime > AGE_S:
                shutil.rmtree(place, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=MADE, dir=folder))


@contextmanager
def scratch() -> Iterator[Path]:
    """The folder of everything that is uploaded or made, while the page runs."""
    with tempfile.TemporaryDirectory(prefix="stlatent-demo-") as folder:
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "uploads"))
        try:
            yield Path(folder)
        finally:
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def launch(page: Page, **options: Any) -> Any:
    """Serve a page; `options` are those of gradio's `launch`."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    theme = page.gr.themes.Default(**fonts)  # nothing is fetched from elsewhere
    return page.blocks.queue(max_size=16).launch(
        theme=theme,
        max_file_size=MOST_BYTES,
        allowed_paths=[str(page.folder)],
        state_session_capacity=SESSIONS,
        share=False,
        ssr_mode=False,
        footer_links=[],
        **options,
    )


def main(models: tuple[str, ...] = MODELS, device: str = "cpu", **options: Any) -> None:
    """Serve a page until it is interrupted."""
    gradio()  # before anything is loaded
    with scratch() as folder:
        launch(Page(Studio(models, device), folder), **options)


if __name__ == "__main__":  # a Space, which says by its environment where to listen
    main()
