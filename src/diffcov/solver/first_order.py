"""What solvers of order 1 share: each mean is made of one look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Eta, Step, check_eta
from diffcov.solver.base import Solver
from diffcov.solver.through import THROUGH

__all__ = ["FirstOrder"]


@dataclass(frozen=True)
class FirstOrder(Solver):
    """The posterior mean at x0_hat, written as the subclass says.

    Args:
        eta: 0..1, one number or one a step; 0 adds no noise of its own.

    Raises:
        UsageError: another eta.
    """

    eta: Eta = 0.0

    order = 1
    through = "x_t"

    def __post_init__(self) -> None:
        check_eta(self.eta)

    def walk(self, steps: Sequence[Step]) -> FirstOrder:
        """The solver itself: it remembers nothing."""
        return self

    def mean(self, step: Step, look: Look) -> Tensor:
        """The posterior mean at x0_hat."""
        return THROUGH[self.through](step, look)
