"""What the loop needs to know of what it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from diffcov.engines.training.batches import Batch

__all__ = ["Objective", "Stopping"]


class Objective(Protocol):
    """A module to train and its losses."""

    @property
    def module(self) -> nn.Module:
        """What is trained: its parameters go to the optimiser and into the average."""

    @property
    def parts(self) -> Sequence[nn.Module]:
        """Parts of it whose gradients are clipped apart from one another, so that none disturbs the others."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Per-image losses (B,) float32 by name; the loop minimises the sum of their means."""


class Stopping(Protocol):
    """What judges a training on the way, and may end it."""

    @property
    def over(self) -> bool:
        """Whether to end it."""

    def due(self, iteration: int) -> bool:
        """Whether to judge it after so many iterations."""

    def evaluate(self, iteration: int, averaged: nn.Module) -> Any:
        """Judge the averaged weights; returns what was found, for the log."""

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`tensors`."""
