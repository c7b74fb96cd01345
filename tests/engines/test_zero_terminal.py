"""A schedule that ends at alpha_bar = 0: x_T is noise alone, and samples, statistics, bounds are right from there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.forward import look_along, measure
from diffcov.engines.meters.calibration import CalibrationMeter
from diffcov.engines.meters.decomposition import DecompositionMeter, shortest_paths
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.meters.likelihood import Estimate, LikelihoodMeter
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw, sample
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError
from diffcov.nets.features import Features
from diffcov.noise import GivenNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.knots import Knots
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.levels import level_nats
from oracles.measured import told_matrices, told_spectrum
from oracles.trunks import OUR_TIMES, perfect_model

T = 100
BETAS = [*torch.linspace(1e-3, 0.2, T - 1, dtype=torch.float64).tolist(), 1.0]
SCHEDULE = NoiseSchedule.from_betas(BETAS)
DATA = DataDescription(1, 4, 4, levels=256, low=-3.0, high=3.0)
"""So wide that N(0.2, 0.25) is not cut; rounding adds a twelfth of a squared level to the variance."""
WORLD = GaussianWorld(SCHEDULE, mean=0.2, var=0.25 + DATA.level_width**2 / 12)
GRIDS = [explicit(T, (T,)), explicit(T, (1, T)), even(T, 2), even(T, 7), even(T, T)]
EXACT = 1e-9


class PerfectV(nn.Module):
    """v = sqrt(abar) E[eps | x_t] - sqrt(bbar) E[x_0 | x_t] of the world; at T that is minus the mean of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        v = torch.empty_like(x)
        for t in times.unique().tolist():
            chosen, abar = times == t, float(SCHEDULE.alpha_bar[int(t)])
            gain = abar**0.5 * WORLD.var / WORLD.marginal_var(int(t))
            x_0 = WORLD.mean + gain * (x[chosen] - WORLD.marginal_mean(int(t)))
            v[chosen] = abar**0.5 * WORLD.eps_hat(x[chosen], int(t)) - (1 - abar) ** 0.5 * x_0
        return v


def model() -> MeanModel:
    """In float64."""
    return MeanModel(PerfectV(), Reading(SCHEDULE, DATA, OUR_TIMES, predicts="v")).freeze()


def error(t: int) -> float:
    """What statistics hold of a perfect mean: Cov[x_0 | x_t] in units of r_t, which at T is 1."""
    return WORLD.cov_x0(t) / float(SCHEDULE.ratio[t])


def covariance(name: str) -> Covariance:
    """Of exact statistics at every time, or of a head that says them."""
    times, values = range(1, T + 1), torch.tensor([0.0, *(error(t) for t in range(1, T + 1))], dtype=torch.float64)
    ones = torch.ones(T + 1, dtype=torch.float64)
    full = torch.ones(DATA.shape, dtype=torch.float64)
    parts = [
        VarianceTable(ones, 1 - values, (1 - values).square(), values, values.square()),
        told_spectrum(times, lambda t: error(t) * full, DATA.shape),
        told_matrices(times, lambda t: error(t) * full.flatten().diag(), DATA.shape),
        FittedHead(lambda features, t: values[t][:, None, None, None].expand(len(t), *DATA.shape)),
    ]
    return registry.load(name)(Ingredients.of(SCHEDULE, DATA, *parts))


RIGHT = ("corrected", "spectral", "full", "npr")
"""What knows Cov[x_0 | x_t] of this world at every time, T among them."""


# --- the schedule and the look


def test_it_is_what_it_says() -> None:
    assert float(SCHEDULE.alpha_bar[T]) == 0
    assert float(SCHEDULE.alpha_bar[T - 1]) > 1e-6
    assert SCHEDULE.ends_at_zero
    assert NoiseSchedule.from_spec(SCHEDULE.spec) == SCHEDULE


@pytest.mark.parametrize("view", [View(), View(clip_x0=True, eps_scale=1.1)], ids=["bare", "scaled and clipped"])
def test_at_the_end_x0_hat_is_the_mean_of_the_data_and_eps_hat_what_is_seen(view: View) -> None:
    x_T = torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    look = through(model(), view).look(x_T, T)
    torch.testing.assert_close(look.x0_hat, torch.full_like(x_T, WORLD.mean), rtol=0, atol=EXACT)
    torch.testing.assert_close(look.predicted, x_T, rtol=0, atol=EXACT)
    torch.testing.assert_close(look.eps_hat, x_T / view.eps_scale, rtol=0, atol=EXACT)


