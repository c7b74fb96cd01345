"""``ddpm``: the Markov chain, whose mean is written through (x0_hat, x_t)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step, check_eta
from diffcov.errors import UsageError
from diffcov.solver.base import Solver

__all__ = ["DDPM"]


@dataclass(frozen=True)
class DDPM(Solver):
    """gamma x0_hat + direction / sqrt(bbar_t) x_t, with eta = 1.

    Along the exact reverse chain x0_hat(x_t) = E[x_0 | x_t] is a martingale, so the mean is exact after one look and
    earlier looks have nothing to add: the covariance is all that is left.
    """

    name = "ddpm"
    summary = "the Markov chain; has a bound on the likelihood"
    reference = "arXiv 2006.11239, equation 7"
    eta = 1.0
    order = 1
    why_no_bound = None

    @classmethod
    def of(cls, eta: float | None) -> Self:
        if eta is not None:
            check_eta(eta)
        if eta not in (None, 1):
            raise UsageError(f"ddpm has eta 1, but {eta:g} was asked for; use --solver ddim --eta {eta:g}")
        return cls()

    def walk(self) -> Self:
        """The solver itself: it remembers nothing."""
        return self

    def mean(self, step: Step, look: Look) -> Tensor:
        """The posterior mean at x0_hat."""
        return step.mean_from_x_t(look.x0_hat, look.x_t)
