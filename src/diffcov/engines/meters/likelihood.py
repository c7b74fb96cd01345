"""The variational bound on the likelihood (ELBO) of a trajectory, term by term, for DDPM.

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
from diffcov.covariance.clipping import clip_var_x0
from diffcov.data import DataDescription
from diffcov.diffusion.grid import Trajectory
from diffcov.diffusion.process import Process, Step
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import Look
from diffcov.errors import NonFiniteError, UsageError
from diffcov.gaussian.nats import discretised_nats, kl_diagonal, kl_lifted

__all__ = ["Estimate", "Likelihood", "LikelihoodMeter", "check_bounded", "decoder_nats", "prior_nats", "snr_gain"]

CHUNK = 1 << 16
"""Values of float64 that a transition works on at once: 512 KiB fit a core's cache (3 times as fast as 32 MiB)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error (NaN for a single image)."""

    mean: float
    stderr: float

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """From one value an image, (N,) float64."""
        n = values.numel()
        return cls(float(values.mean()), float(values.std() / math.sqrt(n)) if n > 1 else math.nan)


@dataclass(frozen=True)
class Likelihood:
    """-ELBO of N images along one trajectory t_1 < .. < t_K, in nats an image (all d pixels together).

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
        """Of the whole bound, or of any part of it given in nats an image."""
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
    """The bounds of several covariances along several trajectories, from looks at the times of any of them.

    Args:
        schedule: of the model.
        data: of the model.
        covariances: by name.
        trajectories: the times of each; a time that several share is looked at once.
        count: N, the number of images.

    Raises:
        UsageError: a schedule of fewer than two steps, which has no decoder variance.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        data: DataDescription,
        covariances: Mapping[str, Covariance],
        trajectories: Sequence[Trajectory],
        count: int,
    ) -> None:
        _decoder_var(schedule)
        self.schedule, self.data, self.covariances = schedule, data, dict(covariances)
        self.trajectories, self.count = tuple(trajectories), count
        pairs = {(s, t) for trajectory in trajectories for s, t in trajectory.pairs()}
        self._arrivals = {t: sorted(s for s, to in pairs if to == t) for _, t in pairs}
        self._prior = {t: self._nothing() for t in {trajectory.times[-1] for trajectory in trajectories}}
        self._decoder = {t: self._nothing() for s, t in pairs if s == 0}
        self._transition = {(name, s, t): self._nothing() for name in covariances for s, t in pairs if s > 0}
        self._floor = {(name, t): 0.0 for name in covariances for t in self._arrivals}

    def _nothing(self) -> Tensor:
        return torch.full((self.count,), math.nan, dtype=torch.float64)

    @property
    def times(self) -> Sequence[int]:
        """Every time of every trajectory."""
        return tuple(self._arrivals)

    def add(self, look: Look) -> None:
        """Every term that leaves from ``look.t``."""
        t = look.t
        if t in self._prior:
            self._prior[t][look.rows] = prior_nats(self.schedule, look.x_0, t).cpu()
        if t in self._decoder:
            self._decoder[t][look.rows] = decoder_nats(self.schedule, self.data, look).cpu()
        arrivals = [s for s in self._arrivals[t] if s > 0]
        if not arrivals:
            return
        rho = snr_gain(self.schedule, torch.tensor(arrivals), t)
        for name, covariance in self.covariances.items():
            nats, floor = transition_nats(self.schedule, self.data, covariance, look, rho)
            for s, row in zip(arrivals, nats.cpu(), strict=True):
                self._transition[name, s, t][look.rows] = row
            self._floor[name, t] += floor * look.x_0.shape[0] / self.count

    def result(self, name: str, trajectory: Trajectory) -> Likelihood:
        """The bound of one covariance along one of the trajectories."""
        steps = [(s, t) for s, t in reversed(list(trajectory.pairs())) if s > 0]
        columns = [self._transition[name, s, t] for s, t in steps]
        return Likelihood(
            times=trajectory.times,
            dims=self.data.dims,
            prior=self._prior[trajectory.times[-1]],
            transitions=torch.stack(columns, 1) if columns else torch.zeros(self.count, 0, dtype=torch.float64),
            decoder=self._decoder[trajectory.times[0]],
            floor_share=torch.tensor([self._floor[name, t] for _, t in steps], dtype=torch.float64),
        )


