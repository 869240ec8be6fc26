"""Distance of pictures in the features of a frozen picture network (any backbone of `timm`)."""

from __future__ import annotations

import difflib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..hub import only_local

WEIGHTS = "model.safetensors"  # of a backbone on the hub
TINY = 1e-4  # feature vectors shorter than this hold nothing that could be compared


class PerceptualLoss(nn.Module):
    """Squared distance of unit-length feature vectors, after Zhang et al. 2018 (LPIPS), eq. 1.

        d(x, y) = sum over layers, mean over positions of |f(x)/|f(x)| - f(y)/|f(y)||^2

    without the channel weights that LPIPS learns. The backbone is frozen and stays in evaluation
    mode; gradients reach both inputs. Inputs are resized only where the backbone demands it: up to
    its least size, or to the one size that it takes.

    Args:
        backbone: name of a model in `timm`, such as `convnext_atto.d2_in1k`.
        weights: its weights as a safetensors file; by default those on the Hugging Face hub.
        layers: indices of the feature maps to compare, 0 the finest; all by default.

    Raises:
        ValueError: no usable `timm`, backbone, layer or weights; the message says what to do.
    """

    def __init__(
        self, backbone: str, weights: str | None = None, layers: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        timm = _import_timm()
        if not timm.is_model(backbone):
            near = difflib.get_close_matches(backbone, timm.list_models(), n=3, cutoff=0.5)
            hint = f"near names are {', '.join(near)}" if near else "see timm.list_models()"
            raise ValueError(f"timm has no backbone {backbone!r}; {hint}")
        path = _local(weights) if weights else _from_hub(timm, backbone)
        self.net = _features(timm, backbone, path, layers).eval().requires_grad_(False)
        config = self.net.pretrained_cfg
        for name in ("mean", "std"):  # of pictures in [0, 1]
            values = torch.tensor(config[name], dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.fixed_size = config["input_size"][1:] if config.get("fixed_input_size") else None
        coarsest = max(self.net.feature_info.reduction())
        self.least_size = (config.get("min_input_size") or (3, coarsest, coarsest))[1:]

    def train(self, mode: bool = True) -> PerceptualLoss:
        """The backbone's statistics never move."""
        return super().train(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each sample `[B]`, averaged over frames.

        Args:
            x, y: `[B, C, H, W]` or `[B, C, T, H, W]` in [-1, 1], C is 1 or 3.
        """
        if x.shape != y.shape or x.ndim not in (4, 5) or x.shape[1] not in (1, 3):
            raise ValueError(
                f"shapes are {list(x.shape)} and {list(y.shape)}; the perceptual loss compares two "
                "batches of one shape, [B, C, H, W] or [B, C, T, H, W] with 1 or 3 channels"
            )
        terms = []
        for fx, fy in zip(self.unit_features(x), self.unit_features(y), strict=True):
            terms.append((fx - fy).square().sum(1).flatten(1).mean(1))
        return sum(terms).view(x.shape[0], -1).mean(1)

    def unit_features(self, x: Tensor) -> list[Tensor]:
        """Feature maps `[B * T, channels, h, w]`, of length 1 at each position."""
        if x.ndim == 5:
            x = x.transpose(1, 2).flatten(0, 1)
        x = (self._resized(x.float()) * 0.5 + 0.5 - self.mean) / self.std
        maps = self.net(x)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            maps = [f.permute(0, 3, 1, 2) for f in maps]
        return [F.normalize(f.float(), dim=1, eps=TINY) for f in maps]

    def _resized(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.fixed_size:
            size = tuple(self.fixed_size)
        else:
            scale = max(1, self.least_size[0] / height, self.least_size[1] / width)
            size = (round(height * scale), round(width * scale))
        if size == (height, width):
            return x
        return F.interpolate(x, size, mode="bilinear", antialias=True)


def _import_timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name == "timm":
            raise ValueError(
                "the perceptual loss needs timm, which is not installed; "
                "install it with: pip install 'stlatent[perceptual]'"
            ) from None
        raise ValueError(f"timm cannot be imported: {error}") from error
    except Exception as error:  # a torchvision built for another torch raises RuntimeError
        raise ValueError(
            f"timm cannot be imported ({_line(error)}): torchvision {version('torchvision')} does "
            f"not fit torch {torch.__version__}; install the torchvision of the same release and "
            "build (CPU or CUDA) as torch, see https://pytorch.org/get-started"
        ) from error
    return timm


def _local(weights: str) -> Path:
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise ValueError(f"perceptual weights are {weights}; a .safetensors file is needed")
    if not path.is_file():
        raise ValueError(f"perceptual weights {weights} do not exist; give a .safetensors file")
    return path


def _from_hub(timm: ModuleType, backbone: str) -> Path:
    """The backbone's safetensors file on the Hugging Face hub, or in its cache."""
    from huggingface_hub import hf_hub_download

    try:
        repository = getattr(timm.get_pretrained_cfg(backbone), "hf_hub_id", None)
        if not repository:
            raise ValueError("the hub has none")
        local = only_local(repository, WEIGHTS)
        return Path(hf_hub_download(repository, WEIGHTS, local_files_only=local))
    except Exception as error:  # no network, no cache, no such tag: each has its own class
        raise ValueError(
            f"the weights of {backbone} could not be fetched from the hub ({_line(error)}); "
            "name a local .safetensors file as its weights, or another backbone"
        ) from error


def _features(
    timm: ModuleType, backbone: str, path: Path, layers: tuple[int, ...] | None
) -> nn.Module:
    """The backbone up to its last wanted feature map, with the weights of `path`."""
    chosen = {} if layers is None else {"out_indices": layers}
    try:
        net = timm.create_model(backbone, pretrained=False, features_only=True, **chosen)
    except Exception as error:  # timm asserts on layers, and has no common class of errors
        wanted = "feature maps" if layers is None else f"feature maps {list(layers)}"
        raise ValueError(f"{backbone} cannot give {wanted}: {_line(error)}") from error
    try:
        weights = {_comparable(name): value for name, value in load_file(path).items()}
        net.load_state_dict({name: weights[_comparable(name)] for name in net.state_dict()})
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {_line(error)}") from error
    except KeyError as error:
        raise ValueError(f"{path} does not hold the weights of {backbone}: no {error}") from None
    except RuntimeError as error:  # shapes
        raise ValueError(
            f"{path} does not hold the weights of {backbone}: {_line(error)}"
        ) from error
    return net


def _comparable(name: str) -> str:
    """The name of a tensor, the same in a whole timm model and in its feature extractor."""
    return name.removeprefix("model.").replace(".", "_")


def _line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
