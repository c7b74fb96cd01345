"""Noise that was drawn elsewhere is the noise that is used: in sampling, along the forward path, and in sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffcov.basis import colour_axes, cosine
from diffcov.covariance.corrected import Corrected
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.forward import look_along, measure
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.engines.sweep import estimate
from diffcov.errors import UsageError
from diffcov.noise import GivenNoise, ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.trunks import OUR_TIMES, perfect_model

DATA = DataDescription(2, 4, 6, levels=17)
WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.1, var=0.25)
TIMES = (50, 400, 700)
EXACT = 1e-12
FLOAT32 = 1e-6


def drawn(count: int, dtype: torch.dtype = torch.float64, seed: int = 5) -> list[Tensor]:
    """Some draws for three images."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(3, *DATA.shape, generator=draw, dtype=torch.float64).to(dtype) for _ in range(count)]


def sampler(solver: Solver, *, double: bool = True, view: View | None = None, **options: float) -> Sampler:
    model = perfect_model(WORLD, DATA)
    seen = through(model.double() if double else model, view or View())
    covariance = Corrected(Ingredients.of(WORLD.schedule, DATA, WORLD.table()))
    return Sampler(seen, covariance, solver, explicit(1000, TIMES), options.get("cap_levels"), seed=1)


# --- sampling


def by_hand(draws: Sequence[Tensor], eta: float) -> Tensor:
    """The loop of the papers on a perfect mean, unclipped: start noise first, then that of each step but the last."""
    start, *rest = draws
    x, noise = start, iter(rest)
    for s, t in zip((0, *TIMES[:-1])[::-1], TIMES[::-1], strict=True):
        abar, step = float(WORLD.schedule.alpha_bar[t]), Step(WORLD.schedule, s, t, eta)
        eps = WORLD.eps_hat(x, t)
        x_0 = (x - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
        x = math.sqrt(step.alpha_bar_s) * x_0 + step.direction * eps
        if s > 0:
            x = x + math.sqrt(step.lambda2 + step.gamma**2 * WORLD.cov_x0(t)) * next(noise)
    return x


@pytest.mark.parametrize("solver", [DDPM(), DDIM(), DDIM(0.5)], ids=["ddpm", "ddim", "eta 0.5"])
def test_a_sampling_takes_the_draws_in_their_order(solver: Solver) -> None:
    draws = drawn(3)
    found = sample(sampler(solver), GivenNoise(draws))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_hand(draws, solver.eta), rtol=0, atol=EXACT)


