"""The bound against closed forms of Gaussian worlds, and against a plain double loop over images and steps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffcov.basis import PIXEL, Basis, cosine
from diffcov.covariance import registry
from diffcov.covariance.analytic import Analytic
from diffcov.covariance.base import Covariance
from diffcov.covariance.corrected import Corrected
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.covariance.npr import NPR
from diffcov.covariance.small import Small
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import GRIDS, even
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.forward import measure
from diffcov.engines.meters.likelihood import (
    Estimate,
    Likelihood,
    LikelihoodMeter,
    check_bounded,
    decoder_nats,
    prior_nats,
)
from diffcov.errors import NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.noise import MEASURING, ImageNoise
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.table import VarianceTable
from oracles.diagonal import DiagonalWorld, Told
from oracles.exact import exact
from oracles.gaussian import GaussianWorld
from oracles.levels import level_nats
from oracles.tiny import DATA, takes_both_signs, tiny_covariance, tiny_images, tiny_model

LINEAR = NoiseSchedule.linear(1000)
SCHEDULES = [LINEAR, NoiseSchedule.cosine(1000)]
VAR, MEAN = 0.25, 0.1
EXACT = 1e-9


def analytic(world: GaussianWorld, data: DataDescription) -> Covariance:
    return Analytic(Ingredients.of(world.schedule, data, world.table()))


def taken_for(x0_hat: Tensor, x_0: Tensor, t: int, first: int = 0) -> Noised:
    """Images ``x_0`` that the mean takes for ``x0_hat``."""
    nothing = torch.zeros_like(x_0)
    look = Look(nothing, t, x0_hat, nothing, nothing, Features(nothing, nothing))
    return Noised(LINEAR, x_0, nothing, look, first)


# --- closed forms


@pytest.mark.parametrize("family", ["linear", "cosine"])
def test_the_gain_of_signal_is_gamma2_over_lambda2(family: str) -> None:
    schedule, truth = getattr(NoiseSchedule, family)(1000), exact(family, 1000)
    for t in (2, 3, 500, 999, 1000):
        arrivals = [s for s in (1, 2, 250, 499, 998, 999) if s < t]
        found = schedule.snr_gain(torch.tensor(arrivals), t)
        assert found.dtype == torch.float64
        for s, value in zip(arrivals, found.tolist(), strict=True):
            assert value == pytest.approx(float(truth.gamma(s, t, 1.0) ** 2 / truth.lambda2(s, t, 1.0)), rel=1e-9)


def typical(world: GaussianWorld, data: DataDescription, times: tuple[int, ...]) -> list[Noised]:
    """Looks at an image whose squared deviations and errors are exactly their expectations."""
    sign = torch.ones(2, *data.shape, dtype=torch.float64)
    sign[1] = -1
    x_0 = world.mean + sign * world.var**0.5
    return [taken_for(x_0 - sign * world.cov_x0(t) ** 0.5, x_0, t) for t in times]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_the_bound_misses_the_entropy_by_the_prior_alone(schedule: NoiseSchedule, name: str) -> None:
    """Whatever the grid: the exact steps' terms telescope, and KL(q(x_tK) || N(0, I)) is left."""
    world = GaussianWorld(schedule, MEAN, VAR)
    data = DataDescription(1, 2, 3)
    entropy = 0.5 * math.log(2 * math.pi * math.e * VAR)
    grids = [GRIDS[name](schedule, K) for K in (1, 2, 10, 1000)]
    meter = LikelihoodMeter(schedule, data, {"analytic": analytic(world, data)}, grids, 2)
    for noised in typical(world, data, tuple(meter.times)):
        meter.add(noised)
    for grid in grids:
        first, last = grid.times[0], grid.times[-1]
        abar = float(schedule.alpha_bar[last])
        second_moment = abar * (VAR + MEAN**2) + 1 - abar
        far_end = 0.5 * (second_moment - 1 - math.log(world.marginal_var(last)))
        continuous = 0.5 * math.log(2 * math.pi * math.e * world.cov_x0(first))
        found = meter.result("analytic", grid)
        assert found.transitions.shape == (2, grid.K - 1)
        bound = float((found.prior + found.transitions.sum(1)).mean()) / data.dims + continuous
        assert bound == pytest.approx(entropy + far_end, abs=1e-7), grid.K


