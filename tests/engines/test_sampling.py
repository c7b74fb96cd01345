"""The reverse loop: K calls, the right noise at the right steps, images that depend on (seed, i) alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted
from diffcov.covariance.npr import NPR
from diffcov.data import DataDescription
from diffcov.denoiser.network import MeanModel, TimeConvention
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.grid import TRAJECTORIES, Trajectory, even, explicit
from diffcov.diffusion.process import DDIM, DDPM, Process
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampling import Sampler, generate, sample
from diffcov.errors import NonFiniteError, UsageError
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.noise import ImageNoise
from diffcov.statistics.knots import Knots
from oracles.gaussian import GaussianWorld
from oracles.trunks import CountingTrunk, perfect_model

DATA = DataDescription(1, 8, 8, levels=17)
SCHEDULE = NoiseSchedule.linear(50)
WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.1, var=0.25)
TABLE = WORLD.table()
SAME_ON_A_CPU = 1e-5
"""Absolute, for values of order 1: float32 convolutions of other batch sizes round differently."""


@cache
def measured(world: GaussianWorld) -> Fitted:
    """Exact table, spectrum and matrices, these at knots as the program spreads them."""
    return world.fitted(DATA.shape, Knots.spread(world.schedule, 32).times)


def covariance(name: str, world: GaussianWorld = WORLD) -> Covariance:
    """Any registered covariance; heads answer 1/2."""
    heads = {
        head: (lambda features, t: 0.5 * torch.ones_like(features.activations[:, :1])) for head in registry.heads()
    }
    return registry.load(name).build(replace(measured(world), heads=heads))


@pytest.fixture
def model() -> MeanModel:
    """A small U-Net with weights everywhere."""
    torch.manual_seed(0)
    network = UNetConfig(1, 8, 8, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), heads=1, dropout=0.0)
    trunk = UNet(network)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.15)
    return MeanModel(CountingTrunk(trunk), SCHEDULE, DATA, TimeConvention(1.0, 20.0)).freeze()


def sampler(name: str = "large", steps: int = 4, process: Process | None = None, **options: object) -> Sampler:
    chosen = covariance(name, GaussianWorld(SCHEDULE, 0.1, 0.25))
    settings = {"cap_levels": 2.0, **options}
    return Sampler(chosen, process or DDPM(), even(SCHEDULE.T, steps), **settings)  # type: ignore[arg-type]


def images(model: MeanModel, which: range, chosen: Sampler | None = None, seed: int = 3) -> Tensor:
    return sample(model, chosen or sampler(), ImageNoise(seed, which, DATA.shape))


# --- network calls


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 15, 30, 50])
def test_k_steps_are_k_calls(model: MeanModel, trajectory: str, steps: int) -> None:
    chosen = Sampler(covariance("small"), DDPM(), TRAJECTORIES[trajectory](50, steps), None)
    images(model, range(2), chosen)
    assert model.trunk.batches == [2] * steps


@pytest.mark.parametrize("process", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "eta 0.5"])
@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_no_covariance_calls_the_trunk_again(model: MeanModel, name: str, process: Process) -> None:
    if name == "large" and process.eta != 1:
        with pytest.raises(UsageError, match="use --process ddpm, or another covariance"):
            sampler(name, process=process)
        return
    found = images(model, range(3), sampler(name, steps=6, process=process))
    assert model.trunk.batches == [3] * 6
    assert found.dtype == torch.float32
    assert found.shape == (3, *DATA.shape)
    assert torch.isfinite(found).all()


def test_generate_calls_k_times_a_batch(model: MeanModel) -> None:
    told: list[int] = []
    found = list(generate(model, sampler(steps=5), 8, batch_size=3, on_batch=told.append))
    assert model.trunk.batches == [3] * 5 + [3] * 5 + [2] * 5
    assert [len(batch) for batch in found] == [3, 3, 2]
    assert told == [3, 6, 8]
    assert all(batch.dtype == torch.uint8 and int(batch.max()) < DATA.levels for batch in found)


# --- image i depends on (seed, i)


@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_batches_do_not_matter(model: MeanModel, name: str) -> None:
    chosen = sampler(name)
    whole = images(model, range(8), chosen)
    for split in ([4, 4], [3, 3, 2], [1] * 8):
        starts = [sum(split[:i]) for i in range(len(split))]
        parts = [images(model, range(start, start + n), chosen) for start, n in zip(starts, split, strict=True)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=SAME_ON_A_CPU)


def test_first_continues_where_an_earlier_call_ended(model: MeanModel) -> None:
    whole = torch.cat(list(generate(model, sampler(), 8, seed=3, batch_size=4)))
    rest = torch.cat(list(generate(model, sampler(), 4, seed=3, batch_size=4, first=4)))
    assert torch.equal(rest, whole[4:])
    assert len({image.numpy().tobytes() for image in whole}) == 8, "no image is drawn twice"


def test_same_seed_same_bytes_and_other_seeds_other_images(model: MeanModel) -> None:
    a, b, c = (images(model, range(3), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_global_generator_is_neither_read_nor_touched(model: MeanModel) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = images(model, range(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(images(model, range(2)), first)


def test_the_start_noise_is_common_to_all_covariances_and_steps(model: MeanModel) -> None:
    """At one step there is no other noise, so all covariances give the same image."""
    first = images(model, range(2), sampler("small", steps=1))
    for name in registry.COVARIANCES:
        assert torch.equal(images(model, range(2), sampler(name, steps=1)), first)


# --- the arithmetic of the steps, by hand in float64


def by_hand(
    world: GaussianWorld,
    times: list[int],
    draws: list[Tensor],
    var_xs: Callable[[int, int], float],
    ddim: bool,
    bias: float = 0.0,
    clip: tuple[float, float] = (-math.inf, math.inf),
) -> Tensor:
    """The loop of the papers for eta = 1 or 0 in the Gaussian world; the network is off by ``bias * x_t``."""
    abar = [float(value) for value in world.schedule.alpha_bar]
    noise = iter(draws)
    x = next(noise).double()
    for s, t in zip([0, *times[:-1]][::-1], times[::-1], strict=True):
        eps = world.eps_hat(x, t) + bias * x
        x_0 = ((x - math.sqrt(1 - abar[t]) * eps) / math.sqrt(abar[t])).clamp(*clip)
        alpha = abar[t] / abar[s]
        if ddim:
            x = math.sqrt(abar[s]) * x_0 + math.sqrt(1 - abar[s]) * eps
        else:
            x = (
                math.sqrt(abar[s]) * (1 - alpha) / (1 - abar[t]) * x_0
                + math.sqrt(alpha) * (1 - abar[s]) / (1 - abar[t]) * x
            )
        if s > 0:
            x = x + math.sqrt(var_xs(s, t)) * next(noise).double()
    assert not list(noise), "one draw at the start and one a noisy step"
    return x


def large(s: int, t: int) -> float:
    return 1 - float(WORLD.schedule.alpha_bar[t] / WORLD.schedule.alpha_bar[s])


HAND = 2e-4
"""Absolute: 4 steps of float32 against float64 in T = 1000, where x0_hat at t = T divides by sqrt(abar_T) = 0.006."""


@pytest.mark.parametrize("levels", [None, 0.0, 1.0, 2.0, 1e9])
@pytest.mark.parametrize("times", [[1000], [300, 1000], [150, 400, 700], [50, 300, 600, 900]], ids=len)
def test_the_last_noise_is_capped_at_t1_and_only_there(times: list[int], levels: float | None) -> None:
    """E|cap noise| = levels grey levels: var <= (levels w)^2 pi / 2. No noise at all at s = 0."""
    cap = math.inf if levels is None else (levels * 2 / 16) ** 2 * math.pi / 2

    def var_xs(s: int, t: int) -> float:
        return min(large(s, t), cap) if s == times[0] else large(s, t)

    noise = ImageNoise(0, range(3), DATA.shape)
    expected = by_hand(WORLD, times, [noise.draw() for _ in times], var_xs, ddim=False)
    chosen = Sampler(covariance("large"), DDPM(), explicit(1000, times), levels, clip_x0=False)
    found = sample(perfect_model(WORLD, DATA), chosen, ImageNoise(0, range(3), DATA.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=HAND)


def test_ddim_s_mean_goes_through_eps_hat() -> None:
    times = [100, 500, 1000]
    noise = ImageNoise(0, range(3), DATA.shape)
    expected = by_hand(WORLD, times, [noise.draw() for _ in times], lambda s, t: 0.0, ddim=True)
    chosen = Sampler(covariance("small"), DDIM(), explicit(1000, times), None, clip_x0=False)
    found = sample(perfect_model(WORLD, DATA), chosen, ImageNoise(0, range(3), DATA.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=HAND)


CLIPPED = 1e-6
"""Absolute: up to t = 300, where x0_hat divides by sqrt(abar_t) = 0.6, and float32 loses little."""
UP_TO_300 = [50, 150, 300]
UNIT = DataDescription(1, 8, 8, levels=17, low=0.0, high=1.0)


def small(s: int, t: int) -> float:
    abar = WORLD.schedule.alpha_bar
    return large(s, t) * float((1 - abar[s]) / (1 - abar[t]))


@pytest.mark.parametrize("data", [DATA, UNIT], ids=["-1..1", "0..1"])
@pytest.mark.parametrize(("process", "bias"), [(DDPM(), -0.6), (DDIM(), 1.0)], ids=["ddpm", "ddim"])
def test_a_clip_of_x0_hat_that_bites(process: Process, bias: float, data: DataDescription) -> None:
    """DDPM goes on from the clipped x0_hat and x_t, DDIM from the clipped x0_hat and eps_hat as predicted."""
    ddim = process.eta == 0
    noise = ImageNoise(0, range(3), data.shape)
    draws = [noise.draw() for _ in UP_TO_300]
    var_xs = (lambda s, t: 0.0) if ddim else small
    clipped, unclipped = (
        by_hand(WORLD, UP_TO_300, draws, var_xs, ddim, bias, clip)
        for clip in ((data.low, data.high), (-math.inf, math.inf))
    )
    by_the_last_clip = unclipped.clamp(data.low, data.high) - clipped
    assert float(by_the_last_clip.abs().max()) > 0.01, "earlier clips matter too"
    chosen = Sampler(covariance("small"), process, explicit(1000, UP_TO_300), cap_levels=None)
    found = sample(perfect_model(WORLD, data, bias), chosen, ImageNoise(0, range(3), data.shape))
    torch.testing.assert_close(found.double(), clipped, rtol=0, atol=CLIPPED)
    assert data.low <= float(found.min()) < float(found.max()) <= data.high
    if not ddim:
        assert (float(found.min()), float(found.max())) == (data.low, data.high), "the last clip bites, too"


@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize(("data", "bound"), [(DATA, 1.0), (UNIT, 0.25)], ids=["-1..1", "0..1"])
def test_a_huge_head_is_held_to_the_variance_of_the_data_range(
    process: Process, data: DataDescription, bound: float
) -> None:
    """No variable in [low, high] has a variance above ((high - low) / 2)^2; the lift adds lambda2."""
    ddim = process.eta == 0
    abar = [float(value) for value in WORLD.schedule.alpha_bar]

    def var_xs(s: int, t: int) -> float:
        lambda2 = 0.0 if ddim else small(s, t)
        gamma = math.sqrt(abar[s]) - math.sqrt((1 - abar[s] - lambda2) * abar[t] / (1 - abar[t]))
        return lambda2 + gamma**2 * bound

    noise = ImageNoise(0, range(3), data.shape)
    expected = by_hand(WORLD, UP_TO_300, [noise.draw() for _ in UP_TO_300], var_xs, ddim)
    huge = NPR(lambda features, t: torch.full_like(features.activations[:, :1], 1e9))
    chosen = Sampler(huge, process, explicit(1000, UP_TO_300), cap_levels=None, clip_x0=False)
    found = sample(perfect_model(WORLD, data), chosen, ImageNoise(0, range(3), data.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5 * CLIPPED)


def test_clip_x0_keeps_the_result_in_the_data_range(model: MeanModel) -> None:
    """The last step returns x0_hat itself, so it is in range exactly if that was clipped."""
    assert images(model, range(4), sampler()).abs().max() <= 1
    assert images(model, range(4), sampler(clip_x0=False)).abs().max() > 1


# --- the distribution: why this project exists


def output_var(world: GaussianWorld, trajectory: Trajectory, exact: bool, eta: float) -> float:
    """Var x_0 of the sampler in the Gaussian world, by the scalar recursion: x_s = slope x_t + noise."""
    abar = [float(value) for value in world.schedule.alpha_bar]
    var = 1.0
    for s, t in trajectory.pairs():
        coefficient = math.sqrt(1 - abar[t]) / world.marginal_var(t)
        to_x0 = (1 - math.sqrt(1 - abar[t]) * coefficient) / math.sqrt(abar[t])
        lambda2 = eta**2 * (1 - abar[t] / abar[s]) * (1 - abar[s]) / (1 - abar[t])
        direction = math.sqrt(1 - abar[s] - lambda2)
        slope = math.sqrt(abar[s]) * to_x0 + direction * coefficient
        gamma = math.sqrt(abar[s]) - direction * math.sqrt(abar[t] / (1 - abar[t]))
        added = lambda2 + (gamma**2 * world.cov_x0(t) if exact else 0.0)
        var = slope**2 * var + (added if s > 0 else 0.0)
    return var


PIXELS = DataDescription(1, 32, 32)
COUNT = 64


@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("name", ["analytic", "corrected", "small"])
def test_five_steps_in_the_gaussian_world(name: str, process: Process) -> None:
    """The right covariance gives the data's variance in 5 steps; ``small`` gives a fifth of it."""
    trajectory = even(1000, 5)
    chosen = Sampler(covariance(name), process, trajectory, cap_levels=None, clip_x0=False)
    found = sample(perfect_model(WORLD, PIXELS), chosen, ImageNoise(1, range(COUNT), PIXELS.shape)).double()
    n = found.numel()
    expected = output_var(WORLD, trajectory, name != "small", process.eta)
    four_standard_errors = 4 * expected * math.sqrt(2 / n)
    assert float(found.var()) == pytest.approx(expected, abs=four_standard_errors)
    if name == "small":
        assert 0.15 < expected / WORLD.var < 0.22
    else:
        # The last step returns a mean, which lacks Cov[x_0 | x_1] (1e-4); x_T started at variance 1, not Var[x_T].
        assert expected == pytest.approx(WORLD.var, abs=2e-4)
        assert float(found.var()) == pytest.approx(WORLD.var, abs=four_standard_errors + 2e-4)
        assert float(found.mean()) == pytest.approx(WORLD.mean, abs=4 * math.sqrt(WORLD.var / n) + 1e-3)
        kurtosis = float((found - found.mean()).pow(4).mean() / found.var() ** 2)
        assert kurtosis == pytest.approx(3, abs=4 * math.sqrt(24 / n))


