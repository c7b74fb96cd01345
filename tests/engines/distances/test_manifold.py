"""Precision and recall on sets whose answer can be drawn, and against loops over the definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.engines.distances import manifold
from diffcov.engines.distances.manifold import precision_recall
from diffcov.errors import UsageError


def line(*places: float) -> Tensor:
    return torch.tensor(places)[:, None]


def draw(seed: int, count: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) + shift


def by_definition(samples: Tensor, data: Tensor, k: int) -> tuple[float, float]:
    def share(points: Tensor, centres: Tensor) -> float:
        inside = 0
        for point in points.tolist():
            for i, centre in enumerate(centres.tolist()):
                others = [other for j, other in enumerate(centres.tolist()) if j != i]
                radius = sorted(math.dist(centre, other) for other in others)[k - 1]
                if math.dist(point, centre) <= radius:
                    inside += 1
                    break
        return inside / len(points)

    return share(samples, data), share(data, samples)


def test_a_line() -> None:
    """Data at 0, 1, 2, 4 with k = 1: balls of radius 1, 1, 1, 2 cover [-1, 6]; of the samples 7 alone is outside.

    Samples at 0.5, 0.6, -1, 7: radii 0.1, 0.1, 1.5, 6.4 cover [-2.5, 0.7] and [0.6, 13.4]: all of the data.
    """
    data, samples = line(0, 1, 2, 4), line(0.5, 0.6, -1, 7)
    assert precision_recall(samples, data, k=1) == (0.75, 1.0)


def test_which_is_which() -> None:
    """Samples in one of two clusters: all of them look like data, half of the data is missed."""
    data = torch.cat([line(0, 1, 2, 3), line(100, 101, 102, 103)])
    samples = line(0.5, 1.5, 2.5, 1, 2, 0, 3, 0.25)
    assert precision_recall(samples, data) == (1.0, 0.5)
    assert precision_recall(data, samples) == (0.5, 1.0)


def test_k_counts_neighbours_without_the_vector_itself() -> None:
    data = line(0, 1, 10, 11)
    samples = line(5.5, 5.6, 5.7, 5.8)
    assert precision_recall(samples, data, k=1)[0] == 0.0, "radius 1 around each"
    assert precision_recall(samples, data, k=2)[0] == 1.0, "radius 10 around 0"


def test_the_edge_counts_as_inside() -> None:
    assert precision_recall(line(-1, -1, -1, -1.001), line(0, 1, 5, 6), k=1)[0] == 0.75


@pytest.mark.parametrize("offset", [0.0, 1e4 / 3])
def test_equal_vectors_are_found_however_far_from_zero(offset: float) -> None:
    """A generator of one image that is in the data: its balls have radius 0 and hold exactly that image's copies."""
    # So many dimensions that |a|^2 + |b|^2 - 2 a.b of equal vectors is not 0 but a rounding error.
    data = torch.randn(40, 300, generator=torch.Generator().manual_seed(0)) + offset
    data[:5] = data[7]
    samples = data[7].repeat(40, 1)
    assert precision_recall(samples, data) == (1.0, 6 / 40)


@pytest.mark.parametrize(("seed", "shift", "k"), [(1, 0.0, 3), (2, 1.0, 3), (3, 2.0, 1), (4, 1.5, 5)])
def test_is_its_definition(seed: int, shift: float, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, data = draw(seed, 37, shift), draw(seed + 10, 29)
    expected = by_definition(samples, data, k)
    assert precision_recall(samples, data, k) == expected
    monkeypatch.setattr(manifold, "BLOCK_PAIRS", 100)
    assert precision_recall(samples, data, k) == expected, "in blocks"


def test_too_few_for_neighbours() -> None:
    for n, m in ((3, 9), (9, 3)):
        with pytest.raises(UsageError, match=f"at least 4 vectors of each kind, found {n} samples and {m} of"):
            precision_recall(torch.zeros(n, 2), torch.zeros(m, 2))