def test_each_transition_is_half_log_of_one_plus_rho_var() -> None:
    world, data, grid = GaussianWorld(LINEAR, MEAN, VAR), DataDescription(1, 2, 3), even(1000, 7)
    meter = LikelihoodMeter(LINEAR, data, {"analytic": analytic(world, data)}, [grid], 2)
    for noised in typical(world, data, grid.times):
        meter.add(noised)
    found = meter.result("analytic", grid)
    snr = [float(LINEAR.alpha_bar[t] / LINEAR.beta_bar[t]) for t in grid.times]
    cov = [world.cov_x0(t) for t in grid.times]
    expected = [3 * math.log1p((snr[k] - snr[k + 1]) * cov[k + 1]) for k in range(6)]
    for row in found.transitions.tolist():
        assert row == pytest.approx(expected, rel=1e-9)


def test_drawn_images_of_the_gaussian_world() -> None:
    """Four standard errors, and those below 1e-3 nats a pixel: times evenly spaced in log SNR are the least noisy."""
    data, count = DataDescription(1, 32, 32), 1200
    world = DiagonalWorld(LINEAR, torch.full(data.shape, VAR, dtype=torch.float64))
    log_snr = LINEAR.ratio[1:].log()
    wanted = torch.linspace(float(log_snr[9]), float(log_snr[-1]), 40, dtype=torch.float64)
    grid = explicit(1000, sorted({int((log_snr - w).abs().argmin()) + 1 for w in wanted}))
    draw = torch.Generator().manual_seed(0)
    of_table = analytic(GaussianWorld(LINEAR, 0.0, VAR), data)
    meter = LikelihoodMeter(LINEAR, data, {"analytic": of_table}, [grid], count)
    x_0 = world.sample(count, draw)
    for t in grid.times:
        meter.add(world.noised(x_0, t, draw))
    first, last = grid.times[0], grid.times[-1]
    found = meter.result("analytic", grid)
    transitions = Estimate.of(found.transitions.sum(1) / data.dims)
    steps = zip(grid.times, grid.times[1:], strict=False)
    gains = [(float(LINEAR.snr_gain(torch.tensor([s]), t)), float(world.cov_x0(t).mean())) for s, t in steps]
    assert transitions.stderr < 1e-3
    assert transitions.mean == pytest.approx(sum(0.5 * math.log1p(r * v) for r, v in gains), abs=4 * transitions.stderr)
    whole = Estimate.of((found.prior + found.transitions.sum(1) + world.entropy_given(first)) / data.dims)
    expected = (world.entropy() + world.far_end(last)) / data.dims
    assert whole.stderr < 1e-3
    assert whole.mean == pytest.approx(expected, abs=4 * whole.stderr)


RGB = DataDescription(3, 8, 8)
COSINE = cosine(3, 8, 8)


def cosine_world() -> DiagonalWorld:
    """Power falls with frequency, and grey holds most of it, as in photographs."""
    u = torch.arange(8, dtype=torch.float64)
    power = 0.5 / (1 + u[:, None].square() + u.square())
    return DiagonalWorld(LINEAR, torch.stack([4 * power, power, power / 4]), COSINE)


def bound(world: DiagonalWorld, covariance: Covariance, grid: Grid, count: int) -> Tensor:
    """-ELBO with the exact last step, (count,) nats an image; the same draws for every covariance."""
    draw = torch.Generator().manual_seed(3)
    meter = LikelihoodMeter(world.schedule, RGB, {"told": covariance}, [grid], count)
    for first in range(0, count, 500):
        x_0 = world.sample(500, draw)
        for t in grid.times:
            meter.add(world.noised(x_0, t, draw, first))
    found = meter.result("told", grid)
    return found.prior + found.transitions.sum(1) + world.entropy_given(grid.times[0])


def test_a_covariance_diagonal_in_cosines_attains_the_entropy_and_one_in_pixels_does_not() -> None:
    world, grid, count = cosine_world(), even(1000, 12), 1000
    expected = world.entropy() + world.far_end(1000)
    right = bound(world, world.known(), grid, count)
    found = Estimate.of(right / RGB.dims)
    assert found.stderr < 5e-3
    assert found.mean == pytest.approx(expected / RGB.dims, abs=4 * found.stderr)

    def of_pixels(t: int) -> Tensor:
        """Variances of the pixels of an error that is independent between cosines: the best that pixels can do."""
        eye = torch.eye(RGB.dims, dtype=torch.float64).reshape(-1, *RGB.shape)
        return (COSINE.forward(eye).square() * world.cov_x0(t)).flatten(1).sum(1).reshape(RGB.shape)

    steps = list(zip(grid.times, grid.times[1:], strict=False))
    excess = 0.0
    for s, t in steps:
        rho = float(LINEAR.snr_gain(torch.tensor([s]), t))
        excess += 0.5 * float((rho * of_pixels(t)).log1p().sum() - (rho * world.cov_x0(t)).log1p().sum())
    assert excess > 20, "Hadamard's inequality is not tight here"
    wrong = Estimate.of(bound(world, Told(LINEAR, of_pixels), grid, count) - right)
    assert wrong.mean == pytest.approx(excess, abs=4 * wrong.stderr)
    confused = bound(world, Told(LINEAR, world.cov_x0, PIXEL), grid, count)
    assert float((confused - right).mean()) > excess, "the right numbers in the wrong basis"


