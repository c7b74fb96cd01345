"""Norms of the predicted noise by hand, a sampler that is overheard, and noise in other bases than pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL, Basis, Dense, Separable, cosine
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.clipping import last_noise_cap
from diffcov.data import DataDescription
from diffcov.denoiser.network import MeanModel
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.grid import even, explicit
from diffcov.diffusion.process import DDIM, DDPM, Process, Step, x0_from_eps
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import measure
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.sampling import Sampler, generate, sample
from diffcov.nets.features import Features
from diffcov.noise import ImageNoise
from oracles.diagonal import DiagonalWorld, Told
from oracles.gaussian import GaussianWorld
from oracles.tiny import DATA, tiny_covariance, tiny_images, tiny_model
from oracles.trunks import perfect_model

LINEAR = NoiseSchedule.linear(1000)
RGB = DataDescription(3, 8, 8)
COSINE = cosine(3, 8, 8)


# --- the meter


def test_norms_by_hand() -> None:
    meter = NormMeter((7, 3))
    meter.hear(3, torch.tensor([[1.0, 2.0], [0.0, 3.0]]).reshape(2, 1, 1, 2))
    meter.hear(3, torch.tensor([[2.0, 2.0]]).reshape(1, 1, 1, 2))
    assert meter.times == (7, 3)
    found = meter.mean()
    assert found.dtype == torch.float64
    assert math.isnan(float(found[0]))
    assert float(found[1]) == pytest.approx((5 / 2 + 9 / 2 + 8 / 2) / 3)
    meter.hear(7, torch.zeros(4, 1, 1, 2))
    assert float(meter.mean()[0]) == 0


def test_the_forward_path_of_the_gaussian_world() -> None:
    """E||eps_hat||^2 / d = bbar_t / Var[x_t], here for the one image that is grey 8 everywhere: x_0 = 0."""
    world, times, count = GaussianWorld(LINEAR, 0.0, 0.25), (1, 400, 1000), 200
    meter = NormMeter(times)
    grey = torch.full((count, *DATA.shape), 8, dtype=torch.uint8)
    measure(perfect_model(world, DATA).freeze(), grey, [meter], batch_size=64)
    for t, found in zip(times, meter.mean().tolist(), strict=True):
        bbar = float(LINEAR.beta_bar[t])
        expected = bbar**2 / world.marginal_var(t) ** 2  # x_t = sqrt(bbar) eps, eps_hat = sqrt(bbar) x_t / Var
        assert found == pytest.approx(expected, rel=4 * math.sqrt(2 / (64 * count)))


# --- overhearing the sampler


@pytest.fixture(scope="module")
def model() -> MeanModel:
    return tiny_model(50)


@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("name", ["small", "corrected", "npr"])
def test_the_sampler_tells_every_call_and_does_not_mind_being_heard(
    model: MeanModel, name: str, process: Process
) -> None:
    trajectory = even(50, 5)
    chosen = Sampler(tiny_covariance(name, model), process, trajectory, cap_levels=2.0)
    silent = torch.cat(list(generate(model, chosen, 7, seed=1, batch_size=3)))
    model.trunk.batches.clear()
    told: list[tuple[int, Tensor]] = []
    meter = NormMeter(trajectory.times)

    def listen(t: int, eps_hat: Tensor) -> None:
        told.append((t, eps_hat.clone()))
        meter.hear(t, eps_hat)

    heard = torch.cat(list(generate(model, chosen, 7, seed=1, batch_size=3, on_prediction=listen)))
    assert torch.equal(heard, silent)
    assert model.trunk.batches == [3] * 5 + [3] * 5 + [1] * 5
    assert [t for t, _ in told] == list(reversed(trajectory.times)) * 3
    assert [len(eps_hat) for _, eps_hat in told] == model.trunk.batches
    for t, found in zip(trajectory.times, meter.mean().tolist(), strict=True):
        every = torch.cat([eps_hat for other, eps_hat in told if other == t])
        assert every.shape == (7, *DATA.shape)
        assert found == pytest.approx(float(every.double().square().mean()), rel=1e-6)


def test_what_is_told_is_what_the_network_said(model: MeanModel) -> None:
    """The first call sees the start noise itself."""
    told: list[Tensor] = []
    chosen = Sampler(tiny_covariance("small", model), DDPM(), even(50, 3), None)
    sample(model, chosen, ImageNoise(0, range(2), DATA.shape), lambda t, eps_hat: told.append(eps_hat.clone()))
    expected = model.predict_at(ImageNoise(0, range(2), DATA.shape).draw(), 50).eps_hat
    assert torch.equal(told[0], expected)
    assert len(told) == 3


def test_the_forward_path_costs_no_call_more_beside_other_meters(model: MeanModel) -> None:
    model.trunk.batches.clear()
    one, other = NormMeter((5, 9)), NormMeter((9, 50))
    measure(model, tiny_images(4), [one, other], batch_size=4)
    assert model.trunk.batches == [4, 4, 4]
    assert one.mean()[1] == other.mean()[0]


# --- the basis of the noise


ELSEWHERE: dict[str, type[Basis]] = {"spectral": Separable, "banded": Separable, "full": Dense}
"""What is not diagonal in pixels."""


def test_a_covariance_is_diagonal_in_pixels_unless_it_says_otherwise(model: MeanModel) -> None:
    for name in registry.COVARIANCES:
        for t in (1, 25, 50):
            basis = tiny_covariance(name, model).basis_at(model.schedule, t)
            assert type(basis) is ELSEWHERE.get(name, type(PIXEL)), name


def test_bounded_is_clipped_before_the_lift(model: MeanModel) -> None:
    """To [0, upper bound]: var_bound for a pixel, what it makes of a coefficient, and r as well for `analytic`."""
    x_t = ImageNoise(0, range(3), DATA.shape).draw()
    for t in (2, 25, 50):
        prediction, step = model.predict_at(x_t, t), Step(model.schedule, t - 1, t)
        for name in registry.COVARIANCES:
            covariance = tiny_covariance(name, model)
            for var_bound in (1.0, 0.01):
                pixel = min(var_bound, float(model.schedule.ratio[t])) if name == "analytic" else var_bound
                upper = covariance.basis_at(model.schedule, t).largest_variance(pixel)
                bounded = covariance.bounded_var_x0(model.schedule, t, prediction, var_bound)
                raw = covariance.var_x0(model.schedule, t, prediction)
                expected = raw.clamp(min=0).minimum(torch.as_tensor(upper, dtype=raw.dtype))
                assert torch.equal(bounded, expected)
                assert torch.equal(covariance.var_xs(step, prediction, var_bound), step.lift(bounded))


def by_hand(world: DiagonalWorld, covariance: Covariance, times: tuple[int, ...], cap: float, eta: float) -> Tensor:
    """The reverse loop in float64, every step's noise through the explicit matrix of its basis."""
    eye = torch.eye(RGB.dims, dtype=torch.float64).reshape(-1, *RGB.shape)
    U = covariance.basis_at(LINEAR, times[0]).forward(eye).reshape(RGB.dims, RGB.dims).T
    noise = ImageNoise(0, range(3), RGB.shape)
    x = noise.draw().double()
    for s, t in explicit(1000, times).pairs():
        step, eps_hat = Step(LINEAR, s, t, eta), world.eps_hat(x, t)
        prediction = Prediction(eps_hat, Features(x, x))
        x_0 = x0_from_eps(LINEAR, x, t, eps_hat)
        mean = math.sqrt(step.alpha_bar_s) * x_0 + step.direction * eps_hat
        if s == 0:
            return mean
        var = covariance.var_xs(step, prediction, 1.0).double()
        var = (var.clamp(max=cap) if s == times[0] else var).expand_as(x)
        z = noise.draw().double()
        x = mean + ((var.sqrt() * z).reshape(3, -1) @ U).reshape(x.shape)  # rows times U are U^T z
    raise AssertionError("the last step ends at the data")


