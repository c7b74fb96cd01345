"""Norms of the predicted noise by hand, a sampler that is overheard, and noise in other bases than pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL, Basis, Dense, Separable, cosine
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.grids import even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.forward import measure
from diffcov.engines.last_noise import last_noise_cap
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate, sample
from diffcov.nets.features import Features
from diffcov.noise import ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from oracles.diagonal import DiagonalWorld, Told
from oracles.gaussian import GaussianWorld
from oracles.offered import OF_ANY_MEAN
from oracles.tiny import DATA, tiny_covariance, tiny_examples, tiny_ingredients, tiny_model
from oracles.trunks import perfect_model

LINEAR = NoiseSchedule.linear(1000)
RGB = DataDescription(3, 8, 8)
COSINE = cosine(3, 8, 8)


# --- the meter


def said(predicted: Tensor, t: int) -> Look:
    """A look of which nothing but what was predicted is a number."""
    nothing = torch.full_like(predicted, math.nan)
    return Look(nothing, t, nothing, nothing, predicted, Features(nothing, nothing))


def test_norms_by_hand() -> None:
    meter = NormMeter((7, 3))
    meter.hear(said(torch.tensor([[1.0, 2.0], [0.0, 3.0]]).reshape(2, 1, 1, 2), 3))
    meter.hear(said(torch.tensor([[2.0, 2.0]]).reshape(1, 1, 1, 2), 3))
    assert meter.times == (7, 3)
    found = meter.mean()
    assert found.dtype == torch.float64
    assert math.isnan(float(found[0]))
    assert float(found[1]) == pytest.approx((5 / 2 + 9 / 2 + 8 / 2) / 3)
    meter.hear(said(torch.zeros(4, 1, 1, 2), 7))
    assert float(meter.mean()[0]) == 0


def test_the_forward_path_of_the_gaussian_world() -> None:
    """E||eps_hat||^2 / d = bbar_t / Var[x_t], here for the one image that is grey 8 everywhere: x_0 = 0."""
    world, times, count = GaussianWorld(LINEAR, 0.0, 0.25), (1, 400, 1000), 200
    meter = NormMeter(times)
    grey = torch.full((count, *DATA.shape), 8, dtype=torch.uint8)
    measure(perfect_model(world, DATA).freeze(), Examples(grey), [meter], batch_size=64)
    for t, found in zip(times, meter.mean().tolist(), strict=True):
        bbar = float(LINEAR.beta_bar[t])
        expected = bbar**2 / world.marginal_var(t) ** 2  # x_t = sqrt(bbar) eps, eps_hat = sqrt(bbar) x_t / Var
        assert found == pytest.approx(expected, rel=4 * math.sqrt(2 / (64 * count)))


# --- overhearing the sampler


@pytest.fixture(scope="module")
def model() -> MeanModel:
    return tiny_model(50)


@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("name", ["small", "corrected", "npr"])
def test_the_sampler_tells_every_look_and_does_not_mind_being_heard(
    model: MeanModel, name: str, solver: Solver
) -> None:
    grid = even(50, 5)
    seen = through(model, View(clip_x0=True))
    chosen = Sampler(seen, tiny_covariance(name, model), solver, grid, cap_levels=2.0, seed=1)
    silent = torch.cat(list(generate(chosen, 7, batch_size=3)))
    model.network.batches.clear()
    told: list[tuple[int, Tensor]] = []
    meter = NormMeter(grid.times)

    def listen(look: Look) -> None:
        told.append((look.time, look.predicted.clone()))
        meter.hear(look)

    heard = torch.cat(list(generate(chosen, 7, batch_size=3, on_look=listen)))
    assert torch.equal(heard, silent)
    assert model.network.batches == [3] * 5 + [3] * 5 + [1] * 5
    assert [t for t, _ in told] == list(reversed(grid.times)) * 3
    assert [len(predicted) for _, predicted in told] == model.network.batches
    for t, found in zip(grid.times, meter.mean().tolist(), strict=True):
        every = torch.cat([predicted for other, predicted in told if other == t])
        assert every.shape == (7, *DATA.shape)
        assert found == pytest.approx(float(every.double().square().mean()), rel=1e-6)


@pytest.mark.parametrize("view", [View(), View(clip_x0=True, eps_scale=1.1)], ids=["bare", "scaled and clipped"])
def test_what_is_told_is_what_the_network_said(model: MeanModel, view: View) -> None:
    """The first look is at the start noise itself, and what was predicted is not scaled."""
    told: list[Look] = []
    chosen = Sampler(through(model, view), tiny_covariance("small", model), DDPM(), even(50, 3), None)
    sample(chosen, ImageNoise(0, range(2), DATA.shape), on_look=told.append)
    start = ImageNoise(0, range(2), DATA.shape).draw()
    assert torch.equal(told[0].x_t, start)
    assert torch.equal(told[0].predicted, model.look(start, 50).eps_hat)
    assert torch.equal(told[0].eps_hat, told[0].predicted / view.eps_scale)
    assert len(told) == 3


def test_the_forward_path_costs_no_call_more_beside_other_meters(model: MeanModel) -> None:
    model.network.batches.clear()
    one, other = NormMeter((5, 9)), NormMeter((9, 50))
    measure(model, tiny_examples(4), [one, other], batch_size=4)
    assert model.network.batches == [4, 4, 4]
    assert one.mean()[1] == other.mean()[0]


# --- the basis of the noise


ELSEWHERE: dict[str, type[Basis]] = {"spectral": Separable, "banded": Separable, "full": Dense}
"""What is not diagonal in pixels."""


def test_a_covariance_is_diagonal_in_pixels_unless_it_says_otherwise(model: MeanModel) -> None:
    x_t = ImageNoise(0, range(1), DATA.shape).draw()
    for name in registry.COVARIANCES:
        for t in (1, 25, 50):
            basis = tiny_covariance(name, model).at(model.look(x_t, t)).basis
            assert type(basis) is ELSEWHERE.get(name, type(PIXEL)), name


NARROW = replace(DATA, low=-0.125, high=0.125)


@pytest.mark.parametrize(("data", "var_bound"), [(DATA, 1.0), (NARROW, 1 / 64)], ids=["wide", "narrow"])
def test_it_is_clipped_before_the_lift(model: MeanModel, data: DataDescription, var_bound: float) -> None:
    """To [0, upper bound]: var_bound for a pixel, what it makes of a coefficient, and r as well for `analytic`."""
    x_t = ImageNoise(0, range(3), DATA.shape).draw()
    for t in (2, 25, 50):
        look, step = model.look(x_t, t), Step(model.schedule, t - 1, t)
        for name in OF_ANY_MEAN:  # what a learned range makes of its step is no lift
            parts = tiny_ingredients(name, model).parts.values()
            covariance = registry.load(name)(Ingredients.of(model.schedule, data, *parts))
            pixel = min(var_bound, float(model.schedule.ratio[t])) if name == "analytic" else var_bound
            raw, found = covariance.unbounded(look), covariance.at(look)
            upper = torch.as_tensor(raw.basis.largest_variance(pixel), dtype=raw.var.dtype)
            assert torch.equal(found.var, raw.var.clamp(min=0).minimum(upper)), name
            assert torch.equal(found.lifted(step).var, step.lift(found.var))


def by_hand(world: DiagonalWorld, covariance: Covariance, times: tuple[int, ...], cap: float, eta: float) -> Tensor:
    """The reverse loop in float64, every step's noise through the explicit matrix of its basis."""
    eye = torch.eye(RGB.dims, dtype=torch.float64).reshape(-1, *RGB.shape)
    noise = ImageNoise(0, range(3), RGB.shape)
    x = noise.draw().double()
    for s, t in explicit(1000, times).pairs():
        step, eps_hat, abar = Step(LINEAR, s, t, eta), world.eps_hat(x, t), LINEAR.alpha_bar[t]
        x_0 = (x - (1 - abar).sqrt() * eps_hat) / abar.sqrt()
        mean = math.sqrt(step.alpha_bar_s) * x_0 + step.direction * eps_hat
        if s == 0:
            return mean
        found = covariance.unbounded(world.look(x, t))
        U = found.basis.forward(eye).reshape(RGB.dims, RGB.dims).T
        var = step.lift(found.var.double())  # nothing here comes near the bound
        var = (var.clamp(max=cap) if s == times[0] else var).expand_as(x)
        z = noise.draw().double()
        coefficients = (z.reshape(3, -1) @ U.T).reshape(x.shape)
        x = mean + ((var.sqrt() * coefficients).reshape(3, -1) @ U).reshape(x.shape)  # rows times U are U^T z
    raise AssertionError("the last step ends at the data")