@pytest.mark.parametrize("basis", [PIXEL, COSINE], ids=["pixel", "cosine"])
def test_per_image_variances_meet_their_own_image(basis: Basis) -> None:
    """var_x0 of shape (B, C, H, W): each value with its own error, for all arrivals."""
    draw = torch.Generator().manual_seed(5)
    error, var = torch.randn(2, 3, *RGB.shape, generator=draw, dtype=torch.float64)
    var = var.square()
    rho = torch.tensor([0.5, 30.0, 4e3], dtype=torch.float64)
    noised = taken_for(torch.zeros_like(error), error, 9)
    uncertainty = Told(LINEAR, lambda t: var, basis).checked(noised.look)
    nats = uncertainty.kl_lifted(noised.error, rho)
    assert uncertainty.floor_share == 0
    for k, r in enumerate(rho):
        one = torch.ones((), dtype=torch.float64)
        p = Normal(torch.zeros_like(error), (1 + r * var).sqrt())
        expected = kl_divergence(Normal(r.sqrt() * basis.forward(error), one), p).flatten(1).sum(1)
        torch.testing.assert_close(nats[k], expected, rtol=EXACT, atol=EXACT)


def test_the_prior_is_torchs() -> None:
    x_0 = torch.randn(3, *RGB.shape, generator=torch.Generator().manual_seed(0))
    for t in (1, 300, 1000):
        abar = LINEAR.alpha_bar[t]
        q = Normal(abar.sqrt() * x_0.double(), (1 - abar).sqrt())
        expected = kl_divergence(q, Normal(torch.zeros((), dtype=torch.float64), 1.0)).flatten(1).sum(1)
        found = prior_nats(LINEAR, x_0, t)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_the_corrected_scalar_is_the_best_scalar() -> None:
    """The bound falls towards the mean squared error from both sides; a biased mean parts it from `analytic`."""
    draw, data, count = torch.Generator().manual_seed(0), DataDescription(1, 8, 8), 50
    world = DiagonalWorld(LINEAR, torch.full(data.shape, VAR, dtype=torch.float64))
    t, rho = 400, LINEAR.snr_gain(torch.tensor([1, 100, 399]), 400)
    right = world.noised(world.sample(count, draw), t, draw)
    noised = right.seen(replace(right.look, x0_hat=right.look.x0_hat + 0.2))
    in_eps = noised.error.square().mean() / LINEAR.ratio[t]
    ones = torch.ones(1001, dtype=torch.float64)
    norm = GaussianWorld(LINEAR, 0.0, VAR).table().eps_hat_sq
    table = VarianceTable(ones, norm, norm, in_eps * ones, in_eps * ones)

    def nats(covariance: Covariance) -> Tensor:
        return covariance.checked(noised.look).kl_lifted(noised.error, rho).mean(1)

    best = nats(Corrected(Ingredients.of(LINEAR, data, table)))
    assert (nats(Analytic(Ingredients.of(LINEAR, data, table))) > best).all()
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        scaled = Told(LINEAR, lambda t, c=factor: c * noised.error.square().mean())
        assert (nats(scaled) > best).all(), factor


# --- a plain double loop on a real network

GRID = explicit(20, (2, 3, 7, 12, 20))
IMAGES = tiny_images(5)
FLOAT32 = 2e-5
"""Relative: one image a call in the loop, a batch in the meter, and convolutions in float32."""


def in_range(look: Look, step: Step) -> Tensor:
    """The published variance of p(x_s | x_t), a power of each end, kept within what pixels in [-1, 1] can have."""
    assert look.learned is not None
    share = (look.learned.double() + 1) / 2
    var = step.beta_ts**share * step.beta_tilde ** (1 - share)
    return var.clamp(step.beta_tilde, step.beta_tilde + step.gamma**2)


