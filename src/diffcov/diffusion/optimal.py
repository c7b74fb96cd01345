"""The cheapest grid of every length, as a search found them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffcov.diffusion.grid import Grid
from diffcov.errors import UsageError

__all__ = ["OptimalGrids"]


@dataclass(frozen=True)
class OptimalGrids:
    """The grids of length K = 1..M that a search over M candidate times found cheapest.

    Attributes:
        T: number of trained steps.
        cost: (M+1,) float64, -ELBO in nats an image at index K; entry 0 is +inf.
        packed: int32 (M (M+1) / 2,), the times of K = 1, then those of K = 2, and so on.
    """

    T: int
    cost: Tensor
    packed: Tensor

    @property
    def longest(self) -> int:
        """M, the number of candidates."""
        return self.cost.numel() - 1

    def grid(self, K: int) -> Grid:
        """The best K times.

        Raises:
            UsageError: a K outside 1..M.
        """
        if not 1 <= K <= self.longest:
            raise UsageError(
                f"optimal grids were searched among {self.longest} times, and {K} steps were asked for; "
                "choose fewer --steps, or search among more: diffcov trajectory --candidates"
            )
        start = K * (K - 1) // 2
        return Grid("optimal", self.T, tuple(int(t) for t in self.packed[start : start + K]))
