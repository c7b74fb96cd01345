"""Curves through means over images: within what was measured, whatever single places say by chance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffcov.statistics.moments import Moments
from diffcov.statistics.noise_curve import LogCurve, error_curve, log_snr_of, norm_curve, smoothed

LOG_SNR = torch.linspace(9, -9, 40, dtype=torch.float64)
ALPHA_BAR = LOG_SNR.sigmoid()


def moments_of(values: Tensor) -> Moments:
    """(images, M, n) -> sums."""
    count = torch.full((values.shape[1], 1), float(len(values)), dtype=torch.float64)
    return Moments(count, values.sum(0), values.square().sum(0))


def heavy(seed: int, truth: Tensor, images: int = 64) -> Tensor:
    """Values (images, M, 300) around a truth (M,), most of it from a few images: e^(1.5 N - 1.125), a CV of 2.9."""
    draw = torch.randn(images, len(truth), 300, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return truth[:, None] * (1.5 * draw - 1.125).exp()


def test_log_snr() -> None:
    torch.testing.assert_close(log_snr_of(ALPHA_BAR), LOG_SNR, rtol=1e-10, atol=1e-10)


def test_a_mean_that_is_small_by_chance_moves_no_curve_out_of_what_was_measured() -> None:
    """In one of 300 columns a control took nearly all of a mean and left its scatter, and one place is too large."""
    truth = LOG_SNR.sigmoid()
    values = heavy(0, truth)
    values[:, 14, 0] *= 8
    moments = moments_of(values)
    moments.total[12, 0] *= 1e-3
    found = smoothed(ALPHA_BAR, moments).mean()
    off = (found / truth[:, None]).log().abs()
    assert float(off.max()) < 3
    assert float(off[20:].median()) < 0.25


def test_curves_know_more_than_their_places_even_of_heavy_tails() -> None:
    truth = LOG_SNR.sigmoid()
    moments = moments_of(heavy(1, truth))
    curve, raw = ((values / truth[:, None]).log().square().mean() for values in
                  (smoothed(ALPHA_BAR, moments).mean(), moments.mean()))  # fmt: skip
    assert float(curve) < 0.5 * float(raw)


def test_a_place_without_a_signal_is_left_as_it_was_measured() -> None:
    alpha_bar = ALPHA_BAR.clone()
    alpha_bar[-1] = 0
    moments = moments_of(heavy(2, torch.ones(40, dtype=torch.float64)))
    found = smoothed(alpha_bar, moments)
    torch.testing.assert_close(found.mean()[-1], moments.mean()[-1])
    torch.testing.assert_close(found.stderr()[-1], moments.stderr()[-1])


def test_each_column_states_an_error_of_its_own_size() -> None:
    """One column scatters ten times as much as the other."""
    draw = torch.randn(200, 40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    moments = moments_of(1 + torch.tensor([0.02, 0.2], dtype=torch.float64) * draw)
    scale = LogCurve.through(LOG_SNR, moments).scale
    assert float(scale[1] / scale[0]) == pytest.approx(10, rel=0.1)


def test_a_column_s_stated_error_is_its_own_scatter() -> None:
    """A curve of a constant knows about a smoothing window of places; ten times the scatter is ten times the error."""
    draw = torch.randn(200, 40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    curve = LogCurve.through(LOG_SNR, moments_of(1 + torch.tensor([0.02, 0.2], dtype=torch.float64) * draw))
    stated = curve.relative_stderr(LOG_SNR).mean(0)
    assert float(stated[1] / stated[0]) == pytest.approx(10, rel=0.1)
    at_one_place = torch.tensor([0.02, 0.2], dtype=torch.float64) / 200**0.5
    assert ((stated > at_one_place / 40**0.5) & (stated < at_one_place)).all()


@pytest.mark.parametrize(("variance", "back"), [(0.04, 0.02), (9.0, 0.5)])
def test_a_log_gets_back_half_its_relative_variance_and_half_a_unit_at_most(variance: float, back: float) -> None:
    """E log(mean) is log E - v / 2 to the first order; where v is 9 the first order says nothing any more."""
    ones, count = torch.ones(40, 1, dtype=torch.float64), torch.full((40, 1), 50.0, dtype=torch.float64)
    curve = LogCurve.through(LOG_SNR, Moments.stating(ones, variance**0.5 * ones, count))
    torch.testing.assert_close(curve.mean(LOG_SNR).log(), back * ones, rtol=1e-6, atol=1e-9)


def test_one_measured_time_speaks_for_itself() -> None:
    zeros = torch.zeros(5, dtype=torch.float64)
    count, total = zeros.clone(), zeros.clone()
    count[3], total[3] = 4, 2
    measured = Moments(count, total, total.square() / 3)
    assert error_curve(ALPHA_BAR[:5], measured) is measured


def test_two_measured_times_speak_for_those_between() -> None:
    """From the first to the last, and for no other."""
    count, total, total_sq = torch.zeros(3, 7, dtype=torch.float64)
    count[[1, 5]] = 100
    total[[1, 5]] = torch.tensor([20.0, 80.0], dtype=torch.float64)
    total_sq[[1, 5]] = torch.tensor([4.4, 64.8], dtype=torch.float64)
    found = error_curve(ALPHA_BAR[10:17], Moments(count, total, total_sq))
    assert (found.count > 0).tolist() == [False, True, True, True, True, True, False]
    norm = norm_curve(ALPHA_BAR[10:17], Moments(count, count - total, count - 2 * total + total_sq), found)
    assert (norm.count > 0).tolist() == [False, True, True, True, True, True, False]
    torch.testing.assert_close((1 - norm.mean())[1:6], found.mean()[1:6], rtol=0.05, atol=0)
    between = found.mean()[1:6]
    assert (between.diff() > 0).all()
    torch.testing.assert_close(between[[0, -1]], torch.tensor([0.2, 0.8], dtype=torch.float64), rtol=0.05, atol=0)
    torch.testing.assert_close(between.log().diff().diff(), torch.zeros(3, dtype=torch.float64), rtol=0, atol=0.02)
