"""What a stream remembers from one chunk to the next."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Past:
    """What a causal stream remembers between chunks, as a value.

    Each causal convolution finds in the state, under its name, the last steps it saw, and leaves
    its newest ones there; at the start of a stream they are zeros. `state` after the pass is the
    state for the next chunk; two streams never touch. A layer that runs again over the same chunk,
    as recomputed activations do, finds and leaves the same.

    Args:
        state: of the pass over the chunk before; None at the start of a stream.
        anew: in the middle of a stream of which nothing is remembered.
        rate: what the layers of this pass are told of λ, see `dial.py`; None before it begins, and
            where a model takes none.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor] | None = None,
        anew: bool = False,
        rate: Tensor | None = None,
    ) -> None:
        self.rate = rate
        self.started, self.anew = state is not None or anew, anew
        self._before = state or {}
        self._after: dict[str, Tensor] = {}

    @property
    def state(self) -> dict[str, Tensor]:
        """What each layer that this pass has been through remembers, by name."""
        return dict(self._after)

    def extend(self, layer: str, x: Tensor, dim: int, steps: int) -> Tensor:
        """Put the `steps` steps that came before `x` in front of it along `dim`.

        Raises:
            ValueError: the state is that of other layers, such as a decoder's given to an encoder.
        """
        if self.started and not self.anew:
            if layer not in self._before:
                raise ValueError(
                    f"the state of the stream lacks layer '{layer}': give that of the "
                    f"same model and direction"
                )
            before = self._before[layer]
        else:
            before = x.new_zeros(*x.shape[:dim], steps, *x.shape[dim + 1 :])
        # joined in the order of memory, so that channels stay last
        x = torch.cat([before.movedim(1, -1), x.movedim(1, -1)], dim - 1).movedim(-1, 1)
        last = x.detach().narrow(dim, x.shape[dim] - steps, steps)
        self._after[layer] = last.clone()  # a view would keep all of x alive
        return x

    def window(self, layer: str, x: Tensor, dim: int, steps: int) -> Tensor:
        """Put what came before `x`, at most `steps` steps of it and at the start none, in front of
        it along `dim`: for layers that make a start of their own."""
        if self.started and not self.anew:
            x = torch.cat([self._before[layer], x], dim)
        kept = min(steps, x.shape[dim])
        self._after[layer] = x.detach().narrow(dim, x.shape[dim] - kept, kept).clone()
        return x

    def recall(self, layer: str) -> dict[str, Tensor]:
        """What was left under `layer` with `keep`, by name; nothing at the start of a stream."""
        start = f"{layer}/"
        return {k.removeprefix(start): v for k, v in self._before.items() if k.startswith(start)}

    def keep(self, layer: str, tensors: Mapping[str, Tensor]) -> None:
        """Leave `tensors` under `layer`: for layers that know themselves what they remember."""
        self._after |= {f"{layer}/{name}": x.detach() for name, x in tensors.items()}
