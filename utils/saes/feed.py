"""Batches from any iterable of tensors or pairs, with a position that a checkpoint can hold."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.saes.config import SAEConfig

Pair = tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch d_out"]]


class Feed:
    """Endless (x, y): starts the iterable again at its end; y is x where it yields tensors.

    If the iterable has `state_dict` and `load_state_dict`, they give and set its position, which
    must be the one after the last batch it yielded. If not, resuming draws and drops as many
    batches as were drawn before: exact for any iterable that yields the same batches again.
    """

    def __init__(
        self, data: Iterable[Tensor] | Iterable[Pair], cfg: SAEConfig, device: torch.device
    ) -> None:
        self.data, self.cfg, self.device = data, cfg, device
        self.n_drawn = 0
        self.iterator: Iterator[Any] | None = None

    def __next__(self) -> Pair:
        """Draw a batch, on the coder's device."""
        item = self._draw()
        x, y = (item, item) if isinstance(item, Tensor) else item
        if x.shape[1] != self.cfg.d_in or y.shape[1] != self.cfg.d_target or len(x) != len(y):
            raise ValueError(
                f"the data has rows of {tuple(x.shape)} and {tuple(y.shape)}, "
                f"the coder takes (batch, {self.cfg.d_in}) and (batch, {self.cfg.d_target})"
            )
        moved = x.to(self.device, non_blocking=True)
        return moved, moved if y is x else y.to(self.device, non_blocking=True)

    def _draw(self) -> Any:
        if self.iterator is None:
            self.iterator = iter(self.data)
        missing = object()
        item = next(self.iterator, missing)
        if item is missing:
            self.iterator = iter(self.data)
            item = next(self.iterator, missing)
        if item is missing:
            raise ValueError(f"the data ended after {self.n_drawn} batches and cannot start again")
        self.n_drawn += 1
        return item

    def state(self) -> dict[str, Any]:
        """The position."""
        keeps = hasattr(self.data, "state_dict") and hasattr(self.data, "load_state_dict")
        reader = self.data.state_dict() if keeps else None  # type: ignore[union-attr]
        return {"n_drawn": self.n_drawn, "reader": reader}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        self.iterator, self.n_drawn = None, 0
        if state["reader"] is not None:
            self.data.load_state_dict(state["reader"])  # type: ignore[union-attr]
            self.n_drawn = state["n_drawn"]
            return
        for _ in range(state["n_drawn"]):
            self._draw()
