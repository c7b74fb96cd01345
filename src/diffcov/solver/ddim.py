"""``ddim``: the family with any eta, whose mean is written through (x0_hat, eps_hat)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step, check_eta
from diffcov.solver.base import Solver

__all__ = ["DDIM"]


@dataclass(frozen=True)
class DDIM(Solver):
    """sqrt(abar_s) x0_hat + direction * eps_hat, eps_hat as predicted also where x0_hat was clipped.

    Args:
        eta: 0..1; 0 adds no noise of its own.

    Raises:
        UsageError: another eta.
    """

    eta: float = 0.0

    name = "ddim"
    summary = "the probability flow at eta 0, noise between that and the Markov chain's above"
    reference = "arXiv 2010.02502, equation 12"
    order = 1

    def __post_init__(self) -> None:
        check_eta(self.eta)

    @classmethod
    def of(cls, eta: float | None) -> Self:
        return cls() if eta is None else cls(eta)

    def walk(self) -> Self:
        """The solver itself: it remembers nothing."""
        return self

    def mean(self, step: Step, look: Look) -> Tensor:
        """The posterior mean at (x0_hat, eps_hat)."""
        return step.mean_from_eps(look.x0_hat, look.eps_hat)
