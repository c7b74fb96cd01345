"""All distances at once: each is the one of its own file, on the vectors it is meant to see."""

from __future__ import annotations

import json
import operator

import pytest
import torch
from torch import Tensor

from diffcov.engines.distances.distances import Reference, distances
from diffcov.engines.distances.frechet import Gaussian, frechet_distance
from diffcov.engines.distances.kernel import kernel_distance
from diffcov.engines.distances.manifold import precision_recall
from diffcov.errors import UsageError


def draw(seed: int, count: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize(("n", "m"), [(60, 40), (40, 60)])
def test_each_distance_sees_its_vectors(n: int, m: int) -> None:
    samples, data = draw(0, n, 0.5), draw(1, 100)
    found = distances(samples, Reference(Gaussian.of(data), data[:m], 100))
    assert found.count == n
    assert found.fid == frechet_distance(Gaussian.of(samples), Gaussian.of(data)), "the Gaussian of all the data"
    assert found.kid == kernel_distance(samples, data[:m]), "all samples"
    assert (found.precision, found.recall) == precision_recall(samples[:40], data[:40]), "equally many"
    values = found.as_dict()
    assert json.loads(json.dumps(values)) == values
    assert list(values) == ["count", "fid", "fid_stderr", "kid", "precision", "recall"]


def test_worse_samples_are_worse_in_everything() -> None:
    data = draw(2, 200)
    reference = Reference(Gaussian.of(data), data, 200)
    good, bad = distances(draw(3, 200), reference), distances(draw(3, 200, 3.0), reference)
    assert good.fid < bad.fid
    for mine, theirs, better in (
        (good.kid, bad.kid, operator.lt),
        (good.precision, bad.precision, operator.gt),
        (good.recall, bad.recall, operator.gt),
    ):
        assert mine is not None
        assert theirs is not None
        assert better(mine, theirs)


def test_statistics_alone_give_the_frechet_distance_alone() -> None:
    samples, data = draw(4, 30), Gaussian.of(draw(5, 30))
    found = distances(samples, Reference(data, None, 0))
    assert found.fid == frechet_distance(Gaussian.of(samples), data)
    assert (found.kid, found.precision, found.recall) == (None, None, None)


def test_fewer_samples_than_features_are_refused() -> None:
    data = draw(6, 30)
    with pytest.raises(UsageError, match="in 5 dimensions needs at least 5 samples, found 4"):
        distances(draw(7, 4), Reference(Gaussian.of(data), data, 30))