# --- sampling


def output(grid: Grid, covariance: Covariance, solver: Solver) -> tuple[Tensor, float]:
    """Mean (C, H, W) and variance of a sample, exactly: it is linear in its draws, so one image a draw tells.

    All coefficients have one variance here, so each draw is turned and stretched, and only its length matters.
    """
    chosen = Sampler(model(), covariance, solver, grid, cap_levels=None)
    draws = [torch.zeros(grid.K + 1, *DATA.shape, dtype=torch.float64) for _ in range(grid.K)]
    for k, one in enumerate(draws, start=1):
        one[k] = 1
    found = sample(chosen, GivenNoise(draws))
    assert torch.isfinite(found).all()
    return found[0], float((found[1:] - found[0]).square().flatten(1).mean(1).sum())


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.name}{grid.K}")
@pytest.mark.parametrize("solver", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "eta 0.5"])
@pytest.mark.parametrize("name", RIGHT)
def test_with_the_right_covariance_every_grid_gives_the_data(name: str, solver: Solver, grid: Grid) -> None:
    """But for Cov[x_0 | x_t1], which the last step leaves out: x_T starts as exactly what it is."""
    mean, var = output(grid, covariance(name), solver)
    torch.testing.assert_close(mean, torch.full_like(mean, WORLD.mean), rtol=0, atol=EXACT)
    float32 = 1e-6 if name == "full" else EXACT  # matrices are kept in single precision
    assert var == pytest.approx(WORLD.var - WORLD.cov_x0(grid.times[0]), abs=float32)


@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_without_a_covariance_the_first_step_loses_what_the_last_noise_hides(solver: Solver) -> None:
    """By the scalar recursion of ``small``, from T on: of x_T nothing but its noise is kept."""
    grid, var = even(T, 5), 1.0
    for s, t in grid.pairs():
        (a_t, b_t), (a_s, b_s) = ((float(SCHEDULE.alpha_bar[k]), float(SCHEDULE.beta_bar[k])) for k in (t, s))
        lambda2 = solver.eta**2 * (1 - a_t / a_s) * b_s / b_t
        to_x0 = a_t**0.5 * WORLD.var / WORLD.marginal_var(t)
        slope = a_s**0.5 * to_x0 + (b_s - lambda2) ** 0.5 * b_t**0.5 / WORLD.marginal_var(t)
        var = slope**2 * var + lambda2
    _, found = output(grid, covariance("small"), solver)
    assert found == pytest.approx(var, rel=EXACT)
    assert found < 0.9 * WORLD.var


def test_drawn_images_have_the_mean_and_the_variance_of_the_data() -> None:
    """Grey levels, four standard errors; through the clip, which hardly bites."""
    seen = through(model(), View(clip_x0=True))
    pixels = draw(Sampler(seen, covariance("corrected"), DDPM(), even(T, 5), None), 2000, batch_size=500)
    found = DATA.encode(pixels, torch.float64)
    n = found.numel()
    assert float(found.mean()) == pytest.approx(WORLD.mean, abs=4 * math.sqrt(WORLD.var / n))
    expected = WORLD.var - WORLD.cov_x0(1)
    assert float(found.var()) == pytest.approx(expected, abs=4 * expected * math.sqrt(2 / n) + 1e-3)


def test_a_spectrum_of_few_knots_knows_the_times_between() -> None:
    """T is a knot, one step of log-SNR beyond the last but one."""
    knots = Knots.spread(SCHEDULE, 32)
    assert knots.times[-1] == T
    full = torch.ones(DATA.shape, dtype=torch.float64)
    spectrum = told_spectrum(knots.times, lambda t: error(t) * full, DATA.shape)
    few = registry.load("spectral")(Ingredients.of(SCHEDULE, DATA, spectrum))
    _, var = output(even(T, 7), few, DDPM())
    assert var == pytest.approx(WORLD.var - WORLD.cov_x0(1), rel=0.01)


