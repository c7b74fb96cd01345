"""``full-ei``: the matrices as a solver, an exponential integrator in the directions of the data; order 1 and 2.

The flow of Gaussian data obeys d eps_hat / d ln sigma = R eps_hat with R(sigma) = E[(eps - eps_hat)(eps - eps_hat)^T].
All these R are functions of the data's covariance, so they have their eigenvectors in common, and one look is exact
whatever that covariance is. Of other data they do not quite commute; then each step takes one basis, the eigenvectors
of

    Omega = int_{sigma_s}^{sigma_t} R d ln sigma,

and of R in it the diagonal. exp(-Omega) is what the equation above leaves of eps_hat to the first term of its Magnus
series, and it is diagonal there; what is left out are commutators of R at different times of one step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from diffcov.basis.dense import Dense
from diffcov.basis.separable import Separable
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.solver.exponential import ExponentialIntegrator, Rates

__all__ = ["ErrorMatrices", "FullEI"]


class ErrorMatrices(Protocol):
    """What it has to know: E[c c^T] of the cosine coefficients c = U (eps - eps_hat), at M knots."""

    file: str
    digest: str
    basis: Separable
    shape: tuple[int, int, int]

    def knot_weights(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, M) float64: how logarithms at times (B,) are made of those at the knots."""

    def at_knot(self, knot: int) -> Tensor:
        """(d, d) float64, E[c c^T] at a knot."""


@dataclass(frozen=True)
class FullEI(ExponentialIntegrator):
    """DDIM whose eps_hat fades over the step as the matrices say, direction by direction.

    Args:
        matrices: what was measured of the mean; see :meth:`given`.
    """

    matrices: ErrorMatrices | None = field(default=None, compare=False, repr=False)

    name = "full-ei"
    summary = "exponential integrator from matrices; images of up to 1024 values"
    reference = "diffcov; empirical model statistics of arXiv 2310.13268 in their eigenvectors"
    needs = ("matrices",)

    def rates(self, schedule: NoiseSchedule, times: Tensor) -> Rates:
        """The diagonal of R in the eigenvectors of Omega, interpolated between knots as the spectrum is."""
        assert self.matrices is not None
        weights = self.matrices.knot_weights(schedule, times)
        near = weights.abs().sum(0).nonzero().flatten().tolist()
        weights = weights[:, near]
        width = schedule.log_snr[times].diff()[:, None] / 2  # in ln sigma, > 0
        share = (width * (weights[1:] + weights[:-1]) / 2).sum(0)
        at_knots = [self.matrices.at_knot(knot) for knot in near]
        omega = sum(part * matrix for part, matrix in zip(share, at_knots, strict=True))
        directions = torch.linalg.eigh(omega).eigenvectors.T
        seen = torch.stack([((directions @ matrix) * directions).sum(1) for matrix in at_knots])
        v = (weights @ seen.clamp(min=1e-30).log()).exp()
        shape = self.matrices.shape
        basis = Dense(self.matrices.basis.inverse(directions.reshape(-1, *shape)).flatten(1), shape)
        return Rates(basis, v.reshape(-1, *shape))
