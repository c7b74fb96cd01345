"""``addim``: DDIM whose noise is stretched by what is uncertain in x_0, without any draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step
from diffcov.errors import InputError, UsageError
from diffcov.solver.base import Solver

__all__ = ["ADDIM"]


class ErrorTable(Protocol):
    """What it has to know: E||eps - eps_hat||^2 / d at each time."""

    file: str
    digest: str

    def error_at(self, t: int) -> float:
        """E||eps - eps_hat||^2 / d at t in 1..T."""


@dataclass(frozen=True)
class ADDIM(Solver):
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

    mse: float = 0.75
    table: ErrorTable | None = field(default=None, compare=False, repr=False)

    name = "addim"
    summary = "adjusted DDIM: eps_hat stretched by the table's error, no draw"
    reference = "arXiv 2403.06807, algorithm 3"
    needs = ("table",)
    eta = 0.0
    order = 1
    covers = False

    def __post_init__(self) -> None:
        if not 0 <= self.mse <= 1:
            raise UsageError(f"addim makes up for a share of the squared error between 0 and 1, found {self.mse:g}")

    def walk(self, steps: Sequence[Step]) -> ADDIM:
        """The solver itself: it remembers nothing.

        Raises:
            InputError: it was given no table.
        """
        if self.table is None:
            raise InputError("addim needs a variance table and was given none; use Solver.given")
        return self

    def mean(self, step: Step, look: Look) -> Tensor:
        """The mean, whose stretch is of each image; x0_hat at s = 0."""
        assert self.table is not None
        if step.s == 0:
            return look.x0_hat
        error = float(step.schedule.ratio[step.t]) * self.table.error_at(step.t)
        grown = step.gamma**2 * self.mse * error / look.eps_hat.square().mean((-3, -2, -1), keepdim=True)
        return math.sqrt(step.alpha_bar_s) * look.x0_hat + (step.direction**2 + grown).sqrt() * look.eps_hat
