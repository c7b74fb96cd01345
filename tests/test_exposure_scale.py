"""Scales of eps_hat: found on the path they make, K calls and no distance; and what the sampler does with them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Fitted
from diffcov.data import DataDescription
from diffcov.errors import NonFiniteError, UsageError
from diffcov.evaluation.exposure import NormMeter
from diffcov.exposure_scale import fit_eps_scale
from diffcov.mean_model import MeanModel
from diffcov.noise import ImageNoise, generator
from diffcov.process import DDIM, DDPM, Process, Step, q_sample
from diffcov.sampling import Sampler, generate, sample
from diffcov.schedule import NoiseSchedule
from diffcov.trajectory import even
from oracles.gaussian import GaussianWorld
from oracles.tiny import tiny_images, tiny_model
from oracles.trunks import perfect_model

WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.0, var=0.25)
WIDE = DataDescription(1, 8, 8, levels=256, low=-4.0, high=4.0)
FEW = 0.02
"""Relative: a norm is the mean of 512 x 64 squares, sqrt(2 / 32768) = 0.8 %, on two paths."""


def world_sampler(name: str, process: Process, steps: int = 6) -> Sampler:
    covariance = registry.load(name).build(Fitted(WORLD.table()))
    return Sampler(covariance, process, even(1000, steps), None, clip_x0=False)


def world_images(count: int = 512) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return WIDE.decode(0.5 * torch.randn(count, *WIDE.shape, generator=draw))


@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_where_samples_are_right_at_every_step_there_is_nothing_to_scale(process: Process) -> None:
    """A perfect mean with its own covariance keeps every marginal, so both norms agree."""
    scales = fit_eps_scale(perfect_model(WORLD, WIDE), world_sampler("analytic", process), world_images(), count=512)
    assert scales == pytest.approx([1.0] * 6, abs=FEW)


def test_with_too_little_noise_the_scale_is_the_closed_form() -> None:
    """`small` loses variance at each step; eps_hat is linear in x_t, so its norm falls as that of x_t does.

    x_s = a x_t + sqrt(lambda2) z with a from the scaled mean: the variance follows a scalar recursion.
    """
    sampler = world_sampler("small", DDPM())
    found = fit_eps_scale(perfect_model(WORLD, WIDE), sampler, world_images(), count=512, batch_size=512)
    scales = dict(zip(sampler.trajectory.times, found, strict=True))
    variance = 1.0
    for s, t in sampler.trajectory.pairs():
        expected = math.sqrt(variance / WORLD.marginal_var(t))
        assert scales[t] == pytest.approx(expected, rel=FEW), t
        step = Step(WORLD.schedule, s, t)
        abar, bbar = float(WORLD.schedule.alpha_bar[t]), float(WORLD.schedule.beta_bar[t])
        eps_per_x = bbar**0.5 / WORLD.marginal_var(t) / scales[t]
        x0_per_x = (1 - bbar**0.5 * eps_per_x) / abar**0.5
        factor = step.gamma * x0_per_x + step.direction / math.sqrt(bbar)
        variance = factor**2 * variance + (step.lambda2 if s > 0 else 0.0)
    assert min(scales.values()) < 0.9, "the world is one where it matters"


def test_scales_are_found_on_the_path_that_they_make() -> None:
    """Sampling the same draws with the scales as given meets exactly the norms that were scaled away."""
    model, images = tiny_model(20), tiny_images(6)
    sampler = Sampler(registry.load("large").build(Fitted()), DDPM(), even(20, 5), 2.0)
    scales = fit_eps_scale(model, sampler, images, count=6, seed=4)
    norms = NormMeter(sampler.trajectory.times)
    noise = ImageNoise(4, range(6), model.data.shape, purpose="eps-scale")
    sample(model, replace(sampler, eps_scale=scales), noise, norms.hear)
    found = norms.mean() / torch.tensor(scales).double().square()
    order = torch.randperm(6, generator=generator(4, "eps-scale-order"))
    x_0, eps = model.data.encode(images[order]), ImageNoise(4, range(6), model.data.shape, purpose="eps-scale").draw()
    for t, norm in zip(sampler.trajectory.times, found.tolist(), strict=True):
        eps_hat = model.predict_at(q_sample(model.schedule, x_0, t, eps), t).eps_hat
        assert norm == pytest.approx(float(eps_hat.double().square().mean()), rel=1e-5), t


def test_both_paths_start_from_the_same_draws() -> None:
    """At t = T the forward path is noise alone up to alpha_bar_T, so the first scale is 1 however few the samples."""
    scales = fit_eps_scale(perfect_model(WORLD, WIDE), world_sampler("analytic", DDIM()), world_images(2), count=2)
    assert scales[-1] == pytest.approx(1.0, abs=1e-3)


def test_k_calls_on_each_path_and_the_samplers_own_scales_do_not_enter() -> None:
    model, images = tiny_model(20), tiny_images(6)
    sampler = Sampler(registry.load("large").build(Fitted()), DDPM(), even(20, 5), 2.0)
    plain = fit_eps_scale(model, sampler, images, count=6)
    trunk = model.trunk
    before = sum(trunk.batches)  # type: ignore[arg-type]
    other = fit_eps_scale(model, replace(sampler, eps_scale=(3.0,) * 5), images, count=6)
    assert sum(trunk.batches) - before == 2 * 5 * 6  # type: ignore[arg-type]
    assert other == plain


@pytest.mark.parametrize("process", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "half"])
def test_the_sampler_divides_the_mean_s_noise(process: Process) -> None:
    """Scaling by c is sampling a network whose eps_hat is 1/c of it; head and exposure see the network's own."""
    model, images = tiny_model(20), slice(0, 3)

    class Shorter(torch.nn.Module):
        def __init__(self, trunk: torch.nn.Module) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, object]:
            eps_hat, features = self.trunk(x, times)
            return eps_hat / 1.25, features

    shorter = MeanModel(Shorter(model.trunk), model.schedule, model.data, model.time).freeze()
    covariance = registry.load("small").build(Fitted())
    plain = Sampler(covariance, process, even(20, 4), 2.0)
    heard: list[Tensor] = []
    noise = [ImageNoise(0, range(3), model.data.shape) for _ in range(2)]
    scaled = sample(model, replace(plain, eps_scale=(1.25,) * 4), noise[0], lambda t, eps_hat: heard.append(eps_hat))
    expected = sample(shorter, plain, noise[1])
    torch.testing.assert_close(scaled[images], expected[images], rtol=1e-4, atol=1e-4)
    assert torch.equal(heard[0], model.predict_at(ImageNoise(0, range(3), model.data.shape).draw(), 20).eps_hat)


