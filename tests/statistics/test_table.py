"""The variance table: sufficient statistics that merge by adding, and say what is missing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.moments import Moments
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld

ROUNDING = 1e-9
"""Relative: the standard error is a difference of sums of squares of numbers near 1."""

T = 6


def measured(norms: np.ndarray, errors: np.ndarray) -> VarianceTable:
    """A table from (images, T+1) of ||eps_hat||^2/d and ||eps - eps_hat||^2/d, column 0 not measured."""
    count = np.r_[0.0, np.full(T, len(norms))]
    sums = [count, norms.sum(0), (norms**2).sum(0), errors.sum(0), (errors**2).sum(0)]
    columns = [torch.tensor(np.r_[0.0, column[1:]]) for column in sums]
    return VarianceTable(*columns)


def draws(seed: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 1.0, (images, T + 1)), rng.uniform(0.0, 0.4, (images, T + 1))


def test_moments_agree_with_numpy() -> None:
    norms, errors = draws(0, images=7)
    table = measured(norms, errors)
    for moments, values in ((table.eps_hat_moments, norms), (table.error_moments, errors)):
        expected_error = values.std(0, ddof=1) / np.sqrt(7)
        np.testing.assert_allclose(moments.mean()[1:].numpy(), values.mean(0)[1:], rtol=ROUNDING)
        np.testing.assert_allclose(moments.stderr()[1:].numpy(), expected_error[1:], rtol=ROUNDING)
        assert [table.value(moments, t) for t in range(1, T + 1)] == pytest.approx(list(values.mean(0)[1:]))


def test_merging_is_measuring_all_at_once() -> None:
    (norms_a, errors_a), (norms_b, errors_b) = draws(1, images=5), draws(2, images=9)
    merged = measured(norms_a, errors_a).merge(measured(norms_b, errors_b))
    together = measured(np.concatenate([norms_a, norms_b]), np.concatenate([errors_a, errors_b]))
    for name, values in merged.tensors().items():
        torch.testing.assert_close(values, together.tensors()[name], rtol=ROUNDING, atol=0)


def test_merging_changes_neither_table() -> None:
    a, b = measured(*draws(1, images=5)), measured(*draws(2, images=9))
    before = [v.clone() for v in (*a.tensors().values(), *b.tensors().values())]
    a.merge(b)
    assert all(torch.equal(x, y) for x, y in zip(before, (*a.tensors().values(), *b.tensors().values()), strict=True))


def test_the_empty_table_is_the_neutral_element() -> None:
    table = measured(*draws(3, images=4))
    for merged in (table.merge(VarianceTable.empty(T)), VarianceTable.empty(T).merge(table)):
        assert all(torch.equal(merged.tensors()[name], values) for name, values in table.tensors().items())


def test_tables_of_other_lengths_do_not_merge() -> None:
    with pytest.raises(InputError, match="T=6 and T=7 cannot be merged"):
        VarianceTable.empty(6).merge(VarianceTable.empty(7))


def test_one_image_has_no_standard_error_and_no_image_no_mean() -> None:
    moments = Moments(*(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) for _ in range(3)))
    assert torch.isnan(moments.mean()).tolist() == [True, False, False]
    assert torch.isnan(moments.stderr()).tolist() == [True, True, False]


def test_equal_images_have_no_spread() -> None:
    """Rounding could leave a variance just below zero: it must not become a NaN."""
    values = np.full((3, T + 1), 0.1)
    assert float(measured(values, values).error_moments.stderr()[1]) == pytest.approx(0, abs=1e-8)


def holed() -> VarianceTable:
    table = measured(*draws(4, images=3))
    table.count[[2, 5]] = 0
    return table


@pytest.mark.parametrize("t", [0, 2, 5, T + 1, -1])
def test_a_time_that_was_not_measured_is_refused(t: int) -> None:
    table = holed()
    message = rf"no entry for t={t} \(it holds 4 of 6 times\).*diffcov estimate-var"
    with pytest.raises(InputError, match=message):
        table.value(table.eps_hat_moments, t)
    with pytest.raises(InputError, match=message):
        table.check_times([1, t])


def test_what_was_measured() -> None:
    table = holed()
    assert table.times == [1, 3, 4, 6]
    assert table.T == T
    table.check_times([1, 3, 4, 6])


def test_times_with_more_noise_than_there_can_be() -> None:
    norms, errors = draws(5, images=3)
    norms[:, [3, 6]] += 0.6
    assert measured(norms, errors).above_one == [3, 6]


# --- as published: the norm alone


def test_published_norms_are_a_table() -> None:
    table = VarianceTable.of_norms([0.9, 0.8, 1.1])
    assert table.T == 3
    assert table.times == [1, 2, 3]
    assert table.above_one == [3]
    assert [table.value(table.eps_hat_moments, t) for t in table.times] == [0.9, 0.8, 1.1]
    table.check_times([1, 2, 3])
    assert table.eps_hat_moments.stderr().isnan().all(), "how sure they are was not published"
    assert table.summary() == {
        "times": "3 of 3",
        "times above one": 1,
        "knows": "E||eps_hat||^2 alone: analytic can use it, nothing else",
    }


def test_what_published_norms_do_not_know_is_refused_and_not_kept() -> None:
    table = VarianceTable.of_norms(torch.tensor([0.9, 0.8, 0.7]))
    assert not table.knows_error
    with pytest.raises(
        InputError, match=r"knows E\|\|eps_hat\|\|\^2 alone.*measure your own with: diffcov estimate-var"
    ):
        _ = table.error_moments
    assert list(table.tensors()) == ["count", "eps_hat_sq", "eps_hat_sq_sq"]
    again = VarianceTable.from_tensors(table.tensors())
    assert again.digest == table.digest
    assert not again.knows_error
    measured_whole = VarianceTable.empty(3)
    for one, other in ((table, measured_whole), (measured_whole, table)):
        with pytest.raises(InputError, match="tables that know different quantities cannot be merged"):
            one.merge(other)


# --- at times that were not measured

SCHEDULE = NoiseSchedule.linear(1000)


def measured_at(times: tuple[int, ...], error: Callable[[int], float]) -> VarianceTable:
    table = VarianceTable.empty(1000)
    for t in times:
        table.count[t], table.error_sq[t] = 3, 3 * error(t)
    return table


def test_the_error_at_all_times_is_the_mean_where_it_was_measured() -> None:
    world = GaussianWorld(SCHEDULE, mean=0.1, var=0.25)
    everywhere = world.table().error_at_all_times(SCHEDULE)
    assert everywhere.shape == (1001,)
    assert everywhere.dtype == torch.float64
    expected = torch.tensor([world.var_eps(t) for t in range(1, 1001)], dtype=torch.float64)
    torch.testing.assert_close(everywhere[1:], expected, rtol=ROUNDING, atol=0)
    assert float(everywhere[0]) == float(everywhere[1]), "no time, but a number"


def test_between_measured_times_it_is_straight_in_log_snr_and_logarithms() -> None:
    """A power of the signal-to-noise ratio is exact; before the first and after the last time the value is kept."""
    snr = SCHEDULE.alpha_bar / SCHEDULE.beta_bar
    table = measured_at((20, 333, 900), lambda t: 0.4 * float(snr[t]) ** 0.7)
    found = table.error_at_all_times(SCHEDULE)
    torch.testing.assert_close(found[20:901], 0.4 * snr[20:901] ** 0.7, rtol=1e-9, atol=0)
    assert found[:20].unique().tolist() == pytest.approx([float(found[20])], rel=1e-12)
    assert found[901:].unique().tolist() == pytest.approx([float(found[900])], rel=1e-12)


def test_one_measured_time_is_a_constant_and_no_error_is_still_above_zero() -> None:
    one = measured_at((400,), lambda t: 0.3).error_at_all_times(SCHEDULE)
    torch.testing.assert_close(one, torch.full((1001,), 0.3, dtype=torch.float64), rtol=ROUNDING, atol=0)
    nothing = measured_at((1, 1000), lambda t: 0.0).error_at_all_times(SCHEDULE)
    assert (nothing > 0).all()
    assert float(nothing.max()) < 1e-29
