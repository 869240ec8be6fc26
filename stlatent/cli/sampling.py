"""The verb `stlatent sample`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import options as shared
from .options import MODEL, Options, Verb

if TYPE_CHECKING:
    from torch import Tensor

    from ..checkpoint import Model


def add_sample(verb: Verb) -> None:
    verb.add_argument("model", metavar="M", help=MODEL)
    verb.add_argument("--frames", type=shared.positive, help="of a video (17)")
    verb.add_argument("--size", type=shared.size, help="HEIGHTxWIDTH (128x128)")
    verb.add_argument(
        "--keep-level",
        type=int,
        action="extend",
        nargs="+",
        default=[],
        metavar="LEVEL",
        help="hold these levels of a real clip or mesh and draw the others; 0 is the coarsest",
    )
    verb.add_argument("--from", dest="source", metavar="FILE", help="a clip, of which the first "
        "frames, central crop, are taken, or a mesh")  # fmt: skip
    verb.add_argument("-n", type=shared.positive, default=1, dest="count", help="how many (1)")
    verb.add_argument("--out", default="samples", metavar="DIR", help="where they go (samples)")
    verb.add_argument("--temperature", type=float, default=1.0, help="of what is drawn (1)")
    verb.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    shared.format(verb)
    shared.resolution(verb, "the model's own")
    shared.machine(verb)
    shared.replace(verb, "files that are there")


def sample(options: Options) -> int:
    if options.keep_level and not options.source:
        raise ValueError("--keep-level holds levels of something real; name it with --from FILE")
    if options.source and not options.keep_level:
        raise ValueError("--from names a file; say with --keep-level which of its levels to hold")
    model = shared.load_model(options.model, options)
    if model.config.reads not in DRAWN:
        raise ValueError("the model's samples are planes, for which there is no file to draw")
    held = DRAWN[model.config.reads](model, options)
    others = [level for level in range(len(model.levels)) if level not in held]
    print(f"{options.out}: {options.count} samples; levels held {held}, drawn {others}")
    return 0


def _clips(model: Model, options: Options) -> list[int]:
    """Videos or pictures to files; the levels that were held."""
    from ..jobs.sample import held_levels
    from ..media.video.clips import centre_clip
    from ..media.video.pixels import to_uint8
    from ..media.video.write import frame_writer, suffix

    still, format = model.domain.causal is None, options.format or "mp4"
    if still and options.frames not in (None, 1):
        raise ValueError(f"--frames is {options.frames}, but an image model draws single pictures")
    size = (1 if still else options.frames or 17, *(options.size or (128, 128)))
    paths, held, fps = _paths(options, suffix(format, still)), {}, None
    if options.source:
        clip, fps = centre_clip(options.source, size)
        if clip.shape[2:] != size:
            given, asked = ("x".join(map(str, shape)) for shape in (clip.shape[2:], size))
            raise ValueError(
                f"{options.source} has {given} (TxHxW) to give, not {asked}; ask for less"
            )
        held = held_levels(model, clip[:, :, 0] if still else clip, options.keep_level)
    draws = _draws(model, options, size[1:] if still else size, held)
    for path, x in zip(paths, draws, strict=True):
        with frame_writer(path, format, still, size, fps) as writer:
            writer.write(to_uint8(x[:, None] if still else x))
    return list(held)


def _shapes(model: Model, options: Options) -> list[int]:
    """Meshes to files; the levels that were held."""
    from ..geometry.read import read_surface
    from ..geometry.values import Values
    from ..geometry.voxelise import field_from_surface
    from ..jobs.decode_shapes import mesh_suffix, write_shapes
    from ..jobs.sample import held_levels
    from ..jobs.shapes import DecodedShape, shape_fields
    from ..triplane.autoencoder import shape_size

    for name in ("frames", "size"):
        if getattr(options, name):
            raise ValueError(f"--{name} is for videos; shapes have --resolution")
    values, held, settings = Values.of(model.config), {}, shape_fields(model.config)
    paths, placement = _paths(options, mesh_suffix(options.format or "glb")), None
    if options.source:
        field = field_from_surface(read_surface(options.source), settings)
        held = held_levels(model, values.from_field(field)[None], options.keep_level)
        placement = field.placement
    draws = _draws(model, options, shape_size(model, settings.resolution), held)
    shapes = (DecodedShape(model, x[None], settings.band_voxels, placement) for x in draws)
    write_shapes(zip(shapes, paths, strict=True), options.resolution)
    return list(held)


DRAWN = {"clips": _clips, "shapes": _shapes}  # by `ModelConfig.reads`


def _paths(options: Options, ending: str) -> list[Path]:
    """Where samples go; ValueError if something lies there that may not be replaced."""
    from ..media.video.write import check_outputs

    paths = [Path(options.out) / f"{i:04d}{ending}" for i in range(options.count)]
    check_outputs(paths, options.replace)
    return paths


def _draws(
    model: Model, options: Options, size: tuple[int, ...], held: dict[int, Tensor]
) -> Iterator[Tensor]:
    from ..jobs.sample import draw_samples

    return draw_samples(model, size, options.count, held, options.temperature, options.seed)
