"""What the loop needs to know of what it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from diffcov.training.batches import Batch

__all__ = ["Objective"]


class Objective(Protocol):
    """A module to train and its losses."""

    @property
    def module(self) -> nn.Module:
        """What is trained: its parameters go to the optimiser and into the average."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Per-image losses (B,) float32 by name; the loop minimises the sum of their means."""
