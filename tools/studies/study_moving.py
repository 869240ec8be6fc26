"""Few evaluations for level 0 and one pass for the rest, on clips of `tools/render_moving.py`.

    python tools/studies/study_moving.py moving --held-out held-out --out runs/study \
        --ways "level 0=runs/moving/pipeline" "packed=runs/moving-packed/pipeline"

Pipelines of one ladder are compared by number of network evaluations: Fréchet distances in the
features of a classifier that was trained on real clips, how many samples show the motion and the
object that were asked for (of two cars that differ in their paint alone: the texture), and time per
clip. Beside them: other real clips, real ones through the
ladder, their level 0 with the rest from the prior, and the ladder alone. The same command goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler
from diffusion_clips import Classifier, decoded, frechet_distance
from diffusion_ways import drawn, ladder_alone
from study_diffusion import Report, Row, picture, table
from torch import Tensor

from stlatent import LadderPipeline
from stlatent.cli.outcome import command
from stlatent.files import replace_text, resumable
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.files import find_sources
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.store.labels import folder_classes
from stlatent.weights import read, write

SIZE = (17, 64, 64)
SHOWN = 8
ALIKE = ("police", "taxi")  # of one shape, in other paint: texture alone tells them apart


class Clips:
    """Clips of a folder `[N, 17, 64, 64, 3]` uint8, and their classes `[N]`, evenly mixed."""

    def __init__(self, root: Path) -> None:
        sources = find_sources(root)
        found, self.classes = folder_classes([source.name for source in sources])
        sources.sort(key=lambda source: Path(source.name).name)  # one of each class, and again
        clips = (centre_clip(source.path, SIZE)[0][0] for source in sources)
        self.frames = torch.stack([torch.from_numpy(to_uint8(x)) for x in clips])
        self.label = torch.tensor([found[source.name] for source in sources])
        self.middle = len(sources) // 2

    def floats(self, rows: slice | Tensor) -> Tensor:
        """`[n, 3, 17, 64, 64]` in [-1, 1]."""
        return to_float(self.frames[rows])


class Judge:
    """Names motions and objects at half the size; trained on real clips with noise."""

    def __init__(self, classes: Sequence[str]) -> None:
        pairs = [name.split("-", 1) for name in classes]
        motions, objects = (sorted({*column}) for column in zip(*pairs))
        self.motion = torch.tensor([motions.index(motion) for motion, _ in pairs])
        self.object = torch.tensor([objects.index(thing) for _, thing in pairs])
        self.alike = torch.tensor([k for k, thing in enumerate(objects) if thing in ALIKE])
        torch.manual_seed(0)
        self.network = Classifier(len(motions), len(objects))
        self.reference = torch.empty(0)

    def train(self, data: Clips, steps: int, batch: int = 32) -> None:
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
        for step in range(steps):
            rows = torch.randint(len(data.frames), (batch,))
            x, label = half(data.floats(rows)), data.label[rows]
            x = x + 0.2 * torch.rand(len(x), 1, 1, 1, 1) * torch.randn_like(x)
            motion, thing = self.network(x)
            loss = F.cross_entropy(motion, self.motion[label])
            loss = loss + F.cross_entropy(thing, self.object[label])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                print(f"classifier: step {step}, loss {loss.item():.3f}", flush=True)

    @torch.no_grad()
    def seen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features `[N, 64]`, and what speaks for each motion and object `[N, M]`, `[N, O]`."""
        parts = half(x.clamp(-1, 1)).split(64)
        rows = [(self.network.features(part), *self.network(part)) for part in parts]
        return tuple(torch.cat(column) for column in zip(*rows))

    def __call__(self, x: Tensor, asked: Tensor) -> Row:
        features, motion, thing = self.seen(x)
        wanted = self.object[asked]
        right = motion.argmax(1) == self.motion[asked], thing.argmax(1) == wanted
        alike = thing[torch.isin(wanted, self.alike)][:, self.alike].argmax(1)
        painted = self.alike[alike] == wanted[torch.isin(wanted, self.alike)]
        return {
            "frechet": frechet_distance(features, self.reference),
            "motion": float(right[0].float().mean()),
            "object": float(right[1].float().mean()),
            "both": float((right[0] & right[1]).float().mean()),
            "texture": float(painted.float().mean()),
        }


