"""The variational bound on the likelihood (ELBO) along a grid, term by term, for the Markov chain (DDPM).

    -ELBO = KL(q(x_tK | x_0) || N(0, I))                                  prior
          + sum over consecutive (s, t), s > 0, of
            KL(q(x_s | x_t, x_0) || p(x_s | x_t))                         transitions
          + E[-log p(x_0 | x_t1)]                                         decoder

The transition's covariance may be diagonal in any orthonormal basis: posterior noise is isotropic, so only the
residual x_0 - x0_hat has to be transformed. The cap on the last noise belongs to sampling and has no part here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import UsageError
from diffcov.gaussian import discretised_nats, kl_diagonal
from diffcov.solver.base import Solver

__all__ = ["Estimate", "Likelihood", "LikelihoodMeter", "check_bounded", "decoder_nats", "prior_nats"]


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error (NaN for a single image)."""

    mean: float
    stderr: float

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """The estimate from one value an image, (N,) float64."""
        n = values.numel()
        return cls(float(values.mean()), float(values.std() / math.sqrt(n)) if n > 1 else math.nan)


@dataclass(frozen=True)
class Likelihood:
    """-ELBO of N images along one grid t_1 < .. < t_K, in nats an image (all d pixels together).

    Attributes:
        times: t_1 .. t_K.
        dims: d.
        prior: (N,) float64.
        transitions: (N, K-1) float64; column k is the step from t_{k+2} to t_{k+1} (1-based).
        decoder: (N,) float64.
        floor_share: (K-1,) float64, share of values whose var_x0 was at or below 0 in that step.
    """

    times: tuple[int, ...]
    dims: int
    prior: Tensor
    transitions: Tensor
    decoder: Tensor
    floor_share: Tensor

    @property
    def nats(self) -> Tensor:
        """(N,) float64, the whole bound."""
        return self.prior + self.transitions.sum(1) + self.decoder

    def bits_per_dim(self, nats: Tensor | None = None) -> Estimate:
        """The whole bound, or any part of it given in nats an image, in bits a dimension."""
        return Estimate.of((self.nats if nats is None else nats) / (self.dims * math.log(2)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values in bits/dim: the bound, its parts, and each step from t to s."""
        total = self.bits_per_dim()
        arrivals, departures = self.times[:-1], self.times[1:]
        means = [self.bits_per_dim(step).mean for step in self.transitions.T]
        steps = [
            {"s": s, "t": t, "bits_per_dim": bits, "floor_share": float(floor)}
            for s, t, bits, floor in zip(arrivals, departures, means, self.floor_share, strict=True)
        ]
        return {
            "bits_per_dim": total.mean,
            "stderr": None if math.isnan(total.stderr) else total.stderr,
            "prior": self.bits_per_dim(self.prior).mean,
            "transitions": self.bits_per_dim(self.transitions.sum(1)).mean,
            "decoder": self.bits_per_dim(self.decoder).mean,
            "floor_share": float(self.floor_share.mean()) if len(steps) else 0.0,
            "steps": steps,
        }


class LikelihoodMeter:
    """The bounds of several covariances along several grids, from looks at the times of any of them.

    Args:
        schedule: of the model.
        data: of the model.
        covariances: by name.
        grids: the times of each; a time that several share is looked at once.
        count: N, the number of images.

    Raises:
        UsageError: a schedule of fewer than two steps, which has no decoder variance.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        data: DataDescription,
        covariances: Mapping[str, Covariance],
        grids: Sequence[Grid],
        count: int,
    ) -> None:
        _decoder_var(schedule)
        self.schedule, self.data, self.covariances = schedule, data, dict(covariances)
        self.grids, self.count = tuple(grids), count
        pairs = {(s, t) for grid in grids for s, t in grid.pairs()}
        self._arrivals = {t: sorted(s for s, to in pairs if to == t) for _, t in pairs}
        self._prior = {t: self._nothing() for t in {grid.times[-1] for grid in grids}}
        self._decoder = {t: self._nothing() for s, t in pairs if s == 0}
        self._transition = {(name, s, t): self._nothing() for name in covariances for s, t in pairs if s > 0}
        self._floor = {(name, t): torch.zeros(1, dtype=torch.float64) for name in covariances for t in self._arrivals}
        self._seen = {t: self._nothing() for t in self._arrivals}

    def _nothing(self) -> Tensor:
        return torch.zeros(self.count, dtype=torch.float64)

    @property
    def times(self) -> Sequence[int]:
        """Every time of every grid."""
        return tuple(self._arrivals)

    def add(self, noised: Noised) -> None:
        """Every term that leaves from the look's time."""
        t, rows = noised.look.time, noised.rows
        self._seen[t][rows] = 1
        if t in self._prior:
            self._prior[t][rows] = prior_nats(self.schedule, noised.x_0, t).cpu()
        if t in self._decoder:
            self._decoder[t][rows] = decoder_nats(self.schedule, self.data, noised).cpu()
        arrivals = [s for s in self._arrivals[t] if s > 0]
        if not arrivals:
            return
        rho = self.schedule.snr_gain(torch.tensor(arrivals), t)
        for name, covariance in self.covariances.items():
            uncertainty = covariance.checked(noised.look)
            for s, row in zip(arrivals, uncertainty.kl_lifted(noised.error, rho).cpu(), strict=True):
                self._transition[name, s, t][rows] = row
            self._floor[name, t] += uncertainty.floor_share * len(noised.x_0) / self.count

    def sums(self) -> Sequence[Tensor]:
        """All that it has added up: a row an image, which is 0 where another process saw it."""
        tables = (self._seen, self._prior, self._decoder, self._transition, self._floor)
        return [tensor for table in tables for tensor in table.values()]

    def _at(self, t: int, nats: Tensor) -> Tensor:
        """Nats of looks at t; NaN of images that were not seen there."""
        return nats.masked_fill(self._seen[t] == 0, math.nan)

    def result(self, name: str, grid: Grid) -> Likelihood:
        """The bound of one covariance along one of the grids."""
        steps = [(s, t) for s, t in reversed(list(grid.pairs())) if s > 0]
        columns = [self._at(t, self._transition[name, s, t]) for s, t in steps]
        return Likelihood(
            times=grid.times,
            dims=self.data.dims,
            prior=self._at(grid.times[-1], self._prior[grid.times[-1]]),
            transitions=torch.stack(columns, 1) if columns else torch.zeros(self.count, 0, dtype=torch.float64),
            decoder=self._at(grid.times[0], self._decoder[grid.times[0]]),
            floor_share=torch.tensor([float(self._floor[name, t]) for _, t in steps], dtype=torch.float64),
        )


def check_bounded(solver: Solver) -> None:
    """Refuse (UsageError) a solver whose chain has no bound."""
    if solver.why_no_bound is not None:
        raise UsageError(f"{solver.label} has no bound on the likelihood: {solver.why_no_bound}; use --solver ddpm")


def prior_nats(schedule: NoiseSchedule, x_0: Tensor, t: int) -> Tensor:
    """KL(q(x_t | x_0) || N(0, I)) per image: (B, C, H, W) -> (B,) float64."""
    mean = schedule.alpha_bar[t].sqrt().to(x_0.device) * x_0.double()
    var_q = schedule.beta_bar[t].to(x_0.device)
    return kl_diagonal(mean, var_q, torch.ones_like(var_q)).flatten(1).sum(1)


def decoder_nats(schedule: NoiseSchedule, data: DataDescription, noised: Noised) -> Tensor:
    """-log p(x_0 | x_t) per image, (B,) float64: a discretised Gaussian of variance beta_tilde(1, 2) at x0_hat.

    The variance is that of the full chain, whatever the grid. Source: arXiv 2201.06503, appendix (likelihood).
    """
    return discretised_nats(noised.x_0, noised.look.x0_hat, _decoder_var(schedule), data).flatten(1).sum(1)


def _decoder_var(schedule: NoiseSchedule) -> float:
    if schedule.T < 2:
        raise UsageError(
            f"a likelihood needs a schedule of at least 2 steps, found T={schedule.T}; train with --timesteps 2 or "
            "more, or measure distances alone"
        )
    return Step(schedule, 1, 2).beta_tilde