def textured(basis: Basis) -> DiagonalWorld:
    order = torch.randperm(RGB.dims, generator=torch.Generator().manual_seed(8))
    var = torch.logspace(-2, 0, RGB.dims, dtype=torch.float64)[order].reshape(RGB.shape)
    return DiagonalWorld(LINEAR, var, basis)


def in_float32(world: DiagonalWorld, basis: Basis) -> Covariance:
    """The exact variances as a head would give them, said to be those of ``basis``."""
    return Told(world.schedule, lambda t: world.cov_x0(t).float(), basis, RGB)


@pytest.mark.parametrize("basis", [PIXEL, COSINE], ids=["pixel", "cosine"])
@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("levels", [None, 2.0])
def test_noise_is_put_back_in_the_covariances_basis(solver: Solver, basis: Basis, levels: float | None) -> None:
    """Coefficient by coefficient, the cap included."""
    world, times = textured(basis), (50, 150, 300)
    cap = math.inf if levels is None else last_noise_cap(levels, RGB.level_width)
    expected = by_hand(world, in_float32(world, basis), times, cap, solver.eta)
    chosen = Sampler(perfect_model(world, RGB), in_float32(world, basis), solver, explicit(1000, times), levels)
    found = sample(chosen, ImageNoise(0, range(3), RGB.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_five_steps_give_every_cosine_its_variance(solver: Solver) -> None:
    """Variances from 0.01 to 1 over the cosines come out of the sampler; in pixels they would be washed out."""
    world, count = textured(COSINE), 1500
    model, grid = perfect_model(world, RGB), even(1000, 5)
    chosen = Sampler(model, in_float32(world, COSINE), solver, grid, cap_levels=None)
    found = sample(chosen, ImageNoise(1, range(count), RGB.shape)).double()
    # The last step returns a mean, which lacks Cov[x_0 | x_1] (at most 1e-4).
    variances = COSINE.forward(found).square().mean(0) + world.cov_x0(1)
    ratio = variances / world.var
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(2 / count) + 1e-3
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / (count * RGB.dims)) + 1e-3)
    confused = Sampler(model, in_float32(world, PIXEL), solver, grid, cap_levels=None)
    washed = sample(confused, ImageNoise(1, range(200), RGB.shape)).double()
    assert float((COSINE.forward(washed).square().mean(0) / world.var).max()) > 2


