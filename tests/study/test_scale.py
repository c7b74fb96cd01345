"""The scale of eps_hat: found where samples get the data's contrast; and what the sampler does with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import diffcov.study.scale
from diffcov.covariance import registry
from diffcov.covariance.base import Fitted
from diffcov.data import DataDescription
from diffcov.denoiser.network import MeanModel
from diffcov.diffusion.grid import even
from diffcov.diffusion.process import DDIM, DDPM, Process, Step
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampling import Sampler, sample
from diffcov.engines.scale.contrast import Contrast
from diffcov.engines.scale.search import FittedScale
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.noise import ImageNoise
from diffcov.study.scale import fit_eps_scale
from oracles.gaussian import GaussianWorld
from oracles.tiny import tiny_images, tiny_model
from oracles.trunks import perfect_model

WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.0, var=0.25)
WIDE = DataDescription(1, 8, 8, levels=256, low=-4.0, high=4.0)
STEPS = 6
STRIPES = 3.9 * (torch.arange(8) % 2 * 2.0 - 1)
"""A row of an image that takes nearly all grey levels."""


def world_sampler(name: str, process: Process) -> Sampler:
    covariance = registry.load(name).build(Fitted(WORLD.table()))
    return Sampler(covariance, process, even(1000, STEPS), None, clip_x0=False)


def world_images(count: int = 512) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return WIDE.decode(0.5 * torch.randn(count, *WIDE.shape, generator=draw))


class Longer(torch.nn.Module):
    """A trunk whose eps_hat is ``factor`` times that of another."""

    def __init__(self, trunk: torch.nn.Module, factor: float) -> None:
        super().__init__()
        self.trunk, self.factor = trunk, factor

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, object]:
        eps_hat, features = self.trunk(x, times)
        return self.factor * eps_hat, features


def longer(model: MeanModel, factor: float) -> MeanModel:
    return MeanModel(Longer(model.trunk, factor), model.schedule, model.data, model.time).freeze()


@pytest.mark.parametrize("factor", [0.93, 1.0, 1.06])
@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_a_mean_that_predicts_too_much_noise_is_set_right(process: Process, factor: float) -> None:
    """factor E[eps | x_t] divided by the factor is perfect; a perfect mean with its own covariance samples the data.

    The contrast of 512 images of 64 pixels has a standard error of about 0.4 %.
    """
    model, sampler = longer(perfect_model(WORLD, WIDE), factor), world_sampler("analytic", process)
    found = fit_eps_scale(model, sampler, world_images(2048), count=512)
    assert found.scale == pytest.approx(factor, abs=0.006)
    assert found.lowest_mismatch < 0.02
    assert (found.mismatch_at_one > 2 * found.lowest_mismatch) == (factor != 1)


def sampled_variance(scale: float) -> float:
    """Of `small` with DDPM in the Gaussian world: eps_hat is linear in x_t, so the variance is a scalar recursion."""
    variance = 1.0
    for s, t in world_sampler("small", DDPM()).trajectory.pairs():
        step = Step(WORLD.schedule, s, t)
        abar, bbar = float(WORLD.schedule.alpha_bar[t]), float(WORLD.schedule.beta_bar[t])
        eps_per_x = bbar**0.5 / WORLD.marginal_var(t) / scale
        x0_per_x = (1 - bbar**0.5 * eps_per_x) / abar**0.5
        factor = step.gamma * x0_per_x + step.direction / math.sqrt(bbar)
        variance = factor**2 * variance + (step.lambda2 if s > 0 else 0.0)
    return variance


def test_what_a_small_covariance_loses_is_made_up_for() -> None:
    """The closed form: the scale at which the recursion of the variance ends in the data's."""
    low, high = 1.0, 1.4
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if sampled_variance(middle) < WORLD.var else (low, middle)
    assert sampled_variance(1.0) < 0.6 * WORLD.var, "the world is one where it matters"
    found = fit_eps_scale(perfect_model(WORLD, WIDE), world_sampler("small", DDPM()), world_images(), count=256)
    assert found.scale == pytest.approx(low, rel=0.01)


def faked(monkeypatch: pytest.MonkeyPatch, contrast: Callable[[float], float]) -> None:
    """Samples that are one image with ``contrast(scale)`` times its contrast."""

    def samples(model: MeanModel, sampler: Sampler, count: int, **words: object) -> Iterator[Tensor]:
        yield WIDE.decode(contrast(sampler.eps_scale) * STRIPES.expand(count, 1, 8, 8))

    monkeypatch.setattr(diffcov.study.scale, "generate", samples)


def striped_images(count: int = 8) -> Tensor:
    return WIDE.decode(STRIPES.expand(count, *WIDE.shape))


def fit_faked(images: Tensor, seed: int = 0) -> FittedScale:
    sampler = world_sampler("small", DDPM())
    return fit_eps_scale(perfect_model(WORLD, WIDE), sampler, images, count=4, seed=seed)


