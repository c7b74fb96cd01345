"""A Gaussian whose variance lies between beta_tilde and beta of a step, at a place that is told: a learned range."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.diffusion.step import Step
from diffcov.gaussian.diagonal import Diagonal
from diffcov.gaussian.nats import kl_lifted

__all__ = ["Ranged"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranged(Diagonal):
    """log var_xs = fraction log beta_ts + (1 - fraction) log beta_tilde, of whichever step (s, t).

    No single uncertainty of x_0 lifts to that. With rho = gamma^2 / lambda2 of a DDPM step,

        beta_ts / beta_tilde = beta_bar_t / beta_bar_s = 1 + rho beta_bar_t

    so that, for each step, the lift of var_x0(rho) = ((1 + rho beta_bar_t)^fraction - 1) / rho is that variance: 0 at
    fraction 0 and beta_bar_t at fraction 1, as ``small`` and ``large`` have them. For short steps, which those of the
    trained chain are, it is fraction * beta_bar_t: ``var`` holds this, and calibration reads it.

    Attributes:
        fraction: (B, C, H, W) float64, 0 at beta_tilde and 1 at beta_ts; other numbers go beyond.
        beta_bar: beta_bar_t of the look.
        most: the largest var_x0 that is let through.
        share: of var_x0, that is put back.
    """

    fraction: Tensor
    beta_bar: float
    most: float = math.inf
    share: float = 1.0

    @classmethod
    def of(cls, fraction: Tensor, beta_bar: float) -> Ranged:
        """The range's own variance at each place in it, not clipped."""
        place = fraction.double()
        return cls(PIXEL, place * beta_bar, fraction=place, beta_bar=beta_bar)

    def clipped(self, var_pixel: float) -> Ranged:
        """The same, with var_x0 between 0 and ``var_pixel`` in each step."""
        return replace(self, var=self.var.clamp(0.0, var_pixel), unclipped=self.var, most=var_pixel)

    def shared(self, share: float) -> Ranged:
        """The same with a share of var_x0 in each step."""
        return replace(self, var=share * self.var, share=share * self.share)

    def lifted(self, step: Step) -> Diagonal:
        """Cov[x_s | x_t] itself; at s = 0, where beta_tilde is 0, its limit."""
        below = torch.tensor(step.beta_bar_s / step.beta_bar_t, dtype=torch.float64)
        var = step.beta_ts * torch.special.xlogy(1 - self.fraction, below).exp()
        var = var.clamp(step.lambda2, step.lambda2 + step.gamma**2 * self.most)
        return Diagonal(PIXEL, var if self.share == 1 else step.lambda2 + self.share * (var - step.lambda2))

    def kl_lifted(self, error: Tensor, rho: Tensor) -> Tensor:
        """Nats (S, B) as of any other Gaussian, each arrival with the var_x0 of its own step."""
        error_sq, fraction = error.square().flatten(1), self.fraction.expand_as(error).flatten(1)
        nats = []
        for gain in rho.to(error.device):
            var = (torch.expm1(fraction * (gain * self.beta_bar).log1p()) / gain).clamp(0.0, self.most)
            nats.append(kl_lifted(gain, error_sq, self.share * var).sum(-1))
        return torch.stack(nats)
