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
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.grid import Grid
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.nets.features import Features
from diffcov.solver.base import Solver
from oracles.diagonal import DiagonalWorld


def typical_noised(world: DiagonalWorld, times: tuple[int, ...]) -> Iterator[Noised]:
    """d images a time: mean of x_0 x_0^T is Cov[x_0], and that of the errors Cov[x_0 | x_t]."""
    d = world.var.numel()
    vectors = d**0.5 * world.matrix

    def along(var: Tensor) -> Tensor:
        return (var.flatten().sqrt()[:, None] * vectors).reshape(-1, *world.shape)

    x_0 = along(world.var)
    nothing = torch.zeros_like(x_0)
    for t in times:
        x0_hat = x_0 - along(world.cov_x0(t))
        yield Noised(
            world.schedule, x_0, nothing, Look(nothing, t, x0_hat, nothing, nothing, Features(nothing, nothing))
        )


def expected_bound(world: DiagonalWorld, covariance: Covariance, grid: Grid) -> float:
    """prior + transitions + h(x_0 | x_t1), nats an image: the bound with a perfect mean and an exact last step."""
    data = DataDescription(*world.shape)
    meter = LikelihoodMeter(world.schedule, data, {"it": covariance}, [grid], data.dims)
    for noised in typical_noised(world, grid.times):
        meter.add(noised)
    found = meter.result("it", grid)
    return float((found.prior + found.transitions.sum(1)).mean()) + world.entropy_given(grid.times[0])


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
    solver: Solver,
    covariance: Covariance,
    grid: Grid,
    *,
    start: Tensor | None = None,
    last_noise: bool = True,
) -> Tensor:
    """(d, d), of the samples of a perfect mean, by the real classes.

    Args:
        world: of the mean.
        solver: how the means of the steps are made.
        covariance: of the steps.
        grid: the times.
        start: covariance of x_T; that of the world by default.
        last_noise: whether the step to the data is noised as well, which the sampler does not.
    """
    schedule, d = world.schedule, world.var.numel()
    U, eye = world.matrix, torch.eye(d, dtype=torch.float64)
    last = grid.times[-1]
    abar, bbar = float(schedule.alpha_bar[last]), float(schedule.beta_bar[last])
    now = U.T @ ((abar * world.var + bbar).flatten()[:, None] * U) if start is None else start
    steps = solver.steps(schedule, grid)
    walk = solver.walk(steps)
    for step in steps:
        s, t = step.s, step.t
        look = world.look(eye.reshape(-1, *world.shape), t)
        mean = walk.mean(step, look).flatten(1)
        now = mean.T @ now @ mean  # row i is what pixel i becomes
        if s > 0 or last_noise:
            found = covariance.at(look.rows(slice(0, 1), t)).lifted(step)
            var_xs = found.var.double().expand(1, *world.shape)
            V = found.basis.forward(eye.reshape(-1, *world.shape)).flatten(1).T
            now = now + V.T @ (var_xs.flatten()[:, None] * V)
    return now
