"""``unipc``: a predictor of order p in lambda, and a corrector that the next look pays for; order 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Eta, Step
from diffcov.solver.lam import half_log_snr, moments, speed
from diffcov.solver.multistep import Multistep, MultistepWalk, Seen

__all__ = ["UniPC"]


@dataclass(frozen=True)
class UniPC(Multistep):
    """UniP predicts x_s; once the network has looked there, UniC corrects where it stands before the next step.

    Both are combinations of differences of x0_hat whose weights solve a Vandermonde system in lambda (B(h) = exp(h) -
    1). The look at the predicted point is not repeated at the corrected one, so K steps are K calls. Noise that was
    added since stays where it is: only the mean is corrected.

    Args:
        eta: 0..1, one number or one a step.
    """

    eta: Eta = 0.0

    name = "unipc"
    summary = "UniPC: predictor and corrector in x0_hat, one call a step"
    reference = "arXiv 2302.04867, algorithms 1 and 2 (data prediction, B_2)"

    @property
    def accuracy(self) -> int:
        """The corrector gains an order."""
        return self.order + 1

    def walk(self, steps: Sequence[Step]) -> UniPCWalk:
        """A walk that has seen nothing."""
        return UniPCWalk(self, len(steps))

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """That of UniP; with two looks it is h / (2 h') (x0_hat(t) - x0_hat(u))."""
        places = _places(step, seen)
        weights = [0.5] if len(seen) == 2 else _weights(places, speed(step))
        return _combined(weights, places, seen)

    def correction(self, step: Step, seen: Sequence[Seen], arrived: Seen) -> Tensor:
        """The trend of a step that was taken, now that the network has looked at where it led."""
        places = [*_places(step, seen), 1.0]
        looks = [*seen, arrived]
        weights = [0.5] if len(looks) == 2 else _weights(places, speed(step))
        return _combined(weights, places, looks)


class UniPCWalk(MultistepWalk):
    """One walk, which remembers the last step to correct it."""

    solver: UniPC

    def __init__(self, solver: UniPC, steps: int) -> None:
        super().__init__(solver, steps)
        self.taken: tuple[Step, list[Seen], Tensor | float] | None = None

    def mean(self, step: Step, look: Look) -> Tensor:
        """Correct x_t, then predict x_s from there."""
        shift: Tensor | float = 0.0
        if self.taken is not None:
            before, looks, trend = self.taken
            shift = self.solver.weight * before.gamma * (self.solver.correction(before, looks, Seen.of(look)) - trend)
        seen = self.see(look)
        plain = self.solver.plain(step, look)
        trend = self.solver.trend(step, seen) if len(seen) > 1 else 0.0
        self.taken = step, seen, trend
        carried = step.direction / math.sqrt(step.beta_bar_t)
        return plain + carried * shift + self.solver.weight * step.gamma * trend


def _places(step: Step, seen: Sequence[Seen]) -> list[float]:
    """Where earlier looks stand in lambda, x_t being 0 and x_s 1; those at minus infinity are far enough."""
    lambdas = [half_log_snr(step.schedule, one.t) for one in seen]
    h = half_log_snr(step.schedule, step.s) - lambdas[0]
    return [max((place - lambdas[0]) / h, -1e12) for place in lambdas[1:]]


def _weights(places: Sequence[float], H: float) -> list[float]:
    """The weights of the differences that make polynomials exact: sum_j weight_j place_j^(n-1) is the mean of r^n."""
    system = np.vander(np.asarray(places), len(places), increasing=True).T
    return [float(one) for one in np.linalg.solve(system, np.asarray(moments(H, len(places))))]


def _combined(weights: Sequence[float], places: Sequence[float], looks: Sequence[Seen]) -> Tensor:
    """sum_j weight_j (x0_hat_j - x0_hat_0) / place_j."""
    first = looks[0].x0_hat
    total = torch.zeros_like(first)
    for weight, place, look in zip(weights, places, looks[1:], strict=True):
        total = total + (weight / place) * (look.x0_hat - first)
    return total