def test_its_seed_has_no_part_in_it() -> None:
    one, other = (replace(sampler(DDPM()), seed=seed) for seed in (1, 2))
    assert torch.equal(sample(one, GivenNoise(drawn(3))), sample(other, GivenNoise(drawn(3))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("double", [False, True])
def test_the_arithmetic_is_in_the_precision_of_the_draws(dtype: torch.dtype, double: bool) -> None:
    """Whatever that of the network is."""
    draws = drawn(3, dtype)
    found = sample(sampler(DDPM(), double=double), GivenNoise(draws))
    assert found.dtype == dtype
    expected = by_hand([draw.double() for draw in draws], 1.0)
    exact = double and dtype == torch.float64
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=EXACT if exact else 2e-5)


def test_given_what_the_seed_would_draw_it_is_the_seed_s_image() -> None:
    """Bit by bit, also through a view and with a cap."""
    chosen = sampler(DDPM(), double=False, view=View(clip_x0=True, eps_scale=1.05), cap_levels=1.0)
    own = ImageNoise(chosen.seed, range(3), DATA.shape)
    given = GivenNoise([own.draw() for _ in TIMES])
    assert torch.equal(sample(chosen, given), sample(chosen, ImageNoise(chosen.seed, range(3), DATA.shape)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_draws_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match="the given noise is used up: a sampling of K steps draws K times"):
        sample(sampler(DDPM()), GivenNoise(drawn(count)))


def test_draws_are_taken_from_any_iterable_and_no_further_than_needed() -> None:
    taken: list[int] = []

    def one_by_one() -> Iterator[Tensor]:
        for k, draw in enumerate(drawn(9)):
            taken.append(k)
            yield draw

    noise = GivenNoise(one_by_one())
    sample(sampler(DDPM()), noise)
    assert taken == [0, 1, 2]
    assert torch.equal(noise.draw(), drawn(4)[3])


# --- the forward path


EXAMPLES = Examples(
    torch.randint(0, 17, (5, *DATA.shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
)


def numbered(t: int, rows: slice) -> Tensor:
    """Noise that anybody can tell from its image and time."""
    return torch.stack([drawn(1, seed=1000 * i + t)[0][0] for i in range(rows.start, rows.stop)])


class Nothing(nn.Module):
    """eps_hat = 0, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return self.zero * x


def nothing() -> MeanModel:
    return MeanModel(Nothing(), Reading(WORLD.schedule, DATA, OUR_TIMES)).freeze()


def check(noised: Noised) -> None:
    t, rows = noised.look.time, noised.rows
    expected = numbered(t, rows)
    abar = WORLD.schedule.alpha_bar[t]
    x_t = abar.sqrt() * DATA.encode(EXAMPLES.images[rows], torch.float64) + (1 - abar).sqrt() * expected
    torch.testing.assert_close(noised.eps, expected, rtol=0, atol=0)
    torch.testing.assert_close(noised.look.x_t, x_t, rtol=0, atol=EXACT)
    torch.testing.assert_close(noised.residual, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_forward_path_is_noised_as_given(batch_size: int) -> None:
    """For every cut into batches, and where several times share a call."""
    seen = []
    for noised in look_along(nothing(), EXAMPLES, TIMES, batch_size=batch_size, noise=numbered):
        check(noised)
        seen += [(i, noised.look.time) for i in range(noised.rows.start, noised.rows.stop)]
    assert sorted(seen) == [(i, t) for i in range(5) for t in TIMES]


def test_so_it_is_for_all_meters() -> None:
    class Checker:
        def __init__(self, *times: int) -> None:
            self.times, self.count = times, 0

        def add(self, noised: Noised) -> None:
            check(noised)
            self.count += len(noised.x_0)

    meters = [Checker(50, 700), Checker(700)]
    measure(nothing(), EXAMPLES, meters, seed=8, batch_size=2, noise=numbered)
    assert [meter.count for meter in meters] == [10, 5]


# --- sweeps


def of_sample(t: int, k: int) -> Tensor:
    """Noise that anybody can tell from its sample and time."""
    return drawn(1, seed=1000 * k + t)[0][0]


def of_batch(batch: Sequence[tuple[int, int]]) -> Tensor:
    return torch.stack([of_sample(t, k) for t, k in batch])


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sweep_over_times_is_noised_as_given(batch_size: int, seed: int) -> None:
    """Where eps_hat is 0 its error is the noise itself, whatever images the seed has chosen."""
    options = {"batch_size": batch_size, "seed": seed, "first": 2, "noise": of_batch}
    table = estimate(nothing(), EXAMPLES, [VarianceTable], TIMES, 7, **options)[VarianceTable]
    assert table.error_sq is not None
    for t in TIMES:
        expected = sum(float(of_sample(t, k).square().mean()) for k in range(2, 9))
        assert float(table.error_sq[t]) == pytest.approx(expected, rel=EXACT)
        assert float(table.eps_hat_sq[t]) == pytest.approx(7 - expected, abs=1e-9), "less its control variate"


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sweep_at_knots_is_noised_as_given(batch_size: int, seed: int) -> None:
    options = {"batch_size": batch_size, "seed": seed, "first": 2, "noise": of_batch, "clip": False}
    found = estimate(nothing(), EXAMPLES, [Spectrum, ResidualMatrices], TIMES, 7, **options)
    basis = cosine(*DATA.shape, colour_axes(EXAMPLES.images))
    for knot, t in enumerate(TIMES):
        c = basis.forward(torch.stack([of_sample(t, k) for k in range(2, 9)]))
        torch.testing.assert_close(found[Spectrum].total[knot], c.square().sum(0), rtol=1e-9, atol=EXACT)
        flat = c.flatten(1)
        moments = found[ResidualMatrices].moments(knot)
        torch.testing.assert_close(moments, flat.T @ flat / 7, rtol=0, atol=FLOAT32)


def test_the_seed_still_chooses_the_images() -> None:
    """With the same noise for all, the norm of a network that says x_t differs by the images alone."""

    class Echo(nn.Module):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            return x

    model = MeanModel(Echo(), Reading(WORLD.schedule, DATA, OUR_TIMES)).freeze()
    tables = [
        estimate(model, EXAMPLES, [VarianceTable], (50,), 2, seed=seed, noise=of_batch)[VarianceTable]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(tables[0].error_sq, tables[1].error_sq)
    assert not torch.equal(tables[0].error_sq, tables[2].error_sq)
