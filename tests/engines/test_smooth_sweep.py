"""One sweep for all statistics: true in the Gaussian world, honest about its errors, blind to batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription, Examples
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.smooth_sweep import Goal, Reached, Rounds, smooth_sweep
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError
from diffcov.nets.features import Features
from diffcov.processes.base import working
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.shares import Half
from oracles.trunks import OUR_TIMES, PerfectTrunk, perfect_model

DATA = DataDescription(1, 3, 4, levels=256, low=-3.0, high=3.0)
WORLD = GaussianWorld(NoiseSchedule.linear(200), mean=0.2, var=0.25 + DATA.level_width**2 / 12)
BUDGET = Goal(calls=1500)
EVERYTHING = (VarianceTable, Spectrum, ImageGaussian, ResidualMatrices)
EXAMPLES = Examples(DATA.decode(0.2 + 0.5 * torch.randn(4000, *DATA.shape, generator=torch.Generator().manual_seed(7))))


def swept(model: MeanModel | None = None, goal: Goal = BUDGET, **options: Any) -> dict[Any, Any]:
    """All statistics of a mean that is off by 0.3 x_t, so that its error is no linear denoiser's."""
    told = {"seed": 0, "kinds": EVERYTHING, **options}
    return smooth_sweep(model or perfect_model(WORLD, DATA, 0.3), EXAMPLES, told.pop("kinds"), goal, **told)


def truth(t: int, bias: float = 0.3) -> tuple[float, float]:
    """(E||eps - eps_hat||^2 / d, E||eps_hat||^2 / d) of that mean: see ``test_sweep_table``."""
    second = WORLD.marginal_var(t) + WORLD.marginal_mean(t) ** 2
    cross = 2 * bias * float(WORLD.schedule.beta_bar[t]) ** 0.5
    return WORLD.var_eps(t) + bias**2 * second, WORLD.gamma_t(t) + cross + bias**2 * second


@pytest.fixture(scope="module")
def repeated() -> list[VarianceTable]:
    """Tables of independent sweeps."""
    return [swept(kinds=(VarianceTable,), goal=Goal(None, 1000), seed=seed)[VarianceTable] for seed in range(12)]


def test_every_time_has_its_values_and_they_are_true(repeated: list[VarianceTable]) -> None:
    table = repeated[0]
    assert table.times == list(range(1, 201))
    assert len(table.knots) < 60
    assert int(table.count.sum()) == 1000
    for t in (1, 7, 33, 100, 161, 200):
        error, norm = truth(t)
        stderr = float(table.error_moments.stderr()[t]), float(table.eps_hat_moments.stderr()[t])
        assert table.error_at(t) == pytest.approx(error, abs=4 * stderr[0])
        assert table.value(table.eps_hat_moments, t) == pytest.approx(norm, abs=4 * stderr[1])
        assert stderr[0] < 0.06 * error


class Wavy(PerfectTrunk):
    """Off by something that no linear denoiser knows."""

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        exact, features = super().forward(x, times)
        return exact + 0.5 * torch.sin(4 * x), features


def test_stated_errors_are_those_of_independent_sweeps() -> None:
    """The variance over 16 sweeps against the stated one, over all times: 1, known to about a fifth."""
    model = MeanModel(Wavy(WORLD), Reading(WORLD.schedule, DATA, OUR_TIMES))
    goal = Goal(None, 1000)
    tables = [swept(model, goal, kinds=(VarianceTable,), seed=seed)[VarianceTable] for seed in range(16)]
    for moments in ([one.error_moments for one in tables], [one.eps_hat_moments for one in tables]):
        found = torch.stack([one.mean()[1:] for one in moments])
        stated = torch.stack([one.stderr()[1:] for one in moments]).square().mean(0)
        assert 0.5 < float((found.var(0) / stated).mean()) < 1.35


def test_more_is_known_than_of_single_times() -> None:
    """Of as many images at single times a value has an error several times as large."""
    model = perfect_model(WORLD, DATA, 0.3)
    one = swept(model, kinds=(VarianceTable,), goal=Goal(None, 1000))[VarianceTable]
    single = estimate(model, EXAMPLES, [VarianceTable], range(1, 201), 5)[VarianceTable]
    assert float(one.relative_stderr().median()) < 0.2 * float(single.relative_stderr().median())


