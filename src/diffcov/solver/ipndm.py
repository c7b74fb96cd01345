"""``ipndm``: Adams and Bashforth's formulas on eps_hat in steps of sigma, of order 1 to 4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from diffcov.diffusion.step import Step
from diffcov.solver.multistep import Multistep, Seen

__all__ = ["IPNDM"]

ADAMS = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
"""Weights of eps_hat, that at x_t first, by order."""


@dataclass(frozen=True)
class IPNDM(Multistep):
    """y_s = y_t + (sigma_s - sigma_t) times Adams and Bashforth's combination of the last eps_hat, y = x / sqrt(abar).

    The weights are those of equal steps whatever the steps are, as published: its order is reached on grids that are
    even in sigma.
    """

    order: int = 3
    through: str = "eps_hat"

    name = "ipndm"
    summary = "Adams-Bashforth on eps_hat in sigma, weights of equal steps"
    reference = "arXiv 2204.13902, section 3.3; weights of 2202.09778"
    eta = 0.0
    orders: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """-sigma_t (the combination - eps_hat), with differences of neighbours: they lose no digits."""
        weights = ADAMS[len(seen)]
        sigma = math.sqrt(step.schedule.ratio[step.t])
        total = torch.zeros_like(seen[0].eps_hat)
        for number, (newer, older) in enumerate(pairwise(seen), start=1):
            total = total + math.fsum(weights[number:]) * (older.eps_hat - newer.eps_hat)
        return -sigma * total
