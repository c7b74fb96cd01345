"""The peers as oracles: diffusers' schedulers step as ours do where they are right; where not, the test names it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.covariance.registry import make_covariance
from diffcov.data import DataDescription
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.grid import Grid, explicit, stride
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.noise import GivenNoise
from diffcov.solver.registry import make_solver

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers import DDIMScheduler, DDPMScheduler

T = 1000
DATA = DataDescription(1, 4, 4)
SCHEDULES = {
    "linear": (NoiseSchedule.linear(T), {}),
    "cosine": (NoiseSchedule.cosine(T), {"beta_schedule": "squaredcos_cap_v2"}),
}
ROUNDING = 1e-4
"""Their alpha_bar is a product in float32: 1e-6 of it, and up to 100 times that where x0_hat divides by its root."""


class Waves(torch.nn.Module):
    """A network of no meaning that depends on everything it is told."""

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return torch.sin(x + 0.003 * times[:, None, None, None])


def ours(schedule: NoiseSchedule, predicts: str, covariance: str, solver: str, eta: float | None, grid: Grid) -> Tensor:
    mean = MeanModel.of(Waves(), predicts=predicts, schedule=schedule, data=DATA)
    chosen = make_solver(solver, eta)
    sampler = Sampler(Clipped(mean), make_covariance(covariance, mean), chosen, grid, cap_levels=None)
    return sample(sampler, GivenNoise(noises(grid.K)))


def noises(K: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, *DATA.shape, generator=draw) for _ in range(K)]


def theirs(scheduler: Any, K: int, **options: Any) -> Tensor:
    """Their loop, on the noise of ours: the generator is set to give it."""
    x, *later = noises(K)
    for number, t in enumerate(scheduler.timesteps):
        output = Waves()(x, torch.full((2,), float(t)))
        told = {**options}
        if isinstance(scheduler, DDIMScheduler):
            told["variance_noise"] = later[number] if number < len(later) else torch.zeros_like(x)
            x = scheduler.step(output, t, x, **told).prev_sample
        else:
            x = _ddpm(scheduler, output, t, x, later[number] if number < len(later) else None)
    return x


def _ddpm(scheduler: Any, output: Tensor, t: Tensor, x: Tensor, noise: Tensor | None) -> Tensor:
    """DDPMScheduler draws for itself: its mean is a step without noise, its variance is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda shape, **more: noise)
        step: Tensor = scheduler.step(output, t, x).prev_sample
    return step


@pytest.mark.parametrize("K", [2, 5, 10, 50])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("covariance", "variance"), [("small", "fixed_small"), ("large", "fixed_large")])
def test_ddpm_is_theirs(K: int, predicts: str, name: str, covariance: str, variance: str) -> None:
    schedule, options = SCHEDULES[name]
    prediction = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[predicts]
    scheduler = DDPMScheduler(T, variance_type=variance, prediction_type=prediction, **options)
    scheduler.set_timesteps(K)
    grid = explicit(T, [int(t) + 1 for t in reversed(scheduler.timesteps)])
    found = ours(schedule, predicts, covariance, "ddpm", None, grid)
    torch.testing.assert_close(found, theirs(scheduler, K), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("K", [2, 5, 10, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_ddim_is_theirs_on_a_constant_stride(K: int, eta: float, predicts: str) -> None:
    """Theirs goes back by T // K whatever its times are, which is right where they have that stride."""
    prediction = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[predicts]
    scheduler = DDIMScheduler(T, prediction_type=prediction, set_alpha_to_one=True, timestep_spacing="leading")
    scheduler.set_timesteps(K)
    grid = stride(T, K)
    assert [int(t) + 1 for t in reversed(scheduler.timesteps)] == list(grid.times)
    found = ours(NoiseSchedule.linear(T), predicts, "small", "ddim", eta, grid)
    torch.testing.assert_close(found, theirs(scheduler, K, eta=eta), rtol=0, atol=ROUNDING)


def test_their_ddim_does_not_arrive_at_its_next_time_under_linspace() -> None:
    """Its times are 999, 888, ..., 0, and from 999 it steps to 899: T // K back, and not to the time that follows.

    Ours steps to the time that is visited next, so the two differ, and theirs is the one that is off.
    """
    K = 10
    scheduler = DDIMScheduler(T, set_alpha_to_one=True, timestep_spacing="linspace")
    scheduler.set_timesteps(K)
    times = [int(t) for t in scheduler.timesteps]
    assert times[:2] == [999, 888]
    x = noises(1)[0]
    output = Waves()(x, torch.full((2,), 999.0))
    arrived = scheduler.step(output, 999, x).prev_sample
    schedule = NoiseSchedule.linear(T)
    x0_hat = ((x - schedule.beta_bar[1000].sqrt() * output) / schedule.alpha_bar[1000].sqrt()).clamp(-1, 1).float()
    for s, same in ((900, True), (889, False)):
        step = Step(schedule, s, 1000, 0.0)
        mean = step.mean_from_eps(x0_hat, output)
        assert torch.allclose(arrived, mean, atol=ROUNDING) == same, s


def test_their_fixed_large_log_is_another_variance() -> None:
    """It takes the logarithm of beta and uses that as a standard deviation's logarithm: no upper end of any range."""
    scheduler = DDPMScheduler(T, variance_type="fixed_large_log")
    scheduler.set_timesteps(10)
    t = int(scheduler.timesteps[3])
    told = float(scheduler._get_variance(t))
    beta = Step(NoiseSchedule.linear(T), t + 1 - 100, t + 1).beta_ts
    assert told == pytest.approx(float(torch.tensor(beta).log()), rel=1e-3)
    assert told < 0, "a variance below zero"


def test_their_learned_range_is_between_beta_tilde_and_beta_in_logarithms() -> None:
    """What a learned variance means, (arXiv 2102.09672, equation 15), of the pair (s, t)."""
    scheduler = DDPMScheduler(T, variance_type="learned_range")
    scheduler.set_timesteps(10)
    t = int(scheduler.timesteps[3])
    step = Step(NoiseSchedule.linear(T), t + 1 - 100, t + 1)
    for v, expected in ((-1.0, step.beta_tilde), (1.0, step.beta_ts), (0.0, (step.beta_tilde * step.beta_ts) ** 0.5)):
        found = float(scheduler._get_variance(t, predicted_variance=torch.tensor(v)).exp())
        assert found == pytest.approx(expected, rel=1e-3)
