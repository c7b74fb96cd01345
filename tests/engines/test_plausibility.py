"""The yardstick of an import's check."""

from __future__ import annotations

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.engines.plausibility import Yardstick


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 2.0), (5.0, 5.5)])
def test_a_yardstick_in_other_units_is_that_of_the_images_in_that_range(low: float, high: float) -> None:
    """Reading the range of a network otherwise changes the unit in which a Gaussian's error is measured too."""
    images = torch.randint(0, 17, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    usual, other = DataDescription(1, 4, 4, 17), DataDescription(1, 4, 4, 17, low, high)
    found = Yardstick.of(images, usual).in_units(other.level_width / usual.level_width)
    expected = Yardstick.of(images, other)
    assert found.constant == pytest.approx(expected.constant, rel=1e-12)
    assert found.gaussian(3.0) == pytest.approx(expected.gaussian(3.0), rel=1e-12)