def naive(model: MeanModel, covariance: Covariance, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(prior, transitions, decoder, floor) by Step and torch.distributions, one image and one step at a time."""
    decoder_var = Step(model.schedule, 1, 2).beta_tilde
    rows, floors = [], []
    for i in range(len(IMAGES)):
        x_0, terms, floor = DATA.encode(IMAGES[i : i + 1]), [], []
        for s, t in GRID.pairs():
            noise = ImageNoise(seed, [(i, t)], DATA.shape, purpose="forward", version=MEASURING)
            x_t = q_sample(model.schedule, x_0, t, noise.draw())
            look = model.look(x_t.double(), t)
            abar = model.schedule.alpha_bar[t]
            x0_hat = (x_t.double() - (1 - abar).sqrt() * look.predicted) / abar.sqrt()
            x0_hat = x0_hat.clamp(-1, 1)
            if s == 0:
                pixels = zip(IMAGES[i].flatten().tolist(), x0_hat.flatten().tolist(), strict=True)
                terms.append(sum(level_nats(level, mean, decoder_var, DATA) for level, mean in pixels))
                continue
            step = Step(model.schedule, s, t)
            found = covariance.at(look)
            var_xs = in_range(look, step) if covariance.reads_range else step.lift(found.var.double())
            U = torch.eye(DATA.dims, dtype=torch.float64).reshape(-1, *DATA.shape)
            U = found.basis.forward(U).flatten(1).T  # posterior noise is isotropic in any
            of_q, of_p = (step.mean_from_x_t(x, x_t.double()).flatten(1) @ U.T for x in (x_0.double(), x0_hat))
            q = Normal(of_q, step.lambda2**0.5)
            p = Normal(of_p, var_xs.expand(1, *DATA.shape).flatten(1).sqrt())
            terms.append(float(kl_divergence(q, p).sum()))
            floor.append(float((covariance.unbounded(look).var <= 0).double().mean()))
        end = GRID.times[-1]
        abar = model.schedule.alpha_bar[end]
        start = kl_divergence(Normal(abar.sqrt() * x_0.double(), (1 - abar).sqrt()), Normal(abar * 0, 1.0)).sum()
        rows.append([float(start), *terms[-2::-1], terms[-1]])
        floors.append(floor[::-1])
    table = torch.tensor(rows, dtype=torch.float64)
    return table[:, 0], table[:, 1:-1], table[:, -1], torch.tensor(floors, dtype=torch.float64).mean(0)


@pytest.fixture(scope="module")
def model() -> MeanModel:
    return tiny_model(20)


def run(
    model: MeanModel, names: list[str], grids: list[Grid] | None = None, batch_size: int = 5, seed: int = 2
) -> LikelihoodMeter:
    covariances = {name: tiny_covariance(name, model) for name in names}
    meter = LikelihoodMeter(model.schedule, DATA, covariances, grids or [GRID], len(IMAGES))
    seen = through(model, View(clip_x0=True))
    measure(seen, Examples(IMAGES), [meter], seed=seed, batch_size=batch_size)
    return meter


def same(a: Likelihood, b: Likelihood, rtol: float) -> None:
    assert a.times == b.times
    for field in ("prior", "transitions", "decoder", "floor_share"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_every_term_of_every_image_is_that_of_the_double_loop(model: MeanModel, name: str) -> None:
    prior, transitions, decoder, floor = naive(model, tiny_covariance(name, model), seed=2)
    found = run(model, [name]).result(name, GRID)
    torch.testing.assert_close(found.prior, prior, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.transitions, transitions, rtol=FLOAT32, atol=0)
    torch.testing.assert_close(found.decoder, decoder, rtol=FLOAT32, atol=0)
    torch.testing.assert_close(found.floor_share, floor, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.nats, prior + transitions.sum(1) + decoder, rtol=FLOAT32, atol=0)
    assert {values.dtype for values in (found.prior, found.transitions, found.decoder, found.nats)} == {torch.float64}
    if takes_both_signs(name):
        assert 0 < float(floor.mean()) < 1, "the head was clipped somewhere, but not everywhere"
    elif name != "small":
        assert floor.tolist() == [0] * 4


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_batches_do_not_matter(model: MeanModel, batch_size: int) -> None:
    whole, parts = run(model, ["corrected", "npr"]), run(model, ["corrected", "npr"], batch_size=batch_size)
    for name in ("corrected", "npr"):
        same(parts.result(name, GRID), whole.result(name, GRID), rtol=FLOAT32)


def test_all_covariances_are_measured_on_the_same_noise(model: MeanModel) -> None:
    together = run(model, list(registry.COVARIANCES))
    small = together.result("small", GRID)
    for name in registry.COVARIANCES:
        found = together.result(name, GRID)
        same(found, run(model, [name]).result(name, GRID), rtol=1e-12)
        assert torch.equal(found.prior, small.prior)
        assert torch.equal(found.decoder, small.decoder)


def test_a_grid_among_others_has_the_numbers_it_has_alone(model: MeanModel) -> None:
    several = [even(20, 3), GRID, even(20, 20), explicit(20, (7,))]
    together = run(model, ["analytic", "sn"], several)
    assert sorted(together.times) == list(range(1, 21))
    for name in ("analytic", "sn"):
        for grid in several:
            alone = run(model, [name], [grid]).result(name, grid)
            same(together.result(name, grid), alone, rtol=1e-12)
    assert together.result("sn", several[3]).transitions.shape == (5, 0)


def test_another_seed_is_another_number(model: MeanModel) -> None:
    one, other = (run(model, ["small"], seed=seed).result("small", GRID) for seed in (2, 3))
    assert torch.equal(one.prior, other.prior), "the prior has no noise in it"
    assert not torch.isclose(one.transitions, other.transitions).any()


def test_the_floor_share_of_small_is_one(model: MeanModel) -> None:
    meter = run(model, ["small", "large"], batch_size=2)
    torch.testing.assert_close(meter.result("small", GRID).floor_share, torch.ones(4, dtype=torch.float64))
    assert meter.result("large", GRID).floor_share.tolist() == [0, 0, 0, 0]


def test_images_that_were_never_seen_are_nan_and_no_number() -> None:
    meter = LikelihoodMeter(LINEAR, RGB, {"small": Small(Ingredients.of(LINEAR, RGB))}, [even(1000, 3)], 4)
    for t in meter.times:
        x_0 = torch.zeros(3, *RGB.shape, dtype=torch.float64)
        meter.add(taken_for(x_0, x_0, t))
    assert meter.result("small", even(1000, 3)).nats.isnan().tolist() == [False, False, False, True]


def test_a_covariance_that_gives_nan_is_named() -> None:
    head = FittedHead(lambda features, t: torch.tensor([[[[0.5, math.nan]]]]))
    data = DataDescription(1, 1, 2)
    meter = LikelihoodMeter(LINEAR, data, {"it": NPR(Ingredients.of(LINEAR, data, head))}, [even(1000, 3)], 1)
    x_0 = torch.zeros(1, *data.shape, dtype=torch.float64)
    with pytest.raises(NonFiniteError, match="the npr covariance gives NaN at t=1000: its table or head is broken"):
        meter.add(taken_for(x_0, x_0, 1000))


# --- units and refusals


def test_bits_per_dim() -> None:
    nats = torch.tensor([64 * math.log(2), 3 * 64 * math.log(2)], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    found = Likelihood((1,), 64, zero, torch.zeros(2, 0, dtype=torch.float64), nats, zero[:0])
    assert found.bits_per_dim() == Estimate(pytest.approx(2), pytest.approx(1))
    assert found.bits_per_dim(nats[:1]).mean == pytest.approx(1)
    assert math.isnan(found.bits_per_dim(nats[:1]).stderr)


def test_the_decoder_has_the_full_chains_variance_on_any_grid() -> None:
    x_0 = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    var = float(exact("linear", 1000).beta_tilde(1, 2))
    for t in (1, 40, 1000):
        found = float(decoder_nats(LINEAR, DATA, taken_for(x_0 + 0.07, x_0, t)))
        assert found == pytest.approx(64 * level_nats(12, 0.57, var, DATA), rel=1e-8)


def test_only_ddpm_has_this_bound() -> None:
    check_bounded(DDPM())
    with pytest.raises(UsageError, match=r"ddim-eta1 has no bound .*: the bound is that of the Markov chain"):
        check_bounded(DDIM(1.0))
    with pytest.raises(UsageError, match=r"ddim has no bound on the likelihood: .*; use --solver ddpm"):
        check_bounded(DDIM(0.0))
    with pytest.raises(UsageError, match=r"ddim-eta0.5 has no bound .*: the bound is that of the Markov chain"):
        check_bounded(DDIM(0.5))


def test_one_step_of_noise_has_no_decoder() -> None:
    with pytest.raises(UsageError, match="at least 2 steps, found T=1"):
        LikelihoodMeter(NoiseSchedule.cosine(1), DATA, {}, [even(1, 1)], 1)
