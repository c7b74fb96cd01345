"""Times: the one conversion from ours, 1..T, to those that a network was trained with."""

from __future__ import annotations

import pytest
import torch

from diffcov.denoiser.time import TimeConvention


def test_published_networks_count_from_zero() -> None:
    assert TimeConvention()(torch.tensor([1, 1000])).tolist() == [0.0, 999.0]
    assert TimeConvention(1.0, 20.0).as_dict() == {"offset": 1.0, "scale": 20.0}
    assert TimeConvention(**TimeConvention(0.5, 3.0).as_dict()) == TimeConvention(0.5, 3.0)


def test_some_count_as_we_do() -> None:
    assert TimeConvention(offset=0.0)(torch.tensor([1, 1000])).tolist() == [1.0, 1000.0]


@pytest.mark.parametrize("T", [1, 50, 1000, 4000])
def test_ours_count_from_zero_and_span_a_thousand_for_any_number_of_steps(T: int) -> None:
    """Time t is at (t - 1) 1000 / T: equal shares of the way are equal times."""
    convention = TimeConvention.spanning_thousand(T)
    times = torch.arange(1, T + 1)
    found = convention(times)
    assert float(found[0]) == 0.0
    torch.testing.assert_close(found.double(), (times.double() - 1) * 1000 / T, rtol=1e-6, atol=0)
    assert float(found[-1]) < 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_times_are_converted_in_the_dtype_of_the_network(dtype: torch.dtype) -> None:
    """Which in float64 is exact where float32 rounds: (7 - 1) 1000 / 7000 = 6 / 7."""
    found = TimeConvention.spanning_thousand(7000)(torch.tensor([7]), dtype)
    assert found.dtype == dtype
    assert (float(found) == 6 * (1000 / 7000)) == (dtype == torch.float64)
    assert float(found) == pytest.approx(6 / 7, rel=1e-7)
