"""The reverse loop: K looks, the right noise at the right steps, images that depend on (seed, i) alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, HeadFunction, Ingredients
from diffcov.covariance.npr import NPR
from diffcov.data import DataDescription
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import GRIDS, even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw, generate, sample
from diffcov.errors import NonFiniteError, UsageError
from diffcov.gaussian.start import GaussianStart
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.noise import GivenNoise, ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.knots import Knots
from oracles.gaussian import GaussianWorld
from oracles.trunks import counted, perfect_model

DATA = DataDescription(1, 8, 8, levels=17)
SCHEDULE = NoiseSchedule.linear(50)
WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.1, var=0.25)
SAME_ON_A_CPU = 1e-5
"""Absolute, for values of order 1: float32 convolutions of other batch sizes round differently."""


@cache
def measured(world: GaussianWorld, data: DataDescription = DATA) -> Ingredients:
    """Exact table, spectrum and matrices, these at knots as the program spreads them, and a head that says 1/2."""
    found = world.ingredients(data, Knots.spread(world.schedule, 32).times)
    half = FittedHead(lambda features, t: 0.5 * torch.ones_like(features.activations[:, :1]))
    return Ingredients.of(world.schedule, data, *found.parts.values(), half)


def covariance(name: str, world: GaussianWorld = WORLD, data: DataDescription = DATA) -> Covariance:
    """Any registered covariance; heads answer 1/2."""
    return registry.load(name)(measured(world, data))


def npr(head: HeadFunction, schedule: NoiseSchedule = SCHEDULE, data: DataDescription = DATA) -> NPR:
    """The ``npr`` covariance of a head that is simply told."""
    return NPR(Ingredients.of(schedule, data, FittedHead(head)))


@pytest.fixture
def model() -> MeanModel:
    """A small U-Net with weights everywhere."""
    torch.manual_seed(0)
    config = UNetConfig(
        1, 8, 8, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), heads=1, dropout=0.0, learned_range=True
    )
    network = UNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.15)
    return counted(network, Reading(SCHEDULE, DATA, TimeConvention(1.0, 20.0), learned_range=True)).freeze()


def sampler(
    model: MeanModel,
    name: str = "large",
    steps: int = 4,
    solver: Solver | None = None,
    *,
    cap_levels: float | None = 2.0,
    clip_x0: bool = True,
    seed: int = 3,
) -> Sampler:
    """Of the schedule of 50 steps, through the clip unless told otherwise."""
    chosen = covariance(name, GaussianWorld(SCHEDULE, 0.1, 0.25))
    seen = through(model, View(clip_x0=clip_x0))
    return Sampler(seen, chosen, solver or DDPM(), even(SCHEDULE.T, steps), cap_levels, seed=seed)


def images(chosen: Sampler, which: range, seed: int | None = None) -> Tensor:
    """Images of these numbers, of the sampler's seed or of another."""
    return sample(chosen, ImageNoise(chosen.seed if seed is None else seed, which, DATA.shape))


# --- network calls


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 15, 30, 50])
def test_k_steps_are_k_calls(model: MeanModel, grid: str, steps: int) -> None:
    images(replace(sampler(model, "small", cap_levels=None), grid=GRIDS[grid](model.schedule, steps)), range(2))
    assert model.network.batches == [2] * steps


@pytest.mark.parametrize("solver", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "eta 0.5"])
@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_no_covariance_calls_the_network_again(model: MeanModel, name: str, solver: Solver) -> None:
    if registry.load(name).of_ddpm and solver.eta != 1:
        with pytest.raises(UsageError, match="use --solver ddpm, or another covariance"):
            sampler(model, name, solver=solver)
        return
    found = images(sampler(model, name, 6, solver), range(3))
    assert model.network.batches == [3] * 6
    assert found.dtype == torch.float32
    assert found.shape == (3, *DATA.shape)
    assert torch.isfinite(found).all()


def test_generate_calls_k_times_a_batch(model: MeanModel) -> None:
    told: list[int] = []
    found = list(generate(sampler(model, steps=5), 8, batch_size=3, on_batch=told.append))
    assert model.network.batches == [3] * 5 + [3] * 5 + [2] * 5
    assert [len(batch) for batch in found] == [3, 3, 2]
    assert told == [3, 6, 8]
    assert all(batch.dtype == torch.uint8 and int(batch.max()) < DATA.levels for batch in found)


# --- image i depends on (seed, i)


@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_batches_do_not_matter(model: MeanModel, name: str) -> None:
    chosen = sampler(model, name)
    whole = images(chosen, range(8))
    for split in ([4, 4], [3, 3, 2], [1] * 8):
        starts = [sum(split[:i]) for i in range(len(split))]
        parts = [images(chosen, range(start, start + n)) for start, n in zip(starts, split, strict=True)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=SAME_ON_A_CPU)