def test_each_time_has_its_own_scale() -> None:
    """The order is that of the trajectory's times: a scale at t = T alone changes the first step alone."""
    model = tiny_model(20)
    plain = Sampler(registry.load("small").build(Fitted()), DDIM(), even(20, 3), None)
    used: list[tuple[int, float]] = []
    scaled = replace(plain, eps_scale=(1.1, 1.2, 1.3))

    def spy(t: int, eps_hat: Tensor) -> float:
        used.append((t, scaled.scale_at(t, eps_hat)))
        return used[-1][1]

    sample(model, scaled, ImageNoise(0, [0], model.data.shape), scale=spy)
    assert used == list(zip(reversed(plain.trajectory.times), (1.3, 1.2, 1.1), strict=True))


def test_no_scale_is_a_scale_of_one() -> None:
    model = tiny_model(20)
    plain = Sampler(registry.load("small").build(Fitted()), DDPM(), even(20, 3), None)
    a, b = (next(generate(model, s, 2)) for s in (plain, replace(plain, eps_scale=(1.0,) * 3)))
    assert torch.equal(a, b)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.0, 0.0), (1.0, -1.0, 1.0), (1.0, math.inf, 1.0), (1.0,) * 4])
def test_scales_are_k_positive_numbers(scales: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="scaled by 3 positive numbers, one a step; found"):
        Sampler(registry.load("small").build(Fitted()), DDPM(), even(20, 3), None, eps_scale=scales)


@pytest.mark.parametrize(("count", "batch_size"), [(0, 4), (4, 0)])
def test_at_least_one_sample(count: int, batch_size: int) -> None:
    sampler = world_sampler("small", DDPM())
    with pytest.raises(UsageError, match=f"at least one sample, found {count} in {batch_size} a batch"):
        fit_eps_scale(perfect_model(WORLD, WIDE), sampler, world_images(4), count=count, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [100, 256, 512])
def test_batches_change_the_scale_by_less_than_its_scatter(batch_size: int) -> None:
    """Each batch walks on its own scales' path; where the bias is strong they still agree."""
    model, sampler = perfect_model(WORLD, WIDE), world_sampler("small", DDPM())
    whole = fit_eps_scale(model, sampler, world_images(), count=512, batch_size=512)
    parts = fit_eps_scale(model, sampler, world_images(), count=512, batch_size=batch_size)
    assert parts == pytest.approx(whole, rel=3 * FEW)


def test_the_images_are_shuffled() -> None:
    """A set sorted by class must not lend its first class alone: eps_hat of a bright and a dark half differ."""
    bright, dark = (torch.full((50, *WIDE.shape), level, dtype=torch.uint8) for level in (255, 0))
    model, sampler = perfect_model(WORLD, WIDE), world_sampler("small", DDPM())
    scales = [
        fit_eps_scale(model, sampler, torch.cat(halves), count=40)[2] for halves in ((bright, dark), (dark, bright))
    ]
    assert scales[0] == pytest.approx(scales[1], rel=0.2)
    assert scales[0] != scales[1]


def test_a_broken_network_is_found_out() -> None:
    model = tiny_model(20)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    sampler = Sampler(registry.load("large").build(Fitted()), DDPM(), even(20, 3), 2.0)
    with pytest.raises(NonFiniteError, match="the mean model is broken"):
        fit_eps_scale(model, sampler, tiny_images(4), count=4)