def textured(basis: Basis) -> DiagonalWorld:
    order = torch.randperm(RGB.dims, generator=torch.Generator().manual_seed(8))
    var = torch.logspace(-2, 0, RGB.dims, dtype=torch.float64)[order].reshape(RGB.shape)
    return DiagonalWorld(LINEAR, var, basis)


def in_float32(world: DiagonalWorld, basis: Basis) -> Covariance:
    """The exact variances as a head would give them, said to be those of ``basis``."""
    return Told(lambda t: world.cov_x0(t).float(), basis)


@pytest.mark.parametrize("basis", [PIXEL, COSINE], ids=["pixel", "cosine"])
@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("levels", [None, 2.0])
def test_noise_is_put_back_in_the_covariances_basis(process: Process, basis: Basis, levels: float | None) -> None:
    """Coefficient by coefficient, the cap included."""
    world, times = textured(basis), (50, 150, 300)
    cap = math.inf if levels is None else last_noise_cap(levels, RGB.level_width)
    expected = by_hand(world, in_float32(world, basis), times, cap, process.eta)
    chosen = Sampler(in_float32(world, basis), process, explicit(1000, times), levels, clip_x0=False)
    found = sample(perfect_model(world, RGB), chosen, ImageNoise(0, range(3), RGB.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_five_steps_give_every_cosine_its_variance(process: Process) -> None:
    """Variances from 0.01 to 1 over the cosines come out of the sampler; in pixels they would be washed out."""
    world, count = textured(COSINE), 1500
    trajectory = even(1000, 5)
    chosen = Sampler(in_float32(world, COSINE), process, trajectory, cap_levels=None, clip_x0=False)
    found = sample(perfect_model(world, RGB), chosen, ImageNoise(1, range(count), RGB.shape)).double()
    # The last step returns a mean, which lacks Cov[x_0 | x_1] (at most 1e-4).
    variances = COSINE.forward(found).square().mean(0) + world.cov_x0(1)
    ratio = variances / world.var
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(2 / count) + 1e-3
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / (count * RGB.dims)) + 1e-3)
    confused = Sampler(in_float32(world, PIXEL), process, trajectory, cap_levels=None, clip_x0=False)
    washed = sample(perfect_model(world, RGB), confused, ImageNoise(1, range(200), RGB.shape)).double()
    assert float((COSINE.forward(washed).square().mean(0) / world.var).max()) > 2