def test_first_continues_where_an_earlier_call_ended(model: MeanModel) -> None:
    whole = torch.cat(list(generate(sampler(model), 8, batch_size=4)))
    rest = torch.cat(list(generate(sampler(model), 4, batch_size=4, first=4)))
    assert torch.equal(rest, whole[4:])
    assert torch.equal(draw(sampler(model), 8, batch_size=4), whole)
    assert torch.equal(draw(sampler(model), 4, batch_size=4, first=4), rest)
    assert len({image.numpy().tobytes() for image in whole}) == 8, "no image is drawn twice"


def test_same_seed_same_bytes_and_other_seeds_other_images(model: MeanModel) -> None:
    a, b, c = (images(sampler(model), range(3), seed) for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_generate_draws_from_the_seed_of_the_sampler(model: MeanModel) -> None:
    a, b, c = (draw(sampler(model, seed=seed), 3) for seed in (3, 3, 4))
    assert torch.equal(a, DATA.decode(images(sampler(model), range(3))))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_noise_of_another_purpose_is_other_noise(model: MeanModel) -> None:
    chosen = sampler(model)
    (a,), (b,) = (list(generate(chosen, 3, purpose=purpose)) for purpose in ("sample", "probe"))
    assert torch.equal(a, draw(chosen, 3))
    assert not torch.equal(a, b)


def test_the_global_generator_is_neither_read_nor_touched(model: MeanModel) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = images(sampler(model), range(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(images(sampler(model), range(2)), first)


def test_the_start_noise_is_common_to_all_covariances_and_steps(model: MeanModel) -> None:
    """At one step there is no other noise, so all covariances give the same image."""
    first = images(sampler(model, "small", steps=1), range(2))
    for name in registry.COVARIANCES:
        assert torch.equal(images(sampler(model, name, steps=1), range(2)), first)


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
    chosen = Sampler(perfect_model(WORLD, DATA), covariance("large"), DDPM(), explicit(1000, times), levels)
    found = sample(chosen, ImageNoise(0, range(3), DATA.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=HAND)


def test_ddim_s_mean_goes_through_eps_hat() -> None:
    times = [100, 500, 1000]
    noise = ImageNoise(0, range(3), DATA.shape)
    expected = by_hand(WORLD, times, [noise.draw() for _ in times], lambda s, t: 0.0, ddim=True)
    chosen = Sampler(perfect_model(WORLD, DATA), covariance("small"), DDIM(), explicit(1000, times), None)
    found = sample(chosen, ImageNoise(0, range(3), DATA.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=HAND)


CLIPPED = 1e-6
"""Absolute: up to t = 300, where x0_hat divides by sqrt(abar_t) = 0.6, and float32 loses little."""
UP_TO_300 = [50, 150, 300]
UNIT = DataDescription(1, 8, 8, levels=17, low=0.0, high=1.0)


def small(s: int, t: int) -> float:
    abar = WORLD.schedule.alpha_bar
    return large(s, t) * float((1 - abar[s]) / (1 - abar[t]))


@pytest.mark.parametrize("data", [DATA, UNIT], ids=["-1..1", "0..1"])
@pytest.mark.parametrize(("solver", "bias"), [(DDPM(), -0.6), (DDIM(), 1.0)], ids=["ddpm", "ddim"])
def test_a_clip_of_x0_hat_that_bites(solver: Solver, bias: float, data: DataDescription) -> None:
    """DDPM goes on from the clipped x0_hat and x_t, DDIM from the clipped x0_hat and eps_hat as predicted."""
    ddim = solver.eta == 0
    noise = ImageNoise(0, range(3), data.shape)
    draws = [noise.draw() for _ in UP_TO_300]
    var_xs = (lambda s, t: 0.0) if ddim else small
    clipped, unclipped = (
        by_hand(WORLD, UP_TO_300, draws, var_xs, ddim, bias, clip)
        for clip in ((data.low, data.high), (-math.inf, math.inf))
    )
    by_the_last_clip = unclipped.clamp(data.low, data.high) - clipped
    assert float(by_the_last_clip.abs().max()) > 0.01, "earlier clips matter too"
    seen = through(perfect_model(WORLD, data, bias), View(clip_x0=True))
    chosen = Sampler(seen, covariance("small", data=data), solver, explicit(1000, UP_TO_300), None)
    found = sample(chosen, ImageNoise(0, range(3), data.shape))
    torch.testing.assert_close(found.double(), clipped, rtol=0, atol=CLIPPED)
    assert data.low <= float(found.min()) < float(found.max()) <= data.high
    if not ddim:
        assert (float(found.min()), float(found.max())) == (data.low, data.high), "the last clip bites, too"


@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize(("data", "bound"), [(DATA, 1.0), (UNIT, 0.25)], ids=["-1..1", "0..1"])
def test_a_huge_head_is_held_to_the_variance_of_the_data_range(
    solver: Solver, data: DataDescription, bound: float
) -> None:
    """No variable in [low, high] has a variance above ((high - low) / 2)^2; the lift adds lambda2."""
    ddim = solver.eta == 0
    abar = [float(value) for value in WORLD.schedule.alpha_bar]

    def var_xs(s: int, t: int) -> float:
        lambda2 = 0.0 if ddim else small(s, t)
        gamma = math.sqrt(abar[s]) - math.sqrt((1 - abar[s] - lambda2) * abar[t] / (1 - abar[t]))
        return lambda2 + gamma**2 * bound

    noise = ImageNoise(0, range(3), data.shape)
    expected = by_hand(WORLD, UP_TO_300, [noise.draw() for _ in UP_TO_300], var_xs, ddim)
    huge = npr(lambda features, t: torch.full_like(features.activations[:, :1], 1e9), WORLD.schedule, data)
    chosen = Sampler(perfect_model(WORLD, data), huge, solver, explicit(1000, UP_TO_300), cap_levels=None)
    found = sample(chosen, ImageNoise(0, range(3), data.shape))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5 * CLIPPED)


def test_clip_x0_keeps_the_result_in_the_data_range(model: MeanModel) -> None:
    """The last step returns x0_hat itself, so it is in range exactly if that was clipped."""
    assert images(sampler(model), range(4)).abs().max() <= 1
    assert images(sampler(model, clip_x0=False), range(4)).abs().max() > 1


# --- the distribution: why this project exists


def output_var(world: GaussianWorld, grid: Grid, exact: bool, eta: float) -> float:
    """Var x_0 of the sampler in the Gaussian world, by the scalar recursion: x_s = slope x_t + noise."""
    abar = [float(value) for value in world.schedule.alpha_bar]
    var = 1.0
    for s, t in grid.pairs():
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


@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("name", ["analytic", "corrected", "small"])
def test_five_steps_in_the_gaussian_world(name: str, solver: Solver) -> None:
    """The right covariance gives the data's variance in 5 steps; ``small`` gives a fifth of it."""
    grid = even(1000, 5)
    known = Ingredients.of(WORLD.schedule, PIXELS, WORLD.table())
    chosen = Sampler(perfect_model(WORLD, PIXELS), registry.load(name)(known), solver, grid, cap_levels=None)
    found = sample(chosen, ImageNoise(1, range(COUNT), PIXELS.shape)).double()
    n = found.numel()
    expected = output_var(WORLD, grid, name != "small", solver.eta)
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
    broken = npr(lambda features, t: torch.full_like(features.activations[:, :1], value))
    chosen = replace(sampler(model, steps=3, cap_levels=None), covariance=broken)
    if math.isnan(value):
        with pytest.raises(NonFiniteError, match="the mean model or the variance head is broken") as caught:
            images(chosen, range(2))
        assert caught.value.exit_code == 4
    else:
        assert torch.isfinite(images(chosen, range(2))).all(), "an infinite variance is clipped to its bound"


def test_a_head_that_is_nan_at_one_step_only_is_noticed(model: MeanModel) -> None:
    """x0_hat is clipped afterwards, and clamp keeps NaN: it cannot hide."""
    calls = 0

    def head(features: object, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full((2, 1, 8, 8), math.nan if calls == 1 else 0.1)

    with pytest.raises(NonFiniteError):
        images(replace(sampler(model, steps=5, cap_levels=None), covariance=npr(head)), range(2))


def test_a_broken_mean_is_noticed() -> None:
    seen = through(perfect_model(WORLD, DATA, bias=math.nan), View(clip_x0=True))
    with pytest.raises(NonFiniteError):
        sample(Sampler(seen, covariance("small"), DDPM(), even(1000, 3), None), ImageNoise(0, range(2), DATA.shape))


@pytest.mark.parametrize("clip_x0", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", [1, 2, 3], ids=["first call", "in the middle", "last call"])
def test_a_mean_that_is_not_finite_at_one_step_only_is_noticed(call: int, value: float, clip_x0: bool) -> None:
    """x0_hat is clipped afterwards, and the clip makes a plain picture of an infinity."""
    calls = 0

    class Broken(UNet):
        def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Features]:
            nonlocal calls
            calls += 1
            eps_hat, features = super().forward(x, times, labels)
            if calls == call:
                eps_hat[0, 0, 2, 3] = value
            return eps_hat, features

    torch.manual_seed(0)
    network = Broken(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0))
    broken = MeanModel(network, Reading(SCHEDULE, DATA, TimeConvention(1.0, 20.0))).freeze()
    with pytest.raises(NonFiniteError, match="the mean model or the variance head is broken") as caught:
        images(sampler(broken, "small", steps=3, clip_x0=clip_x0), range(2))
    assert caught.value.exit_code == 4
    assert calls >= call


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 4, "batch_size": 0}])
def test_counts_below_one(model: MeanModel, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="--count and --batch-size must be at least 1"):
        next(generate(sampler(model), **options))


@pytest.mark.parametrize("levels", [-1.0, math.nan])
def test_caps_that_cannot_be(model: MeanModel, levels: float) -> None:
    with pytest.raises(UsageError, match="cap on the last noise must be at least 0 grey levels"):
        sampler(model, cap_levels=levels)


# --- a share of the covariance


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("corrected", DDPM()), ("corrected", DDIM()), ("analytic", DDIM(0.5)), ("npr", DDIM(0.5)), ("npr", DDPM()),
        ("large", DDPM()), ("small", DDPM()),
    ],
)  # fmt: skip
def test_a_share_is_of_what_is_put_back_and_not_of_what_the_process_keeps(name: str, solver: Solver) -> None:
    """The variance of x_s is lambda2 + c (whole - lambda2): from lambda2 at c = 0 to the usual one at c = 1."""
    model = perfect_model(WORLD, DATA)
    whole = Sampler(model, covariance(name), solver, even(1000, 3), cap_levels=None)
    ones = [torch.randn(2, *DATA.shape, generator=torch.Generator().manual_seed(0)).double()]
    ones += [torch.ones(2, *DATA.shape, dtype=torch.float64)] * 2

    def variance(share: float) -> Tensor:
        """Of the first step, whose noise is 1 everywhere."""
        looks: list[Look] = []
        sample(replace(whole, share=share), GivenNoise(ones), on_look=looks.append)
        step = solver.steps(WORLD.schedule, whole.grid)[0]
        mean = solver.walk([step]).mean(step, looks[0])
        return (looks[1].x_t - mean).square()

    none, all_of_it = variance(0.0), variance(1.0)
    lambda2 = solver.steps(WORLD.schedule, whole.grid)[0].lambda2
    torch.testing.assert_close(none, torch.full_like(none, lambda2), rtol=1e-6, atol=1e-15)
    for share in (0.25, 0.8):
        torch.testing.assert_close(variance(share), none + share * (all_of_it - none), rtol=1e-5, atol=1e-12)
    assert (float((all_of_it - none).abs().max()) > 1e-3) == (name != "small")