def test_all_statistics_hold_the_same_images() -> None:
    found = swept()
    counts = [statistic.counts() for statistic in found.values()]
    assert all(count == counts[0] for count in counts)
    x_0 = DATA.encode(EXAMPLES.images, torch.float64)
    torch.testing.assert_close(found[ImageGaussian].mean, x_0.mean(0), rtol=0, atol=4 * 0.5 / 1500**0.5)
    assert sum(counts[0].values()) == 1500
    spectrum, matrices = found[Spectrum], found[ResidualMatrices]
    mean = spectrum.mean().mean((1, 2, 3))
    for knot, t in enumerate(spectrum.times):
        if t < 60:  # later the clip to the range of the data bites, through which the spectrum looks
            assert float(mean[knot]) == pytest.approx(truth(t)[0], rel=0.15)
        diagonal = matrices.at_knot(knot).diagonal()
        assert float((diagonal / spectrum.mean()[knot].flatten()).log().square().mean().sqrt()) < 0.3
    assert float(spectrum.band_relative_stderr().max()) < 0.2


def test_images_go_where_the_error_is_largest() -> None:
    """An error that differs from image to image five times as much near the data gets more images there."""
    found = swept(kinds=(VarianceTable,), goal=Goal(None, 4000))[VarianceTable].counts()
    assert max(found.values()) > 2 * min(found.values())
    table = swept(kinds=(VarianceTable,), goal=Goal(None, 4000))[VarianceTable]
    relative = table.relative_stderr()
    assert float(relative.max() / relative.median()) < 1.5


def test_batches_change_nothing_that_matters() -> None:
    one, other = swept(batch_size=7), swept(batch_size=256)
    for kind in EVERYTHING:
        for name, total in one[kind].tensors().items():
            scale = float(total.double().abs().max())
            torch.testing.assert_close(other[kind].tensors()[name], total, rtol=1e-4, atol=1e-6 * scale, msg=name)


def test_going_on_keeps_every_image_and_takes_new_ones() -> None:
    first = swept(goal=Goal(None, 800))
    more = swept(goal=Goal(None, 400), held=first)
    before, after = first[Spectrum].counts(), more[Spectrum].counts()
    assert sum(after.values()) == 1200
    assert all(after[t] >= count for t, count in before.items())
    again = swept(like=more[Spectrum].counts())
    for kind in EVERYTHING:
        for name in again[kind].tensors().keys() - {"pairs"}:
            torch.testing.assert_close(again[kind].tensors()[name], more[kind].tensors()[name], rtol=1e-6, atol=1e-5)


def test_it_ends_at_the_wanted_error_or_at_the_budget() -> None:
    told: list[Reached] = []
    found = swept(goal=Goal(rtol=0.04, calls=50_000), kinds=(VarianceTable,), on_round=told.append)[VarianceTable]
    assert float(found.relative_stderr().max()) < 0.041
    assert told[-1].needed == 0
    assert told[-1].errors["the squared error"] <= 0.04
    assert told[-1].images == int(found.count.sum()) < 5000
    assert all(one.needed for one in told[:-1])
    told.clear()
    swept(goal=Goal(rtol=1e-4, calls=900), kinds=(VarianceTable,), on_round=told.append)
    assert (told[-1].images, bool(told[-1].needed)) == (900, True)


def test_a_small_budget_is_kept_too_and_time_ends_it_as_well() -> None:
    assert sum(swept(goal=Goal(None, 120))[VarianceTable].counts().values()) == 120
    told: list[Reached] = []
    swept(goal=Goal(seconds=1e-3), on_round=told.append)
    assert len(told) == 1, "the first round, and no time for another"


@pytest.mark.parametrize("T", [1, 2, 5])
def test_schedules_of_few_times(T: int) -> None:
    schedule = NoiseSchedule.from_alpha_bar(torch.linspace(0.9, 0.3, T).tolist())
    world = GaussianWorld(schedule, mean=0.2, var=0.25)
    found = swept(perfect_model(world, DATA), Goal(None, 400))
    assert found[VarianceTable].times == list(range(1, T + 1))
    assert found[VarianceTable].error_at(T) == pytest.approx(world.var_eps(T), rel=0.2)
    assert (found[Spectrum].mean() > 0).all()