# --- statistics


def gaussian_examples(count: int) -> Examples:
    draw = torch.Generator().manual_seed(7)
    values = WORLD.mean + 0.5 * torch.randn(count, *DATA.shape, generator=draw, dtype=torch.float64)
    return Examples(DATA.decode(values))


EXAMPLES = gaussian_examples(1000)


def test_the_table_holds_the_error_of_x_0_at_the_end() -> None:
    times = (1, 50, T - 1, T)
    table = estimate(model(), EXAMPLES, [VarianceTable], times, len(EXAMPLES))[VarianceTable]
    for t in times:
        found, stderr = (float(values[t]) for values in (table.error_moments.mean(), table.error_moments.stderr()))
        assert stderr < 0.02
        assert found == pytest.approx(error(t), abs=4 * stderr), t
    norm = table.eps_hat_moments
    assert float(norm.mean()[T]) == pytest.approx(1, abs=1e-9), "x_T is noise alone, and its control variate is exact"
    measured = registry.load("corrected")(Ingredients.of(SCHEDULE, DATA, table))
    _, var = output(explicit(T, (1, T)), measured, DDPM())
    assert var == pytest.approx(WORLD.var - WORLD.cov_x0(1), rel=0.05)


@pytest.mark.parametrize("clip", [None, False], ids=["through the clip", "bare"])
def test_the_spectrum_holds_it_too(clip: bool | None) -> None:
    found = estimate(model(), EXAMPLES, [Spectrum], (1, 50, T), len(EXAMPLES), clip=clip)[Spectrum]
    assert torch.isfinite(found.total).all()
    for knot, t in enumerate((1, 50, T)):
        off = (found.mean()[knot] - error(t)).abs() / found.stderr()[knot]
        assert float(off.max()) < 5, t
        assert float(found.mean()[knot].mean()) == pytest.approx(error(t), rel=5 * math.sqrt(2 / 16000)), t


# --- bounds


def typical(t: int) -> Noised:
    """Images whose squared deviations and errors are exactly their expectations."""
    sign = torch.ones(2, *DATA.shape, dtype=torch.float64)
    sign[1] = -1
    x_0 = WORLD.mean + sign * WORLD.var**0.5
    nothing = torch.zeros_like(x_0)
    x0_hat = x_0 - sign * WORLD.cov_x0(t) ** 0.5
    return Noised(SCHEDULE, x_0, nothing, Look(nothing, t, x0_hat, nothing, nothing, Features(nothing, nothing)))


@pytest.mark.parametrize("name", RIGHT)
def test_the_bound_is_the_entropy_and_the_prior_costs_nothing(name: str) -> None:
    """Whatever the grid, from T on: the exact steps' terms telescope, and x_T is exactly N(0, I)."""
    meter = LikelihoodMeter(SCHEDULE, DATA, {name: covariance(name)}, GRIDS, 2)
    for t in meter.times:
        meter.add(typical(t))
    entropy = 0.5 * math.log(2 * math.pi * math.e * WORLD.var)
    for grid in GRIDS:
        found = meter.result(name, grid)
        assert found.prior.tolist() == [0, 0]
        last = 0.5 * math.log(2 * math.pi * math.e * WORLD.cov_x0(grid.times[0]))
        tolerance = 1e-5 if name == "full" else 1e-7
        bound = float(found.transitions.sum(1).mean()) / DATA.dims + last
        assert bound == pytest.approx(entropy, abs=tolerance), grid.K


def test_the_bound_of_images_is_finite_and_right() -> None:
    """Prior 0, each of 107 transitions half log(1 + rho Cov[x_0 | x_t]) within 4.5 standard errors."""
    meter = LikelihoodMeter(SCHEDULE, DATA, {"it": covariance("corrected")}, GRIDS, len(EXAMPLES))
    norms = NormMeter((50, T))
    measure(model(), EXAMPLES, [meter, norms])
    for grid in GRIDS:
        found = meter.result("it", grid)
        assert torch.isfinite(found.nats).all()
        assert found.prior.abs().max() == 0
        steps = [(s, t) for s, t in reversed(list(grid.pairs())) if s > 0]
        for (s, t), column in zip(steps, found.transitions.T, strict=True):
            rho = float(SCHEDULE.snr_gain(torch.tensor([s]), t))
            transition = Estimate.of(column / DATA.dims)
            expected = 0.5 * math.log1p(rho * WORLD.cov_x0(t))
            assert transition.mean == pytest.approx(expected, abs=4.5 * transition.stderr), (s, t)
    assert float(norms.mean()[1]) == pytest.approx(1, abs=4 * math.sqrt(2 / (16 * len(EXAMPLES))))


