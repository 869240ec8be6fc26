"""Train a diffusion model on latents with nothing but diffusers and accelerate. Copy and change it.

    stlatent encode CLIPS --model video --out latents/
    python tools/train_latent_diffusion.py latents/ --levels 0 --out diffusion/
    accelerate launch tools/train_latent_diffusion.py latents/ --out diffusion/   # all GPUs

Flow matching on the chosen levels, packed and whitened, with a transformer over all positions, and
classes if items lie in a folder per class. The same command goes on where it stopped. What it does
not do, `stlatent train configs/diffusion/*.yaml` does: cascades, embeddings, held-out losses,
and a pipeline that decodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from stlatent.cli.outcome import command
from stlatent.diffusion.groups import order
from stlatent.files import resumable
from stlatent.store.dataset import LatentDataset
from stlatent.store.labels import folder_classes
from stlatent.store.windows import collate
from stlatent.train import state
from stlatent.train.optimiser import AveragedWeights

DROPOUT = 0.1  # of classes, for guidance


def denoise(model: FluxTransformer2DModel, z: Tensor, t: Tensor, vector: Tensor) -> Tensor:
    """Velocity of latents `[B, C, *grid]` at times `[B]` in [0, 1]; one token per position."""
    ranges = [torch.arange(1, n + 1, device=z.device) for n in z.shape[2:]]
    places = torch.cartesian_prod(*ranges).view(-1, len(ranges)).to(z)
    out = model(
        hidden_states=z.flatten(2).transpose(1, 2),
        encoder_hidden_states=vector[:, None],  # the condition is a token at the origin
        pooled_projections=vector,
        timestep=t,
        img_ids=places,
        txt_ids=places.new_zeros(1, len(ranges)),
        return_dict=False,
    )[0]
    return out.transpose(1, 2).unflatten(2, z.shape[2:])


def one_hot(labels: Tensor | None, count: int, classes: int, device: torch.device) -> Tensor:
    """Classes `[B]` as vectors `[B, classes + 1]`; the last place stands for none."""
    if labels is None:
        labels = torch.full((count,), classes, device=device)
    return F.one_hot(labels, classes + 1).float()


def new_model(channels: int, axes: int, condition: int, width: int, depth: int):
    """Blocks of a single stream, which begin as the identity (Peebles & Xie 2023, DiT)."""
    head = 48  # shared out among 2 or 3 coordinates
    model = FluxTransformer2DModel(
        in_channels=channels,
        num_layers=0,
        num_single_layers=depth,
        attention_head_dim=head,
        num_attention_heads=width // head,
        joint_attention_dim=condition,
        pooled_projection_dim=condition,
        axes_dims_rope=[head // axes] * axes,
    )
    layers = [block.norm.linear for block in model.single_transformer_blocks]
    for layer in (*layers, model.norm_out.linear, model.proj_out):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def loss_of(model, x: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Flow matching: between data and noise, say in which direction noise lies."""
    u = compute_density_for_timestep_sampling("logit_normal", len(x), 0.0, 1.0, device=x.device)
    t, noise = u.view(-1, *[1] * (x.ndim - 1)), torch.randn_like(x)
    if labels is not None:
        dropped = torch.rand(len(x), device=x.device) < DROPOUT
        labels = torch.where(dropped, classes, labels)
    vector = one_hot(labels, len(x), classes, x.device)
    return F.mse_loss(denoise(model, (1 - t) * x + t * noise, u, vector).float(), noise - x)


def open_data(options: argparse.Namespace) -> tuple[LatentDataset, list[str]]:
    """Packed latents, and the names of their classes, if these are asked for."""
    labels, classes = None, []
    if options.classes:
        labels, classes = folder_classes(LatentDataset(options.latents).names)
    how = {"packed": True, "labels": labels}
    return LatentDataset(options.latents, options.levels, options.length, **how), classes


def train(options: argparse.Namespace) -> None:
    accelerator = Accelerator(mixed_precision=options.precision)
    data, classes = open_data(options)
    channels, *grid = data[0].latents.shape
    torch.manual_seed(0)
    model = new_model(channels, len(grid), len(classes) + 1, options.width, options.depth)
    model = model.to(accelerator.device)
    average = AveragedWeights(model, 0.9995)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01)
    wrapped, optimiser = accelerator.prepare(model, optimiser)
    parts, step = ({"model": model, "average": average.model}, {"optimiser": optimiser}), 0
    file = options.out / "state.safetensors"
    if file.exists():
        step = state.load(file, *parts)["step"]
    torch.manual_seed(step)
    ranks = accelerator.process_index, accelerator.num_processes
    batches = order(len(data), options.batch_size, 0, step, *ranks)
    loader = DataLoader(
        data, batch_sampler=batches, collate_fn=collate, num_workers=options.workers
    )
    bar = tqdm(loader, initial=step, total=options.steps, disable=not accelerator.is_main_process)
    for batch in bar:
        if step >= options.steps:
            break
        asked = batch.label.to(accelerator.device) if len(batch.label) else None
        with accelerator.autocast():
            loss = loss_of(wrapped, batch.latents.to(accelerator.device), asked, len(classes))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update(model, step)
        step += 1
        bar.set_postfix(loss=f"{float(loss.detach()):.4f}", refresh=False)
        if accelerator.is_main_process and (
            step % options.save_every == 0 or step == options.steps
        ):
            state.save(file, *parts, {"step": step})
            average.model.save_pretrained(options.out / "transformer")
            FlowMatchEulerDiscreteScheduler().save_pretrained(options.out / "scheduler")


@command("train_latent_diffusion")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("latents", type=Path, help="a data set made by `stlatent encode`")
    parser.add_argument("--levels", type=int, nargs="+", help="such as 0, or 0 1 (all)")
    parser.add_argument("--length", type=int, help="steps of level 0 per sample (whole items)")
    parser.add_argument("--classes", action="store_true", help="are the folders of the items")
    parser.add_argument("--width", type=int, default=384, help="a multiple of 48")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32, help="per process")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--save-every", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--precision", choices=["no", "bf16", "fp16"], default="no")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
