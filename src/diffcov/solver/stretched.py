"""What adjusted DDIM and its kin share: eps_hat is stretched by what is uncertain in x_0, without any draw."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step
from diffcov.errors import UsageError
from diffcov.solver.base import Solver

__all__ = ["Stretched"]


@dataclass(frozen=True)
class Stretched(Solver):
    """sqrt(abar_s) x0_hat, and the noise as the subclass stretches it; the step to the data is x0_hat.

    Args:
        mse: the share of the measured squared error that is made up for, 0..1; 0.75 as published.

    Raises:
        UsageError: another share.
    """

    mse: float = 0.75

    eta = 0.0
    order = 1
    covers = False

    def __post_init__(self) -> None:
        if not 0 <= self.mse <= 1:
            raise UsageError(
                f"{self.name} makes up for a share of the squared error between 0 and 1, found {self.mse:g}"
            )

    def walk(self, steps: Sequence[Step]) -> Self:
        """The solver itself: it remembers nothing.

        Raises:
            InputError: it was not given what it needs.
        """
        self.check_given()
        return self

    def mean(self, step: Step, look: Look) -> Tensor:
        """The mean, (B, C, H, W); x0_hat at s = 0."""
        if step.s == 0:
            return look.x0_hat
        return math.sqrt(step.alpha_bar_s) * look.x0_hat + self.stretched(step, look.eps_hat)

    @abstractmethod
    def stretched(self, step: Step, eps_hat: Tensor) -> Tensor:
        """The noise of x_s, (B, C, H, W), which is direction eps_hat where nothing is uncertain.

        Args:
            step: the step, with s > 0.
            eps_hat: (B, C, H, W).
        """
