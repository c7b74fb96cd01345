"""Expectations without draws: images and errors whose second moments are exactly those of a Gaussian world.

Everything here is linear in the images or quadratic in the errors, so d images along the d vectors of the world's
basis, sqrt(d) of a standard deviation long, give every expectation exactly; and the sampler of a linear mean moves a
covariance by matrices.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.data import DataDescription
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.grid import Trajectory
from diffcov.diffusion.process import Process, Step, x0_from_eps
from diffcov.engines.forward import Look
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.nets.features import Features
from oracles.diagonal import DiagonalWorld


def typical_looks(world: DiagonalWorld, times: tuple[int, ...]) -> Iterator[Look]:
    """d images a time: mean of x_0 x_0^T is Cov[x_0], and that of the errors Cov[x_0 | x_t]."""
    d = world.var.numel()
    vectors = d**0.5 * world.matrix

    def along(var: Tensor) -> Tensor:
        return (var.flatten().sqrt()[:, None] * vectors).reshape(-1, *world.shape)

    x_0 = along(world.var)
    nothing = torch.zeros_like(x_0)
    for t in times:
        yield Look(t, slice(0, d), x_0, x_0 - along(world.cov_x0(t)), Prediction(nothing, Features(nothing, nothing)))


def expected_bound(world: DiagonalWorld, covariance: Covariance, trajectory: Trajectory) -> float:
    """prior + transitions + h(x_0 | x_t1), nats an image: the bound with a perfect mean and an exact last step."""
    data = DataDescription(*world.shape)
    meter = LikelihoodMeter(world.schedule, data, {"it": covariance}, [trajectory], data.dims)
    for look in typical_looks(world, trajectory.times):
        meter.add(look)
    found = meter.result("it", trajectory)
    return float((found.prior + found.transitions.sum(1)).mean()) + world.entropy_given(trajectory.times[0])


def expected_transition(world: DiagonalWorld, model: Tensor, s: int, t: int) -> float:
    """E KL(q(x_s | x_t, x_0) || p(x_s | x_t)), nats an image, where p has covariance ``model`` (d, d) of x_0.

    (logdet(1 + rho M) + rho tr((C - M) (1 + rho M)^-1)) / 2 for the true covariance C.
    """
    abar, bbar = world.schedule.alpha_bar, world.schedule.beta_bar
    rho = float(abar[s] / bbar[s] - abar[t] / bbar[t])
    one = torch.eye(len(model), dtype=torch.float64)
    U = world.matrix
    truth = U.T @ (world.cov_x0(t).flatten()[:, None] * U)
    return 0.5 * float(
        torch.logdet(one + rho * model) + rho * torch.linalg.solve(one + rho * model, truth - model).diagonal().sum()
    )


def output_covariance(
    world: DiagonalWorld,
    process: Process,
    covariance: Covariance,
    trajectory: Trajectory,
    *,
    start: Tensor | None = None,
    last_noise: bool = True,
) -> Tensor:
    """(d, d), of the samples of a perfect mean, by the real classes.

    Args:
        world: of the mean.
        process: DDPM or DDIM.
        covariance: of the steps.
        trajectory: the times.
        start: covariance of x_T; that of the world by default.
        last_noise: whether the step to the data is noised as well, which the sampler does not.
    """
    schedule, d = world.schedule, world.var.numel()
    U, eye = world.matrix, torch.eye(d, dtype=torch.float64)
    last = trajectory.times[-1]
    abar, bbar = float(schedule.alpha_bar[last]), float(schedule.beta_bar[last])
    now = U.T @ ((abar * world.var + bbar).flatten()[:, None] * U) if start is None else start
    for s, t in trajectory.pairs():
        step, x_t = Step(schedule, s, t, process.eta), eye.reshape(-1, *world.shape)
        eps_hat = world.eps_hat(x_t, t)
        mean = process.mean(step, x_t, x0_from_eps(schedule, x_t, t, eps_hat), eps_hat).flatten(1)
        now = mean.T @ now @ mean  # row i is what pixel i becomes
        if s > 0 or last_noise:
            prediction = Prediction(eps_hat[:1], Features(x_t[:1], x_t[:1]))
            var_xs = covariance.var_xs(step, prediction, var_bound=1.0).double().expand(1, *world.shape)
            V = covariance.basis_at(schedule, t).forward(eye.reshape(-1, *world.shape)).flatten(1).T
            now = now + V.T @ (var_xs.flatten()[:, None] * V)
    return now