class Level(PerfectTrunk):
    """x0_hat is the data's mean, whatever it sees."""

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        _, features = super().forward(x, times)
        return torch.full_like(x, 0.2), features


def test_the_end_without_a_signal_speaks_for_itself() -> None:
    """Where alpha_bar_T = 0 statistics have another unit, x_0's own: no curve goes there, and it is measured anyhow."""
    alpha_bar = NoiseSchedule.cosine(40).alpha_bar[1:].tolist()
    schedule = NoiseSchedule.from_alpha_bar([*alpha_bar[:-1], 0.0])
    trunk = Level(GaussianWorld(NoiseSchedule.cosine(40), mean=0.2, var=0.25))
    model = MeanModel(trunk, Reading(schedule, DATA, OUR_TIMES, predicts="x0"))
    found = swept(model, Goal(None, 3000), kinds=(VarianceTable, Spectrum))
    table = found[VarianceTable]
    assert table.times == list(range(1, 41))
    assert table.error_at(40) == pytest.approx(0.25, rel=0.1)
    for t in (1, 15, 39):
        assert table.error_at(t) == pytest.approx(0.25 / float(schedule.ratio[t]), rel=0.1)
    assert torch.isfinite(table.eps_hat_moments.mean()[1:40]).all()
    assert float(found[Spectrum].mean()[-1].mean()) == pytest.approx(0.25, rel=0.1)


def test_curves_and_single_times_do_not_merge() -> None:
    curves = swept(kinds=(VarianceTable, Spectrum), goal=Goal(None, 100))
    model = perfect_model(WORLD, DATA)
    table = estimate(model, EXAMPLES, [VarianceTable], (1, 9), 2)[VarianceTable]
    with pytest.raises(InputError, match="variance tables of single times and of curves over log-SNR cannot be merged"):
        curves[VarianceTable].merge(table)
    spectrum = estimate(model, EXAMPLES, [Spectrum], (1, 9), 2)[Spectrum]
    with pytest.raises(InputError, match="spectra of other knots, image sizes or colour axes cannot be merged"):
        spectrum.merge(curves[Spectrum])


def test_curves_of_another_schedule_are_noticed() -> None:
    found = swept(goal=Goal(None, 100))
    for statistic in found.values():
        statistic.check_fits(WORLD.schedule, DATA)
        with pytest.raises(ValueError, match="curves over the log-SNR of another schedule"):
            statistic.check_fits(NoiseSchedule.cosine(200), DATA)
        again = type(statistic).from_tensors(statistic.tensors())
        assert again.digest == statistic.digest


def test_matrices_are_the_same_however_many_processes_share_the_times() -> None:
    """Their scatter is in units of the spread of a time, so that a time must not be cut in two."""
    like = swept(goal=Goal(None, 600))[VarianceTable].counts()
    assert max(like.values()) > 16
    whole = swept(like=like, batch_size=16)[ResidualMatrices]
    parts = []
    for rank in range(2):
        with working(Half(rank)):
            parts.append(swept(like=like, batch_size=16)[ResidualMatrices])
    merged = parts[0].merge(parts[1])
    torch.testing.assert_close(merged.count, whole.count, rtol=0, atol=0)
    torch.testing.assert_close(merged.pairs, whole.pairs, rtol=1e-6, atol=0)


def test_a_sweep_goes_on_from_any_round() -> None:
    """Bit for bit as it would have gone on."""
    rounds: list[Rounds] = []
    whole = swept(on_found=rounds.append)
    assert len(rounds) >= 2
    assert [one.images for one in rounds] == sorted({one.images for one in rounds})
    for begun in rounds:
        told: list[Reached] = []
        again = swept(begun=begun, on_round=told.append)
        assert told[0].images == begun.images
        assert told[-1].images == 1500
        for kind, statistic in whole.items():
            mine = again[kind].tensors()
            assert all(torch.equal(mine[name], value) for name, value in statistic.tensors().items()), kind
