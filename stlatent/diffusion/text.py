"""Words as conditions: the captions of a data set through a text encoder of `transformers`, once.

What comes of them lies beside the latents, so that training reads vectors and knows no encoder.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..hub import only_local
from ..store.reader import LatentStore
from ..weights import write

AT_A_TIME = 64
MOST_TOKENS = 256


@torch.no_grad()
def embed(texts: Sequence[str], encoder: str) -> Tensor:
    """A vector of mean square 1 for each text `[N, D]`: the mean of its tokens, as the encoder
    leaves them.

    Args:
        encoder: folder with a text encoder of `transformers` and its tokenizer, or its name on the
            hub; of CLIP and of encoders with a decoder, the part that reads text.

    Raises:
        ValueError: there is none, or `transformers` is not installed.
    """
    tokenizer, model = _opened(encoder)
    parts = []
    for first in range(0, len(texts), AT_A_TIME):
        some = list(texts[first : first + AT_A_TIME])
        # a text of no tokens is told apart by its end
        read = tokenizer(some, padding=True, truncation=True, max_length=MOST_TOKENS,
                         return_tensors="pt")  # fmt: skip
        ids, mask = read["input_ids"], read["attention_mask"]
        if not ids.shape[1]:
            raise ValueError(f"the tokenizer of {encoder} makes nothing of {some[0]!r:.60}")
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        share = mask[..., None] / mask.sum(1).clamp(min=1)[:, None, None]
        parts.append((hidden * share).sum(1))
    vectors = torch.cat(parts)
    return vectors / vectors.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)


def words(asked: Any) -> list[str]:
    """The texts that are asked for, a text or several; none where it is anything else."""
    several = isinstance(asked, Sequence) and not isinstance(asked, str)
    found = list(asked) if several else [asked]
    return found if found and all(isinstance(text, str) for text in found) else []


def captions_file(root: str | Path, encoder: str) -> Path:
    """The vectors of the captions of a data set, by the names of its items, beside its latents;
    they are computed the first time that they are asked for.

    Items without a caption have the vector of an empty one.

    Raises:
        ValueError: no item has a caption, the data set is not on this machine, or see `embed`.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder of this machine, in which vectors of captions lie")
    captions = {name: item.caption or "" for name, item in LatentStore(root).items.items()}
    if not any(captions.values()):
        raise ValueError(f"no item of {root} has a caption; see the captions that encode reads")
    digest = hashlib.sha256(repr((encoder, sorted(captions.items()))).encode()).hexdigest()[:16]
    file = root / f"captions-{digest}.safetensors"
    if not file.exists():
        texts = sorted({*captions.values()})
        found = dict(zip(texts, embed(texts, encoder)))
        vectors = {name: found[text].clone() for name, text in captions.items()}
        write(file, vectors, {"encoder": encoder})
    return file


@functools.lru_cache(maxsize=1)
def _opened(encoder: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise ValueError(
            "a text encoder needs transformers: pip install 'stlatent[text]'"
        ) from None
    try:
        local = Path(encoder).is_dir() or only_local(encoder, "config.json")
        tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=local)
        model = AutoModel.from_pretrained(encoder, use_safetensors=True, local_files_only=local)
    except (OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"condition.encoder is {encoder}, which does not open: {reason}") from None
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    return tokenizer, getattr(model, "text_model", model).eval()