def test_contrast_that_grows_with_the_scale_is_brought_to_the_data_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.4 + 2 log scale = 0.5 at e^0.05."""
    faked(monkeypatch, lambda scale: 0.4 + 2 * math.log(scale))
    images = WIDE.decode(0.5 * STRIPES.expand(8, *WIDE.shape))
    assert fit_faked(images).scale == pytest.approx(math.exp(0.05), rel=0.005)


def test_what_was_tried_is_what_sampling_gives() -> None:
    """Each probe's mismatch is that of samples drawn at that scale, from noise of the fit's own purpose."""
    model, images = tiny_model(20), tiny_images(12)
    sampler = Sampler(registry.load("large").build(Fitted()), DDPM(), even(20, 3), 2.0)
    found = fit_eps_scale(model, sampler, images, count=6, seed=4, batch_size=4)
    levels = model.data.levels
    data = Contrast.of([images], levels)
    assert len(found.tried) >= 5
    for scale, mismatch in found.tried:
        noise = ImageNoise(4, range(6), model.data.shape, purpose="eps-scale")
        pixels = model.data.decode(sample(model, replace(sampler, eps_scale=scale), noise))
        assert Contrast.of([pixels], levels).mismatch(data) == pytest.approx(mismatch, rel=1e-3)


def test_k_calls_a_batch_and_probe_and_the_sampler_s_own_scale_does_not_enter() -> None:
    model, images = tiny_model(20), tiny_images(6)
    sampler = Sampler(registry.load("large").build(Fitted()), DDPM(), even(20, 5), 2.0)
    told: list[int] = []
    plain = fit_eps_scale(model, sampler, images, count=6, batch_size=4, on_batch=told.append)
    assert told == [6 * probe + part for probe in range(len(plain.tried)) for part in (4, 6)]
    trunk = model.trunk
    before = sum(trunk.batches)  # type: ignore[arg-type]
    other = fit_eps_scale(model, replace(sampler, eps_scale=3.0), images, count=6, batch_size=4)
    assert sum(trunk.batches) - before == len(plain.tried) * 5 * 6  # type: ignore[arg-type]
    assert other == plain


@pytest.mark.parametrize("batch_size", [50, 256])
def test_batches_do_not_change_it(batch_size: int) -> None:
    model, sampler = perfect_model(WORLD, WIDE), world_sampler("small", DDPM())
    found = [fit_eps_scale(model, sampler, world_images(64), count=64, batch_size=b) for b in (64, batch_size)]
    assert found[0].scale == pytest.approx(found[1].scale, rel=1e-4)


def test_the_images_are_shuffled_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large set sorted by class must not lend its first class alone."""
    monkeypatch.setattr(diffcov.study.scale, "IMAGES", 40)
    faked(monkeypatch, lambda scale: 1.0)
    flat, busy = torch.full((60, *WIDE.shape), 128, dtype=torch.uint8), striped_images(60)
    halves = [torch.cat(two) for two in ((flat, busy), (busy, flat))]
    plain = [fit_faked(images).mismatch_at_one for images in halves]
    assert plain[0] == pytest.approx(plain[1], rel=0.5)
    assert fit_faked(halves[0], seed=0).mismatch_at_one == plain[0]
    assert len({fit_faked(halves[0], seed=seed).mismatch_at_one for seed in range(6)}) > 2
    with pytest.raises(InputError, match="no contrast"):
        fit_faked(flat)


def test_seeds_choose_the_noise() -> None:
    model, sampler = perfect_model(WORLD, WIDE), world_sampler("small", DDPM())
    one, same, other = (fit_eps_scale(model, sampler, world_images(16), count=4, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.scale != other.scale


@pytest.mark.parametrize(("count", "batch_size"), [(0, 4), (4, 0)])
def test_at_least_one_sample(count: int, batch_size: int) -> None:
    sampler = world_sampler("small", DDPM())
    with pytest.raises(UsageError, match=f"must be at least 1, found {count} and {batch_size}"):
        fit_eps_scale(perfect_model(WORLD, WIDE), sampler, world_images(4), count=count, batch_size=batch_size)


def test_a_broken_network_is_found_out() -> None:
    model = tiny_model(20)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    sampler = Sampler(registry.load("large").build(Fitted()), DDPM(), even(20, 3), 2.0)
    with pytest.raises(NonFiniteError, match="the mean model or the variance head is broken"):
        fit_eps_scale(model, sampler, tiny_images(4), count=4)


@pytest.mark.parametrize("process", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "half"])
def test_the_sampler_divides_the_mean_s_noise(process: Process) -> None:
    """Scaling by c is sampling a network whose eps_hat is 1/c of it; head and exposure see the network's own."""
    model = tiny_model(20)
    plain = Sampler(registry.load("small").build(Fitted()), process, even(20, 4), 2.0)
    heard: list[Tensor] = []
    noise = [ImageNoise(0, range(3), model.data.shape) for _ in range(2)]
    scaled = sample(model, replace(plain, eps_scale=1.25), noise[0], lambda t, eps_hat: heard.append(eps_hat))
    expected = sample(longer(model, 1 / 1.25), plain, noise[1])
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(heard[0], model.predict_at(ImageNoise(0, range(3), model.data.shape).draw(), 20).eps_hat)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_is_a_positive_number(scale: float) -> None:
    with pytest.raises(UsageError, match="eps_hat is divided by a positive number, found"):
        Sampler(registry.load("small").build(Fitted()), DDPM(), even(20, 3), None, eps_scale=scale)