# --- refusals


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_head_is_noticed(model: MeanModel, value: float) -> None:
    broken = NPR(lambda features, t: torch.full_like(features.activations[:, :1], value))
    chosen = Sampler(broken, DDPM(), even(50, 3), None)
    if math.isnan(value):
        with pytest.raises(NonFiniteError, match="the mean model or the variance head is broken") as caught:
            images(model, range(2), chosen)
        assert caught.value.exit_code == 4
    else:
        assert torch.isfinite(images(model, range(2), chosen)).all(), "an infinite variance is clipped to its bound"


def test_a_head_that_is_nan_at_one_step_only_is_noticed(model: MeanModel) -> None:
    """x0_hat is clipped afterwards, and clamp keeps NaN: it cannot hide."""
    calls = 0

    def head(features: object, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full((2, 1, 8, 8), math.nan if calls == 1 else 0.1)

    with pytest.raises(NonFiniteError):
        images(model, range(2), Sampler(NPR(head), DDPM(), even(50, 5), None))


def test_a_broken_mean_is_noticed() -> None:
    with pytest.raises(NonFiniteError):
        sample(
            perfect_model(WORLD, DATA, bias=math.nan),
            Sampler(covariance("small"), DDPM(), even(1000, 3), None),
            ImageNoise(0, range(2), DATA.shape),
        )


@pytest.mark.parametrize("clip_x0", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", [1, 2, 3], ids=["first call", "in the middle", "last call"])
def test_a_mean_that_is_not_finite_at_one_step_only_is_noticed(call: int, value: float, clip_x0: bool) -> None:
    """x0_hat is clipped afterwards, and the clip makes a plain picture of an infinity."""
    calls = 0

    class Broken(UNet):
        def forward(self, x: Tensor, times: Tensor) -> Prediction:
            nonlocal calls
            calls += 1
            eps_hat, features = super().forward(x, times)
            if calls == call:
                eps_hat[0, 0, 2, 3] = value
            return Prediction(eps_hat, features)

    torch.manual_seed(0)
    trunk = Broken(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0))
    broken = MeanModel(trunk, SCHEDULE, DATA, TimeConvention(1.0, 20.0)).freeze()
    with pytest.raises(NonFiniteError, match="the mean model or the variance head is broken") as caught:
        images(broken, range(2), sampler("small", steps=3, clip_x0=clip_x0))
    assert caught.value.exit_code == 4
    assert calls >= call


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 4, "batch_size": 0}])
def test_counts_below_one(model: MeanModel, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="--count and --batch-size must be at least 1"):
        next(generate(model, sampler(), **options))


@pytest.mark.parametrize("levels", [-1.0, math.nan])
def test_caps_that_cannot_be(levels: float) -> None:
    with pytest.raises(UsageError, match="cap on the last noise must be at least 0 grey levels"):
        sampler(cap_levels=levels)
