"""The peers as oracles: diffusers' schedulers step as ours do where they are right; where not, the test names it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.covariance.registry import COVARIANCES, make_covariance
from diffcov.data import DataDescription
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import stride
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.noise import GivenNoise
from diffcov.solver.base import Solver
from diffcov.solver.dpmpp import DPMpp
from diffcov.solver.lam import half_log_snr, moments, speed
from diffcov.solver.multistep import Seen
from diffcov.solver.registry import make_solver

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers import (
        DDIMScheduler,
        DDPMScheduler,
        DEISMultistepScheduler,
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
    )

T = 1000
DATA = DataDescription(1, 4, 4)
SCHEDULES = {
    "linear": (NoiseSchedule.linear(T), {}),
    "cosine": (NoiseSchedule.cosine(T), {"beta_schedule": "squaredcos_cap_v2"}),
}
ROUNDING = 1e-4
"""Their alpha_bar is a product in float32: 1e-6 of it, and up to 100 times that where x0_hat divides by its root."""


class Waves(torch.nn.Module):
    """A network of no meaning that depends on everything it is told; its second half, if it has one, is in [-1, 1]."""

    def __init__(self, learned: bool = False) -> None:
        super().__init__()
        self.learned = learned

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        mean = torch.sin(x + 0.003 * times[:, None, None, None])
        return torch.cat([mean, torch.cos(3 * x - 0.01 * times[:, None, None, None])], 1) if self.learned else mean


def ours(schedule: NoiseSchedule, predicts: str, covariance: str, solver: str, eta: float | None, grid: Grid) -> Tensor:
    learned = COVARIANCES[covariance].reads_range
    mean = MeanModel.of(Waves(learned), predicts=predicts, schedule=schedule, data=DATA, learned_range=learned)
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
        learned = scheduler.config.get("variance_type") == "learned_range"
        output = Waves(learned)(x, torch.full((2,), float(t)))
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
@pytest.mark.parametrize(
    ("covariance", "variance"),
    [("small", "fixed_small"), ("large", "fixed_large"), ("learned-range", "learned_range")],
)
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


# --- multistep


def their_multistep(name: str, order: int, **more: Any) -> Any:
    made = {
        "dpmpp": lambda: DPMSolverMultistepScheduler(T, solver_order=order, final_sigmas_type="zero", **more),
        "unipc": lambda: UniPCMultistepScheduler(T, solver_order=order, final_sigmas_type="zero", **more),
        "deis": lambda: DEISMultistepScheduler(T, solver_order=order, **more),
    }
    return made[name]()


def their_walk(scheduler: Any, K: int) -> list[Tensor]:
    """Every x after the first, on the noise of ours."""
    x, *later = noises(K)
    found = []
    for number, t in enumerate(scheduler.timesteps):
        told = {"variance_noise": later[number] if number < len(later) else torch.zeros_like(x)}
        output = Waves()(x, torch.full((2,), float(t)))
        noisy = isinstance(scheduler, DPMSolverMultistepScheduler) and "sde" in scheduler.config.algorithm_type
        x = scheduler.step(output, t, x, **(told if noisy else {})).prev_sample
        found.append(x)
    return found


def our_walk(schedule: NoiseSchedule, predicts: str, solver: Solver, grid: Grid) -> list[Tensor]:
    """The same of ours, without a clip: theirs have none."""
    mean = MeanModel.of(Waves(), predicts=predicts, schedule=schedule, data=DATA)
    sampler = Sampler(mean, make_covariance("small", mean), solver, grid, cap_levels=None)
    seen: list[Tensor] = []
    last = sample(sampler, GivenNoise(noises(grid.K)), on_look=lambda look: seen.append(look.x_t))
    return [*seen[1:], last]


@pytest.mark.parametrize("K", [3, 6, 10])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize(
    ("name", "order", "eta", "more"),
    [
        *(("dpmpp", order, 0.0, {}) for order in (1, 2)),
        *(("dpmpp", order, 1.0, {"algorithm_type": "sde-dpmsolver++"}) for order in (1, 2)),
        *(("unipc", order, 0.0, {}) for order in (1, 2, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_multistep_solvers_are_theirs(
    name: str, order: int, eta: float, more: dict[str, Any], predicts: str, spacing: str, K: int
) -> None:
    """At the same times; the corrected x_t of UniPC is not shown by either, so only what is looked at is compared."""
    prediction = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[predicts]
    scheduler = their_multistep(name, order, prediction_type=prediction, timestep_spacing=spacing, **more)
    scheduler.set_timesteps(K)
    grid = explicit(T, [int(t) + 1 for t in reversed(scheduler.timesteps)])
    solver = make_solver(name, eta, order=order)
    found, wanted = our_walk(NoiseSchedule.linear(T), predicts, solver, grid), their_walk(scheduler, K)
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("K", [3, 6, 10])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_deis_is_theirs_until_the_last_step(order: int, K: int) -> None:
    """Theirs ends at sigma_1 and not at the data (final_sigmas_type zero divides by it), so the last step differs."""
    scheduler = their_multistep("deis", order)
    scheduler.set_timesteps(K)
    grid = explicit(T, [int(t) + 1 for t in reversed(scheduler.timesteps)])
    found, wanted = (
        our_walk(NoiseSchedule.linear(T), "eps", make_solver("deis", order=order), grid),
        their_walk(scheduler, K),
    )
    for mine, other in list(zip(found, wanted, strict=True))[:-1]:
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@dataclass(frozen=True)
class AsTheirs(DPMpp):
    """Order 3 with what theirs multiplies the second divided difference by."""

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        whole = super().trend(step, seen)
        if len(seen) < 3:
            return whole
        lambdas = [half_log_snr(step.schedule, one.t) for one in seen]
        h = half_log_snr(step.schedule, step.s) - lambdas[0]
        r0, r1 = (lambdas[0] - lambdas[1]) / h, (lambdas[1] - lambdas[2]) / h
        newer, older = (seen[0].x0_hat - seen[1].x0_hat) / r0, (seen[1].x0_hat - seen[2].x0_hat) / r1
        H = speed(step)
        grown = -math.expm1(-H)
        half = (0.5 - (H - grown) / H**2) / grown  # of the exact integral, moments(H, 2)[1]
        assert half == pytest.approx(moments(H, 2)[1] / 2, rel=1e-6)
        told = half if self.eta == 0 else half - 1 / grown
        return whole + (told - moments(H, 2)[1]) * (newer - older) / (r0 + r1)


@pytest.mark.parametrize("K", [6, 10])
@pytest.mark.parametrize(("eta", "kind"), [(0.0, "dpmsolver++"), (1.0, "sde-dpmsolver++")])
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_their_third_order_takes_half_of_the_bend(eta: float, kind: str, K: int) -> None:
    """The second derivative is twice a divided difference, and theirs integrates the difference itself.

    In the form for the SDE its sign is wrong too: (1 - exp(-2h) - 2h) / (2h)^2 - 1/2 is near -1 where +h/3 is meant.
    Ours converges with order 3, which theirs does not.
    """
    scheduler = their_multistep("dpmpp", 3, algorithm_type=kind)
    scheduler.set_timesteps(K)
    grid = explicit(T, [int(t) + 1 for t in reversed(scheduler.timesteps)])
    wanted = their_walk(scheduler, K)
    found, ours_found = (
        our_walk(NoiseSchedule.linear(T), "eps", made(eta=eta, order=3), grid) for made in (AsTheirs, DPMpp)
    )
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-5 * float(other.abs().max()))
    assert not torch.allclose(ours_found[-1], wanted[-1], rtol=0, atol=1e-3 * float(wanted[-1].abs().max()))
