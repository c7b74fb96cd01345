"""Exponential moving average of a module's parameters, warmed up so that short runs are not stuck at their start."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["EMA", "ema_decay"]


def ema_decay(limit: float, updates: int) -> float:
    """The decay of update number ``updates`` (0-based): min(limit, (1 + n) / (10 + n)).

    With a constant 0.9999, 82 % of the initial weights would still be there after 2000 updates.
    """
    return min(limit, (1 + updates) / (10 + updates))


class EMA:
    """A second copy of a module that follows it slowly; the copy is in eval mode and never trained.

    Args:
        module: what to follow.
        limit: the largest decay, in [0, 1).
    """

    def __init__(self, module: nn.Module, limit: float) -> None:
        self.limit = limit
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.updates = 0
        self._averaged: list[Tensor] = list(self.module.parameters())
        self._current: list[Tensor] = []
        self._followed: nn.Module | None = None

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """averaged = decay * averaged + (1 - decay) * current, for every parameter; buffers are copied.

        Walking over the modules costs as much as the update, so the parameters of the module that was followed last are
        kept: they must stay the objects that they are, whatever they hold.
        """
        if module is not self._followed:
            self._followed, self._current = module, list(module.parameters())
            self._buffers = list(zip(self.module.buffers(), module.buffers(), strict=True))
        torch._foreach_lerp_(self._averaged, self._current, 1 - ema_decay(self.limit, self.updates))
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
        self.updates += 1
