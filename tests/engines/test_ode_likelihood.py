"""The likelihood of the probability flow, where it is known: Gaussian data, whose flow is a scale."""

from __future__ import annotations

import math

import pytest
import torch

from diffcov.data import DataDescription, Examples
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import logsnr
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.ode_likelihood import flow_likelihood
from diffcov.errors import UsageError
from oracles.gaussian import GaussianWorld
from oracles.mixture import MixtureWorld
from oracles.tiny import tiny_examples, tiny_model
from oracles.trunks import PerfectTrunk, perfect_model

SCHEDULE = NoiseSchedule.linear(1000)
DATA, WIDE = DataDescription(1, 2, 3), DataDescription(1, 5, 5)


def images(data: DataDescription, count: int = 64) -> Examples:
    """Grey levels around the middle, as of N(0.1, 0.04)."""
    draw = torch.Generator().manual_seed(0)
    x = 0.1 + 0.2 * torch.randn(count, *data.shape, generator=draw)
    return Examples(((x.clamp(-1, 1) + 1) / 2 * 255).round().to(torch.uint8))


def exact_nats(world: GaussianWorld, data: DataDescription, examples: Examples) -> float:
    """E over images of the same expression with log p(x_1) in closed form; one draw of eps has the mean over eps."""
    t, d = 1, data.dims
    x_0 = data.encode(examples.images).double()
    abar, bbar = float(SCHEDULE.alpha_bar[t]), float(SCHEDULE.beta_bar[t])
    mean, var = world.marginal_mean(t), world.marginal_var(t)
    squared = (abar**0.5 * x_0 - mean).square() + bbar
    log_p = (-(squared / var) / 2 - math.log(2 * math.pi * var) / 2).flatten(1).sum(1).mean()
    return float(-log_p - d / 2 * (1 + math.log(2 * math.pi * bbar)))


@pytest.mark.parametrize("data", [DATA, WIDE], ids=["whole trace", "random signs"])
def test_gaussian_data_have_their_density(data: DataDescription) -> None:
    """The trace of a linear field is the same for all signs; what is left is the step, and the decoder beside it."""
    world = GaussianWorld(SCHEDULE, 0.1, 0.04)
    model, examples = perfect_model(world, data).double(), images(data, 200)
    found = flow_likelihood(model, examples, logsnr(SCHEDULE, 120), batch_size=200)
    decoder = _decoder(model, examples, data)
    wanted = exact_nats(world, data, examples) + decoder
    assert found.exact == (data is DATA)
    told = found.as_dict()
    said = told["discretisation"] * data.dims * math.log(2)
    assert float(found.nats.mean()) == pytest.approx(wanted, abs=1.2 * said + 0.002 * data.dims)
    assert said < 0.01 * data.dims
    assert told["bits_per_dim"] == pytest.approx(float(found.nats.mean()) / (data.dims * math.log(2)))


def _decoder(model: object, examples: Examples, data: DataDescription) -> float:
    """The decoder alone, on the noise of the flow: a walk of two times minus its change of variables is too long."""
    from diffcov.denoiser.noised import Noised
    from diffcov.diffusion.level import q_sample
    from diffcov.engines.meters.likelihood import decoder_nats
    from diffcov.noise import MEASURING, ImageNoise

    x_0 = data.encode(examples.images, torch.float64)
    eps = ImageNoise(0, range(len(x_0)), data.shape, torch.device("cpu"), "flow", torch.float64, MEASURING).draw()
    with torch.no_grad():
        look = model.look(q_sample(SCHEDULE, x_0, 1, eps), 1)  # type: ignore[attr-defined]
    return float(decoder_nats(SCHEDULE, data, Noised(SCHEDULE, x_0, eps, look)).detach().mean())


def test_the_error_of_the_steps_is_of_order_two_and_said() -> None:
    """Twice the times: a quarter of the error, and about what is said."""
    model, examples = perfect_model(MixtureWorld(SCHEDULE), DATA).double(), images(DATA, 8)
    found = {K: flow_likelihood(model, examples, logsnr(SCHEDULE, K)) for K in (8, 15, 29, 113)}
    truth = found[113].nats.mean()
    errors = [float((found[K].nats.mean() - truth).abs()) for K in (8, 15, 29)]
    assert errors[0] / errors[1] > 2.5
    assert errors[1] / errors[2] > 2.5
    said = found[29].as_dict()["discretisation"] * DATA.dims * math.log(2)
    assert errors[2] / 3 < said < 3 * errors[2]


def test_images_do_not_depend_on_their_batch() -> None:
    model, examples = tiny_model(20).double(), tiny_examples(5)
    grid = explicit(20, (1, 5, 12, 20))
    whole = flow_likelihood(model, examples, grid, batch_size=5).nats
    parts = flow_likelihood(model, examples, grid, batch_size=2).nats
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-8)
    assert not torch.equal(whole, flow_likelihood(model, examples, grid, seed=1).nats)


@pytest.mark.parametrize("data", [DATA, WIDE], ids=["whole trace", "random signs"])
@pytest.mark.parametrize("times", [(1, 9), (1, 5, 12, 40, 90)], ids=["one step", "four steps"])
def test_the_calls_that_are_told_are_those_that_were_made(data: DataDescription, times: tuple[int, ...]) -> None:
    model = perfect_model(GaussianWorld(SCHEDULE, 0.1, 0.04), data).double()
    assert isinstance(model.network, PerfectTrunk)
    before = model.network.calls
    found = flow_likelihood(model, images(data, 3), explicit(1000, times))
    assert model.network.calls - before == found.network_calls


@pytest.mark.parametrize(
    ("schedule", "grid", "message"),
    [
        (SCHEDULE, Grid("even", 1000, (500,)), "^the flow needs at least 2 times to go along; give --steps 2 or more$"),
        (
            NoiseSchedule.from_betas([0.1, 0.2, 0.5, 1.0]), Grid("even", 4, (1, 4)),
            "^the flow begins at finite noise, and alpha_bar is 0 at t=4; give times below it with --grid$",
        ),
    ],
)  # fmt: skip
def test_what_it_cannot_go_along_is_refused(schedule: NoiseSchedule, grid: Grid, message: str) -> None:
    model = perfect_model(GaussianWorld(schedule, 0.1, 0.04), DATA).double()
    with pytest.raises(UsageError, match=message):
        flow_likelihood(model, images(DATA, 2), grid)
