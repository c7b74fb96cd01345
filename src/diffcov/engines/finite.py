"""Where a number stopped being one, without a wait at every step to ask."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.errors import NonFiniteError

__all__ = ["Watch"]


class Watch:
    """Remembers whether quantities along a chain were numbers; read once, at its end, so that no step waits for it."""

    def __init__(self) -> None:
        self._flags: list[Tensor] = []
        self._where: list[tuple[str, int]] = []

    def see(self, quantity: str, t: int, value: Tensor) -> None:
        """Look at a quantity of the step from t. Only its sum is looked at, which keeps it to one pass."""
        self._flags.append(torch.isfinite(value.sum()))
        self._where.append((quantity, t))

    def first(self) -> tuple[str, int] | None:
        """The quantity and the time at which NaN or infinity appeared first; None if it never did."""
        if not self._flags:
            return None
        found = torch.stack(self._flags).cpu()
        return None if bool(found.all()) else self._where[int((~found).nonzero()[0])]

    def require(self, doing: str, advice: str) -> None:
        """Raise NonFiniteError if anything was NaN or infinite.

        Args:
            doing: what was being done, for the message.
            advice: what to do next.
        """
        first = self.first()
        if first is not None:
            quantity, t = first
            raise NonFiniteError(f"NaN or infinity {doing}, first in {quantity} at t={t}; {advice}")