def test_pixels_are_sampled_bit_by_bit_as_without_a_basis(model: MeanModel) -> None:
    """The loop written out with plain pixel noise, for every covariance of the registry that has it.

    For the others its noise goes through the explicit matrix of the basis of t and back, in float64.
    """
    alpha_bar = [float(value) for value in model.schedule.alpha_bar]
    for name in OF_ANY_MEAN:
        covariance, grid = tiny_covariance(name, model), even(50, 4)
        noise = ImageNoise(5, range(2), DATA.shape)
        x_t = noise.draw()
        with torch.inference_mode():
            for s, t in grid.pairs():
                step, look = Step(model.schedule, s, t), model.look(x_t, t)
                bbar = float(model.schedule.beta_bar[t])
                x0_hat = ((x_t - math.sqrt(bbar) * look.predicted) / math.sqrt(alpha_bar[t])).clamp(-1, 1)
                x_s = step.gamma * x0_hat + (step.direction / math.sqrt(bbar)) * x_t
                if s > 0:
                    uncertain = covariance.at(look)
                    std, added = step.lift(uncertain.var).sqrt(), noise.draw()
                    if name not in ELSEWHERE:
                        added = std * added
                    else:
                        eye = torch.eye(DATA.dims, dtype=torch.float64).reshape(-1, *DATA.shape)
                        U = uncertain.basis.forward(eye).flatten(1).T
                        coefficients = (added.double().flatten(1) @ U.T).reshape(added.shape)
                        added = ((std * coefficients).flatten(1) @ U).reshape(added.shape).float()
                    x_s = x_s + added
                x_t = x_s
        chosen = Sampler(through(model, View(clip_x0=True)), covariance, DDPM(), grid, cap_levels=None)
        found = sample(chosen, ImageNoise(5, range(2), DATA.shape))
        if name in ELSEWHERE:
            torch.testing.assert_close(found, x_t, rtol=0, atol=1e-4)
        else:
            assert torch.equal(found, x_t), name