def test_images_of_a_later_number_are_told_and_cut_as_the_first(model: MeanModel) -> None:
    """Batches of images 5..9 hold just these, and progress is counted from 0."""
    told: list[int] = []
    chosen = sampler(model, steps=2)
    batches = list(generate(chosen, 5, batch_size=2, first=5, on_batch=told.append))
    assert ([len(one) for one in batches], told) == ([2, 2, 1], [2, 4, 5])
    assert torch.equal(torch.cat(batches), torch.cat(list(generate(chosen, 10, batch_size=10)))[5:])


# --- a start below T


def test_a_start_is_drawn_at_the_grid_s_last_time_and_what_follows_is_the_same() -> None:
    """By hand: q(x_t) of the start from the first draw, then the steps; the noise of steps is untouched."""
    noise = torch.randn(3, 5, *DATA.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, var = torch.full(DATA.shape, 0.3).double(), torch.linspace(0.1, 2, 64).double().reshape(DATA.shape)
    start, grid = GaussianStart(PIXEL, mean, var, {}), explicit(1000, (1, 300, 600))
    seen: list[Look] = []
    one = Sampler(perfect_model(WORLD, DATA), covariance("corrected"), DDPM(), grid, None, start=start)
    found = sample(one, GivenNoise(noise), on_look=seen.append)
    abar, bbar = float(WORLD.schedule.alpha_bar[600]), float(WORLD.schedule.beta_bar[600])
    x = math.sqrt(abar) * mean + (abar * var + bbar).sqrt() * noise[0]
    torch.testing.assert_close(seen[0].x_t, x)
    torch.testing.assert_close(found, sample(replace(one, start=None), GivenNoise([x, *noise[1:]])))


def test_images_of_its_own_gaussian_start_where_the_walk_would_be() -> None:
    """Where the data are that Gaussian, ten steps from t = 300 end at its mean and variance."""
    var = torch.full(DATA.shape, WORLD.var).double()
    start = GaussianStart(PIXEL, torch.full(DATA.shape, WORLD.mean).double(), var, {})
    grid = explicit(1000, (1, *range(30, 301, 30)))
    one = Sampler(perfect_model(WORLD, DATA), covariance("corrected"), DDPM(), grid, None, start=start)
    x = sample(one, ImageNoise(0, range(400), DATA.shape, dtype=torch.float64))
    assert float(x.mean()) == pytest.approx(WORLD.mean, abs=0.01)
    assert float(x.var()) == pytest.approx(WORLD.var, rel=0.03)