def check_bounded(process: Process) -> None:
    """Refuse (UsageError) a process for which this bound does not hold."""
    if process.eta == 0:
        raise UsageError(
            f"{process.name} with eta=0 has no finite bound on the likelihood (its posterior has no variance); "
            "use --process ddpm"
        )
    if process.eta != 1:
        raise UsageError(
            f"the bound on the likelihood is that of the DDPM process, and {process.name} with eta={process.eta:g} was "
            "asked for; use --process ddpm"
        )


def snr_gain(schedule: NoiseSchedule, s: Tensor, t: int) -> Tensor:
    """rho = abar_s/bbar_s - abar_t/bbar_t = abar_s beta_ts / (bbar_s bbar_t) for s in 1..t-1; (S,) float64."""
    log_alpha_ts = schedule.log_alpha_bar[t] - schedule.log_alpha_bar[s]
    beta_ts = -torch.expm1(log_alpha_ts)
    return schedule.alpha_bar[s] * beta_ts / (schedule.beta_bar[s] * schedule.beta_bar[t])


def prior_nats(schedule: NoiseSchedule, x_0: Tensor, t: int) -> Tensor:
    """KL(q(x_t | x_0) || N(0, I)) per image: (B, C, H, W) -> (B,) float64."""
    mean = schedule.alpha_bar[t].sqrt().to(x_0.device) * x_0.double()
    var_q = schedule.beta_bar[t].to(x_0.device)
    return kl_diagonal(mean, var_q, torch.ones_like(var_q)).flatten(1).sum(1)


def decoder_nats(schedule: NoiseSchedule, data: DataDescription, look: Look) -> Tensor:
    """-log p(x_0 | x_t) per image, (B,) float64: a discretised Gaussian of variance beta_tilde(1, 2) at x0_hat.

    The variance is that of the full chain, whatever the trajectory. Source: arXiv 2201.06503, appendix (likelihood).
    """
    return discretised_nats(look.x_0, look.x0_hat, _decoder_var(schedule), data).flatten(1).sum(1)


def transition_nats(
    schedule: NoiseSchedule, data: DataDescription, covariance: Covariance, look: Look, rho: Tensor
) -> tuple[Tensor, float]:
    """KL(q(x_s|x_t,x_0) || p(x_s|x_t)) of every arrival s, from one look at t.

    Args:
        schedule, data, covariance: of the model.
        look: at t.
        rho: (S,) float64, :func:`snr_gain` of each s.

    Returns:
        (S, B) float64 nats an image, and the share of values whose var_x0 lies at or below 0 before the clip.
    """
    raw = covariance.var_x0(schedule, look.t, look.prediction)
    var_x0 = clip_var_x0(raw, covariance.upper_bound(schedule, look.t, data.var_bound)).double()
    if var_x0.isnan().any():
        raise NonFiniteError(f"the {covariance.name} covariance gives NaN at t={look.t}: its table or head is broken")
    error_sq = covariance.basis_at(schedule, look.t).forward(look.error).square().flatten(1)
    floor = float((raw <= 0).double().mean())
    rho = rho.to(error_sq.device)[:, None]
    if var_x0.numel() == 1:  # one number for all pixels: the sum over pixels goes inside
        d = error_sq.shape[1]
        return d * kl_lifted(rho, error_sq.mean(1), var_x0.reshape(())), floor
    var_x0 = var_x0.expand_as(look.error).flatten(1)
    at_once = max(1, CHUNK // error_sq.numel())
    parts = [kl_lifted(part[..., None], error_sq, var_x0).sum(-1) for part in torch.split(rho, at_once)]
    return torch.cat(parts), floor


def _decoder_var(schedule: NoiseSchedule) -> float:
    if schedule.T < 2:
        raise UsageError(f"a likelihood needs a schedule of at least 2 steps, found T={schedule.T}")
    return Step(schedule, 1, 2).beta_tilde
