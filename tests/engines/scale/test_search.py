"""The search for a scale: exact where its model holds, few probes, honest at its limit and where nothing is gained."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from diffcov.engines.scale.search import STEP, FittedScale, search_scale


def searched(f: Callable[[float], float]) -> tuple[float, list[float]]:
    """(where, probes) in log scale."""
    probes: list[float] = []

    def mismatch(scale: float) -> float:
        probes.append(math.log(scale))
        return f(probes[-1])

    found = search_scale(mismatch)
    assert len(probes) == len(set(probes)) == len(found.tried) <= 11
    assert max(map(abs, probes)) <= 0.2 + 1e-12
    assert [scale for scale, _ in found.tried] == sorted(scale for scale, _ in found.tried)
    assert all(value == f(math.log(scale)) for scale, value in found.tried)
    return math.log(found.scale), probes


@pytest.mark.parametrize("where", [-0.18, -0.14, -0.08, -0.012, 0.0, 0.0024, 0.006, 0.03, 0.1, 0.17, 0.18])
@pytest.mark.parametrize("floor", [1e-4, 0.002])
def test_where_the_model_holds_the_lowest_place_is_exact(where: float, floor: float) -> None:
    """f^2 = (x - x_0)^2 + floor^2."""
    found, _ = searched(lambda x: math.hypot(x - where, floor))
    assert found == pytest.approx(where, abs=2e-6)


@pytest.mark.parametrize(("where", "most"), [(0.0, 7), (0.006, 6), (0.05, 9), (-0.05, 9), (0.18, 11)])
def test_few_probes(where: float, most: int) -> None:
    _, probes = searched(lambda x: math.hypot(x - where, 0.001))
    assert len(probes) <= most


@pytest.mark.parametrize("where", [-0.05, 0.02, 0.09])
def test_a_valley_of_another_shape_is_found_to_a_fraction_of_its_distance(where: float) -> None:
    found, _ = searched(lambda x: 3 * (x - where) if x > where else where - x)
    assert found == pytest.approx(where, abs=max(STEP, 0.15 * abs(where)))


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("beyond", [0.25, 1.0, 10.0])
def test_beyond_its_limit_the_search_finds_nothing_and_says_so(side: float, beyond: float) -> None:
    found = search_scale(lambda scale: abs(math.log(scale) - side * beyond))
    assert found.scale == 1
    assert found.at_limit
    assert not search_scale(lambda scale: math.hypot(math.log(scale) - side * 0.18, 0.01)).at_limit


def test_where_a_scale_changes_nothing_it_is_one() -> None:
    found = search_scale(lambda scale: 0.25)
    assert found.scale == 1
    assert not found.at_limit


@pytest.mark.parametrize(("gain", "moved"), [(0.14, False), (0.16, True)])
def test_a_gain_below_fifteen_percent_is_none(gain: float, moved: bool) -> None:
    found = search_scale(lambda scale: 0.5 * (1 - gain * (scale > 1)))
    assert (found.mismatch_at_one, found.lowest_mismatch) == (0.5, pytest.approx(0.5 * (1 - gain)))
    assert (found.scale > 1.001) == moved
    assert found.scale >= 1
    assert not found.at_limit


def test_what_is_reported_is_read_off_what_was_tried() -> None:
    found = FittedScale(1.02, ((1.0, 0.3), (1.01, 0.2), (1.03, 0.25)))
    assert (found.mismatch_at_one, found.lowest_mismatch, found.at_limit) == (0.3, 0.2, False)
