"""When another reading is taken in the place of what is assumed."""

from __future__ import annotations

import pytest
import torch

from diffcov.engines.plausibility import Plausibility
from diffcov.study.reading_bench import _clearly_better


def errors(factor: float, scatter: float = 0.0) -> Plausibility:
    """Sixty-four images whose errors are ``factor`` times those of a Gaussian, give or take."""
    each = factor + scatter * torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Plausibility((1, 2), (1.0, 0.0), (factor, factor), (1.0, 1.0), 2.0, each)


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (errors(0.5), True),
        (errors(0.98), True),
        (errors(0.995), False),  # sure, and of no account: the files may have said it
        (errors(0.5, scatter=5.0), False),  # much, and not sure
        (errors(1.1), False),
    ],
)
def test_a_reading_has_to_be_surely_and_noticeably_better(other: Plausibility, taken: bool) -> None:
    assert _clearly_better(other, errors(1.0)) == taken


def test_it_says_at_how_many_levels_a_gaussian_knows_more() -> None:
    found = Plausibility((1, 2, 3), (2.0, 1.0, 0.0), (0.5, 1.2, 1.1), (1.0, 1.0, 1.0), 2.0, torch.ones(4))
    assert (found.above, found.worst) == (2, 1.2)
