"""The scale of eps_hat: found where samples get the data's contrast; and what the sampler does with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import diffcov.study.contrast_scale
from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampler import Sampler, ScaleFit
from diffcov.engines.sampling import sample
from diffcov.engines.scale.contrast import Contrast
from diffcov.engines.scale.search import FittedScale
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.noise import ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.study.contrast_scale import fit_scale, scaled
from oracles.gaussian import GaussianWorld
from oracles.tiny import tiny_covariance, tiny_images, tiny_model
from oracles.trunks import CountingTrunk, perfect_model

WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.0, var=0.25)
WIDE = DataDescription(1, 8, 8, levels=256, low=-4.0, high=4.0)
STEPS = 6
STRIPES = 3.9 * (torch.arange(8) % 2 * 2.0 - 1)
"""A row of an image that takes nearly all grey levels."""


def world_mean(factor: float = 1.0) -> MeanModel:
    """The perfect mean; with a factor, one whose eps_hat is that many times the perfect one's."""
    mean = perfect_model(WORLD, WIDE)
    return mean if factor == 1 else longer(mean, factor)


def world_sampler(name: str, solver: Solver, mean: MeanModel | None = None) -> Sampler:
    """Through the plain mean, neither clipped nor scaled."""
    covariance = registry.load(name)(WORLD.ingredients(WIDE))
    return Sampler(mean or world_mean(), covariance, solver, even(1000, STEPS), None)


def tiny_sampler(mean: MeanModel, steps: int, name: str = "large", solver: Solver | None = None) -> Sampler:
    """Through the clipped mean."""
    denoiser = through(mean, View(clip_x0=True))
    return Sampler(denoiser, tiny_covariance(name, mean), solver or DDPM(), even(20, steps), 2.0)


def world_images(count: int = 512) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return WIDE.decode(0.5 * torch.randn(count, *WIDE.shape, generator=draw))


class Longer(torch.nn.Module):
    """A network whose eps_hat is ``factor`` times that of another."""

    def __init__(self, network: torch.nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor
        self.feature_channels, self.embedding_width = network.feature_channels, network.embedding_width

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, object]:
        eps_hat, features = self.network(x, times)
        return self.factor * eps_hat, features


def longer(mean: MeanModel, factor: float) -> MeanModel:
    return MeanModel(Longer(mean.network, factor), mean.reading).freeze()


@pytest.mark.parametrize("factor", [0.93, 1.0, 1.06])
@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_a_mean_that_predicts_too_much_noise_is_set_right(solver: Solver, factor: float) -> None:
    """factor E[eps | x_t] divided by the factor is perfect; a perfect mean with its own covariance samples the data.

    The contrast of 512 images of 64 pixels has a standard error of about 0.4 %.
    """
    mean = world_mean(factor)
    found = fit_scale(world_sampler("analytic", solver, mean), mean, world_images(2048), count=512)
    assert found.scale == pytest.approx(factor, abs=0.006)
    assert found.lowest_mismatch < 0.02
    assert (found.mismatch_at_one > 2 * found.lowest_mismatch) == (factor != 1)


def sampled_variance(scale: float) -> float:
    """Of `small` with DDPM in the Gaussian world: eps_hat is linear in x_t, so the variance is a scalar recursion."""
    variance = 1.0
    for s, t in even(1000, STEPS).pairs():
        step = DDPM().step(WORLD.schedule, s, t)
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
    mean = world_mean()
    found = fit_scale(world_sampler("small", DDPM(), mean), mean, world_images(), count=256)
    assert found.scale == pytest.approx(low, rel=0.01)


def faked(monkeypatch: pytest.MonkeyPatch, contrast: Callable[[float], float]) -> None:
    """Samples that are one image with ``contrast(scale)`` times its contrast."""

    def samples(sampler: Sampler, count: int, **words: object) -> Iterator[Tensor]:
        yield WIDE.decode(contrast(sampler.denoiser.view.eps_scale) * STRIPES.expand(count, 1, 8, 8))

    monkeypatch.setattr(diffcov.study.contrast_scale, "generate", samples)


def striped_images(count: int = 8) -> Tensor:
    return WIDE.decode(STRIPES.expand(count, *WIDE.shape))


def fit_faked(images: Tensor, seed: int = 0) -> FittedScale:
    mean = world_mean()
    return fit_scale(world_sampler("small", DDPM(), mean), mean, images, count=4, seed=seed)


