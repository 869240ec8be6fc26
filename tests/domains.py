"""Small ladders over every domain, with weights that are anything but zero: shared by the tests."""

import torch

from stlatent import Ladder, Level, ModelConfig, Stage

SIZES = {  # deliberately no multiple of any stride
    "image": (37, 50),
    "video": (14, 37, 50),
    "audio": (46,),
    "voxel": (13, 18, 10),
    "volumes": (6, 9, 13, 10),
    "triplane": (3, 22, 22),
}
STRIDES = {
    "image": [(16, 16), (8, 8), (4, 4), (2, 2)],
    "video": [(8, 16, 16), (4, 16, 16), (4, 8, 8), (2, 4, 4)],
    "audio": [(16,), (8,), (4,), (2,)],
    "voxel": [(8, 8, 8), (4, 4, 4), (2, 2, 2), (1, 1, 1)],
    "volumes": [(4, 8, 8, 8), (4, 4, 4, 4), (2, 4, 4, 4), (2, 2, 2, 2)],
    "triplane": [(1, 16, 16), (1, 8, 8), (1, 4, 4), (1, 2, 2)],
}
SPARSE_CONFIG = {  # what small sparse models have in common; levels and cube are each test's own
    "domain": "sparse",
    "channels": 1,
    "likelihood": "laplace",
    "stem": {"stride": [4] * 3, "width": 16},
}
WITH_SPACE = [name for name in SIZES if name != "audio"]
VARIANTS = [*SIZES, "video-joint", "video-spread", "triplane-spread", "video-recall"]
VARIANTS += ["video-motion"]


def config(variant: str, **changes) -> ModelConfig:
    """Three levels, the middle one of two groups; `-joint`: space and time at once; `-spread`:
    coded features tell the others of their neighbours; `-recall`: priors remember two units;
    `-motion`: level 0 tells it."""
    domain, _, option = variant.partition("-")
    *levels, stem = STRIDES[domain]
    values = {
        "domain": domain,
        "channels": 3,
        "stem": Stage(stride=stem, width=12, blocks=1),
        "levels": tuple(
            Level(
                stride=stride,
                width=16,
                latent=4 + level,
                groups=1 + (level == 1),
                blocks=1,
                attention=level == 0,
            )
            for level, stride in enumerate(levels)
        ),
        "factorised": option != "joint",
        "spread": 3 if option == "spread" else 1,
        "recall": 2 if option == "recall" else 0,
        "motion": option == "motion",
    }
    return ModelConfig(**values | changes)


def ladder(variant: str, **changes) -> Ladder:
    torch.manual_seed(0)
    model = Ladder(config(variant, **changes)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return model


def batch(variant: str, size: tuple[int, ...] | None = None, count: int = 2) -> torch.Tensor:
    size = size or SIZES[variant.partition("-")[0]]
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, *size, generator=generator) * 2 - 1