def test_pixels_are_sampled_bit_by_bit_as_without_a_basis(model: MeanModel) -> None:
    """The loop written out with plain pixel noise, for every covariance of the registry that has it.

    For the others its noise goes through the explicit matrix of the basis of t, in float64.
    """
    for name in registry.COVARIANCES:
        covariance, trajectory = tiny_covariance(name, model), even(50, 4)
        noise = ImageNoise(5, range(2), DATA.shape)
        x_t = noise.draw()
        with torch.inference_mode():
            for s, t in trajectory.pairs():
                step, prediction = Step(model.schedule, s, t), model.predict_at(x_t, t)
                x0_hat = x0_from_eps(model.schedule, x_t, t, prediction.eps_hat).clamp(-1, 1)
                x_t = DDPM().mean(step, x_t, x0_hat, prediction.eps_hat)
                if s > 0:
                    added = covariance.var_xs(step, prediction, 1.0).sqrt() * noise.draw()
                    if name in ELSEWHERE:
                        eye = torch.eye(DATA.dims, dtype=torch.float64).reshape(-1, *DATA.shape)
                        U = covariance.basis_at(model.schedule, t).forward(eye).flatten(1).T
                        added = (added.double().flatten(1) @ U).reshape(added.shape).float()
                    x_t = x_t + added
        chosen = Sampler(covariance, DDPM(), trajectory, cap_levels=None)
        found = sample(model, chosen, ImageNoise(5, range(2), DATA.shape))
        if name in ELSEWHERE:
            torch.testing.assert_close(found, x_t, rtol=0, atol=1e-4)
        else:
            assert torch.equal(found, x_t), name