def test_contrast_that_grows_with_the_scale_is_brought_to_the_data_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.4 + 2 log scale = 0.5 at e^0.05."""
    faked(monkeypatch, lambda scale: 0.4 + 2 * math.log(scale))
    images = WIDE.decode(0.5 * STRIPES.expand(8, *WIDE.shape))
    assert fit_faked(images).scale == pytest.approx(math.exp(0.05), rel=0.005)


def test_what_was_tried_is_what_sampling_gives() -> None:
    """Each probe's mismatch is that of samples drawn at that scale, from noise of the fit's own purpose."""
    mean, images = tiny_model(20), tiny_images(12)
    sampler = tiny_sampler(mean, 3)
    found = fit_scale(sampler, mean, images, count=6, seed=4, batch_size=4)
    levels = mean.data.levels
    data = Contrast.of([images], levels)
    assert len(found.tried) >= 5
    for scale, mismatch in found.tried:
        noise = ImageNoise(4, range(6), mean.data.shape, purpose="eps-scale")
        at_scale = replace(sampler, denoiser=through(mean, View(clip_x0=True, eps_scale=scale)))
        pixels = mean.data.decode(sample(at_scale, noise))
        assert Contrast.of([pixels], levels).mismatch(data) == pytest.approx(mismatch, rel=1e-3)


def test_k_calls_a_batch_and_probe_and_the_sampler_s_own_scale_and_seed_do_not_enter() -> None:
    mean, images = tiny_model(20), tiny_images(6)
    sampler, network = tiny_sampler(mean, 5), mean.network
    assert isinstance(network, CountingTrunk)
    told: list[int] = []
    plain = fit_scale(sampler, mean, images, count=6, batch_size=4, on_batch=told.append)
    assert told == [6 * probe + part for probe in range(len(plain.tried)) for part in (4, 6)]
    before = sum(network.batches)
    other = fit_scale(replace(scaled(sampler, mean, 3.0), seed=8), mean, images, count=6, batch_size=4)
    assert sum(network.batches) - before == len(plain.tried) * 5 * 6
    assert other == plain


@pytest.mark.parametrize("batch_size", [50, 256])
def test_batches_do_not_change_it(batch_size: int) -> None:
    mean = world_mean()
    sampler = world_sampler("small", DDPM(), mean)
    found = [fit_scale(sampler, mean, world_images(64), count=64, batch_size=b) for b in (64, batch_size)]
    assert found[0].scale == pytest.approx(found[1].scale, rel=1e-4)


def test_the_images_are_shuffled_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large set sorted by class must not lend its first class alone."""
    monkeypatch.setattr(diffcov.study.contrast_scale, "IMAGES", 40)
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
    mean = world_mean()
    sampler = world_sampler("small", DDPM(), mean)
    one, same, other = (fit_scale(sampler, mean, world_images(16), count=4, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.scale != other.scale


@pytest.mark.parametrize(("count", "batch_size"), [(0, 4), (4, 0)])
def test_at_least_one_sample(count: int, batch_size: int) -> None:
    mean = world_mean()
    sampler = world_sampler("small", DDPM(), mean)
    with pytest.raises(UsageError, match=f"must be at least 1, found {count} and {batch_size}"):
        fit_scale(sampler, mean, world_images(4), count=count, batch_size=batch_size)


def test_a_broken_network_is_found_out() -> None:
    mean = tiny_model(20)
    sampler = tiny_sampler(mean, 3)
    with torch.no_grad():
        next(mean.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteError, match="the mean model or the variance head is broken"):
        fit_scale(sampler, mean, tiny_images(4), count=4)


@pytest.mark.parametrize("solver", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "half"])
def test_a_scaled_sampler_divides_the_mean_s_noise(solver: Solver) -> None:
    """Scaling by c is sampling a network whose eps_hat is 1/c of it; head and exposure see the network's own."""
    mean = tiny_model(20)
    plain = tiny_sampler(mean, 4, "small", solver)
    heard: list[Look] = []
    noise = [ImageNoise(0, range(3), mean.data.shape) for _ in range(2)]
    found = sample(scaled(plain, mean, 1.25), noise[0], on_look=heard.append)
    expected = sample(tiny_sampler(longer(mean, 1 / 1.25), 4, "small", solver), noise[1])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    own = mean.look(ImageNoise(0, range(3), mean.data.shape).draw(), 20)
    assert torch.equal(heard[0].predicted, own.eps_hat)
    assert torch.equal(heard[0].features.activations, own.features.activations)


def test_another_scale_leaves_the_rest_of_the_view() -> None:
    mean = tiny_model(20)
    for view in (View(), View(clip_x0=True), View(eps_scale=3.0)):
        sampler = replace(tiny_sampler(mean, 3), denoiser=through(mean, view))
        assert scaled(sampler, mean, 1.25).denoiser.view == replace(view, eps_scale=1.25)
        assert scaled(sampler, mean, 1.0).denoiser.view == replace(view, eps_scale=1.0)


def test_a_fit_is_known_by_how_it_is_made_and_not_by_the_scale_that_it_finds() -> None:
    mean = tiny_model(20)
    planned = replace(tiny_sampler(mean, 3), scale_fit=ScaleFit(2, 512, "ab" * 32))
    assert scaled(planned, mean, 1.25).digest == planned.digest
    assert scaled(planned, mean, 1.25).label == planned.label == "large-ddpm-even3-last2-epsfitted-seed0"
    for other in (ScaleFit(3, 512, "ab" * 32), ScaleFit(2, 8, "ab" * 32), ScaleFit(2, 512, "cd" * 32), None):
        assert replace(planned, scale_fit=other).digest != planned.digest


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_is_a_positive_number(scale: float) -> None:
    mean = tiny_model(20)
    with pytest.raises(UsageError, match="eps_hat is divided by a positive number, found"):
        scaled(tiny_sampler(mean, 3), mean, scale)


def test_what_was_drawn_at_a_scale_is_not_drawn_again() -> None:
    """Stopped after each probe in turn, a fit finds what one that is never stopped finds."""
    mean = tiny_model(20)
    sampler, images, seen = tiny_sampler(mean, 3), tiny_images(40), dict[float, float]()
    plain = fit_scale(sampler, mean, images, count=16)

    class Stops(Exception):
        pass

    def kept(scale: float, make: Callable[[], float]) -> float:
        if scale not in seen:
            seen[scale] = make()
            raise Stops
        return seen[scale]

    tries = 0
    while True:
        tries += 1
        try:
            found = fit_scale(sampler, mean, images, count=16, kept=kept)
            break
        except Stops:
            continue
    assert found == plain
    assert tries == len(plain.tried) + 1
