"""The page that a model has on the hub: what it is, what it was trained on, what prefixes give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from pydantic import BaseModel

from ..checkpoint import Model
from ..media.base import Medium
from ..model.config import dump

TEMPLATE = """\
---
library_name: stlatent
license: {licence}
tags: [stlatent, autoencoder, hierarchical, {domain}]
---

# {name}

A hierarchical autoencoder of {what}, in {count} levels, each prefix of which decodes. \
{parameters:.2f} M parameters.

![original, then every prefix of levels](picture.png)

```python
import stlatent

model = stlatent.load("{name}")  # pip install stlatent
latents = model.encode(x)  # {shape} in [-1, 1], of any size
coarse = model.decode(latents, levels=1)
```

```bash
stlatent encode DATA --model {name} --out latents/
```

## Levels

{levels}

## What prefixes give

Measured on {measured}.

{figures}

## Data

{data}

## Config

```yaml
{config}```
"""


def card(
    name: str,
    model: Model,
    medium: Medium,
    figures: Mapping[str, Sequence[float]],
    measured: Sequence[str],
    data: str,
    licence: str,
) -> str:
    """Markdown with the metadata that the hub reads.

    Args:
        figures: of every prefix, and bits per value of every level.
        measured: names of what they were measured on.
        data: what the model was trained on, in words.
        licence: its identifier, such as `apache-2.0`; `other` where none is given.
    """
    shown = ", ".join(f"`{one}`" for one in measured[:8])
    return TEMPLATE.format(
        name=name,
        licence=licence,
        domain=model.config.domain,
        what=medium.what,
        count=len(model.levels),
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        shape=f"[B, {model.config.read_channels}, *axes]",
        levels=_levels(model),
        measured=f"{len(measured)} held out: {shown}" if measured else "nothing",
        figures=_figures(medium, figures),
        data=data,
        config=dump(model.config),
    )


def told(run: BaseModel) -> dict[str, object]:
    """What may be said of a run's data: all that is no path of its user's machine."""
    return {
        key: told(value) if isinstance(value, BaseModel) else value
        for key, value in run
        if not isinstance(value, PurePath) and value is not None
    }


def _levels(model: Model) -> str:
    rows = [
        f"| {k} | {'×'.join(map(str, level.stride))} | {level.latent * level.groups} |"
        for k, level in enumerate(model.levels)
    ]
    return "| level | stride | channels |\n|---|---|---|\n" + "\n".join(rows)


def _figures(medium: Medium, figures: Mapping[str, Sequence[float]]) -> str:
    first = medium.figures[0]
    names = {first.key: first.title, "bits_per_value": "bits per value of the level"}
    head = f"| levels | {' | '.join(names.values())} |\n|---|{'---|' * len(names)}"
    columns = zip(*(figures[key] for key in names), strict=True)
    rows = [
        f"| {'0' if k == 0 else f'0–{k}'} | {' | '.join(_number(value) for value in values)} |"
        for k, values in enumerate(columns)
    ]
    return "\n".join([head, *rows])


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
