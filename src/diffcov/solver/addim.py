"""``addim``: DDIM whose noise is stretched by what is uncertain in x_0, without any draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from diffcov.diffusion.step import Step
from diffcov.solver.stretched import Stretched

__all__ = ["ADDIM"]


class ErrorTable(Protocol):
    """What it has to know: E||eps - eps_hat||^2 / d at each time."""

    file: str
    digest: str

    def error_at(self, t: int) -> float:
        """E||eps - eps_hat||^2 / d at t in 1..T."""


@dataclass(frozen=True)
class ADDIM(Stretched):
    """sqrt(abar_s) x0_hat + sqrt(direction^2 + gamma^2 mse var_x0 d / ||eps_hat||^2) eps_hat.

    var_x0 = r E||eps - eps_hat||^2 / d is the table's mean squared error of x0_hat, so that ||x_s||^2 grows as if noise
    of that covariance had been added. The correlation of eps_hat with x0_hat is left out, as published; for Gaussian
    data the variance is then not exact, and ``spectral-ei`` is what becomes of it with that term, per frequency. The
    step to the data is x0_hat, as every solver's is here: nothing is made up for where no noise would be added.

    Args:
        mse: the share of the measured squared error that is made up for, 0..1; 0.75 as published.
        table: the table; see :meth:`given`.

    Raises:
        UsageError: another share.
    """

    table: ErrorTable | None = field(default=None, compare=False, repr=False)

    name = "addim"
    summary = "adjusted DDIM: eps_hat stretched by the table's error, no draw"
    reference = "arXiv 2403.06807, algorithm 3"
    needs = ("table",)

    def stretched(self, step: Step, eps_hat: Tensor) -> Tensor:
        """Each image by one factor."""
        assert self.table is not None
        error = float(step.schedule.ratio[step.t]) * self.table.error_at(step.t)
        grown = step.gamma**2 * self.mse * error / eps_hat.square().mean((-3, -2, -1), keepdim=True)
        return (step.direction**2 + grown).sqrt() * eps_hat