def test_the_decoder_from_the_end_is_that_of_the_mean_of_the_data() -> None:
    examples, grid = EXAMPLES[:3], explicit(T, (T,))
    meter = LikelihoodMeter(SCHEDULE, DATA, {"it": covariance("small")}, [grid], 3)
    for noised in look_along(model(), examples, grid.times):
        meter.add(noised)
    var = Step(SCHEDULE, 1, 2).beta_tilde
    for i, row in enumerate(meter.result("it", grid).decoder.tolist()):
        levels = examples.images[i].flatten().tolist()
        assert row == pytest.approx(sum(level_nats(level, WORLD.mean, var, DATA) for level in levels), rel=1e-8)


def test_terms_between_all_times_and_the_best_grids_are_finite() -> None:
    """The best grids begin at T: nothing else has a prior that costs nothing."""
    found = DecompositionMeter(SCHEDULE, DATA, covariance("corrected"), range(1, T + 1), 40)
    measure(model(), EXAMPLES[:40], [found])
    terms = found.result()
    step = torch.ones(T + 1, T + 1, dtype=torch.bool).triu(1)
    assert torch.isfinite(terms.terms[step]).all()
    assert float(terms.prior[T]) == 0
    best = shortest_paths(terms)
    assert torch.isfinite(best.cost[1:]).all()
    assert best.grid(T).times == tuple(range(1, T + 1))


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_calibrated_at_the_end(name: str) -> None:
    meter = CalibrationMeter(DATA, {name: covariance(name)}, (1, 50, T))
    measure(model(), EXAMPLES, [meter])
    assert meter.result(name).ratio.tolist() == pytest.approx([1, 1, 1], abs=5 * math.sqrt(2 / 16000))


# --- refusals


def test_a_network_that_predicts_the_noise_says_nothing_there() -> None:
    """It is refused at T, and welcome at every time below."""
    blind = perfect_model(WORLD, DATA).double()
    refused = rf"alpha_bar is 0 at t={T}, and a network that predicts eps says nothing of x_0 there"
    chosen = Sampler(blind, covariance("corrected"), DDPM(), even(T, 5), None)
    draws = torch.randn(5, 2, *DATA.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(InputError, match=refused):
        sample(chosen, GivenNoise(draws))
    with pytest.raises(InputError, match=refused):
        list(look_along(blind, EXAMPLES[:2], (5, T)))
    with pytest.raises(InputError, match=refused):
        estimate(blind, EXAMPLES, [VarianceTable], (5, T), 2)
    below = explicit(T, (1, 25, 50, 75, T - 1))
    grid = Sampler(blind, covariance("corrected"), DDPM(), below, None)
    assert torch.isfinite(sample(grid, GivenNoise(draws))).all()


@pytest.mark.parametrize("name", ["analytic", "sn", "ocm"])
def test_what_is_made_of_eps_hat_says_nothing_there(name: str) -> None:
    """eps_hat is x_T itself, and leaves no trace of how uncertain x_0 is: it would be taken for certain."""
    chosen = Sampler(model(), covariance(name), DDPM(), even(T, 5), None)
    draws = torch.zeros(5, 2, *DATA.shape, dtype=torch.float64)
    refused = f"{name} has no value at t={T}, where alpha_bar is 0"
    with pytest.raises(InputError, match=refused):
        sample(chosen, GivenNoise(draws))
    with pytest.raises(InputError, match=refused):
        measure(model(), EXAMPLES[:2], [LikelihoodMeter(SCHEDULE, DATA, {name: covariance(name)}, [even(T, 5)], 2)])
    below = Sampler(model(), covariance(name), DDPM(), explicit(T, (1, 50, T - 1)), None)
    assert torch.isfinite(sample(below, GivenNoise(draws))).all()