def half(x: Tensor) -> Tensor:
    """`[N, 3, T, H, W]` at half its height and width."""
    return F.avg_pool3d(x, (1, 2, 2))


def judge_of(options: argparse.Namespace, held_out: Clips) -> Judge:
    judge, file = Judge(held_out.classes), options.out / "classifier.safetensors"
    if not file.exists():
        judge.train(Clips(options.real), options.classifier_steps)
        write(file, judge.network.state_dict(), {})
    judge.network.load_state_dict(read(file)[0])
    judge.network.eval()
    judge.reference = judge.seen(held_out.floats(slice(held_out.middle, None)))[0]
    return judge


def few_steps(pipeline: LadderPipeline) -> DPMSolverMultistepScheduler:
    """A solver of second order for the same flow (Lu et al. 2022)."""
    shift = pipeline.scheduler.config.shift
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )


def beside(report: Report, judge: Judge, held_out: Clips, pipeline: LadderPipeline, options):
    """What needs no diffusion; returns some clips of each."""
    ladder, rows = pipeline.vae.ladder, slice(held_out.middle)
    x, label = held_out.floats(rows), held_out.label[rows]
    report.row("other real clips", lambda: judge(x, label))
    levels = [torch.cat(z) for z in zip(*(ladder.encode(p).levels for p in x.split(32)))]
    for kept in range(1, 1 + len(levels)):
        name = "real, reconstructed" if kept == len(levels) else "real level 0, rest by mean"
        report.row(name, lambda kept=kept: judge(decoded(ladder, levels, kept, SIZE), label))
    alone = ladder_alone(ladder, SIZE, len(x), options)
    report.row("ladder alone", lambda: judge(alone.x, label))
    return {
        "real": x[:SHOWN],
        "reconstructed": decoded(ladder, [z[:SHOWN] for z in levels], len(levels), SIZE),
        "ladder alone": alone.x[:SHOWN],
    }


@torch.no_grad()
def study(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    held_out, report = Clips(options.held_out), Report(options.out)
    with torch.enable_grad():
        judge = judge_of(options, held_out)
    asked = torch.arange(options.samples) % len(held_out.classes)
    shown: dict[str, Tensor] = {}
    for way, folder in (text.split("=", 1) for text in options.ways):
        pipeline = LadderPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        shown = shown or beside(report, judge, held_out, pipeline, options)
        usual = pipeline.scheduler
        solvers = {"Euler": usual} | (
            {"DPM-Solver++": few_steps(pipeline)} if options.solver else {}
        )
        for name, scheduler in solvers.items():
            pipeline.scheduler = scheduler
            for steps in options.steps:

                def measure(pipeline=pipeline, steps: int = steps) -> Row:
                    made = drawn(
                        pipeline, len(asked), steps, asked, options, options.temperature > 0
                    )
                    return made.row | judge(made.x, asked)

                report.row(f"{way}, {name}, {steps} steps", measure)
        pipeline.scheduler = usual
        few = torch.arange(SHOWN) * len(held_out.classes) // SHOWN
        shown[way] = drawn(pipeline, SHOWN, max(options.steps), few, options, False).x
    film = {name: _film(x) for name, x in shown.items()}
    picture(film, options.out / "samples.png")
    replace_text(options.out / "report.md", table(report.rows) + "\n")
    print(table(report.rows))


def _film(x: Tensor) -> Tensor:
    """Three frames of every clip, side by side `[3, H, W']`."""
    return torch.cat([torch.cat(list(clip[:, ::8].unbind(1)), 2) for clip in x], 2)


@command("study_moving")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("real", type=Path, help="clips that ladder and diffusion were trained on")
    add("--held-out", type=Path, required=True, help="others of the same classes")
    add("--ways", nargs="+", required=True, metavar="NAME=PIPELINE")
    add("--out", type=Path, required=True)
    add("--steps", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="of sampling")
    add("--solver", action="store_true", help="also by a solver of second order")
    add("--samples", type=int, default=256)
    add("--classifier-steps", type=int, default=600)
    add("--at-a-time", type=int, default=32)
    add("--temperature", type=float, default=0.0, help="of the ladder's prior (0: its mean)")
    add("--guidance", type=float, default=1.0)
    add("--seed", type=int, default=0)
    began = time.monotonic()
    study(parser.parse_args(arguments))
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    raise SystemExit(main())
