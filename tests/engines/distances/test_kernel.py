"""The kernel distance against hand-made sets and the definition's own double sums."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from diffcov.engines.distances import kernel
from diffcov.engines.distances.kernel import kernel_distance, mean_within
from diffcov.errors import UsageError


def draw(seed: int, count: int, d: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, d, generator=torch.Generator().manual_seed(seed)) + shift


def by_definition(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i, j in product(range(n), range(n)) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i, j in product(range(m), range(m)) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a, b in product(x, y)) / (n * m)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        # d = 1: k(0, .) = 1 and k(1, 2) = 27: 1 + 1 - 2 * 30 / 4. Pairs of a vector with itself would change it.
        ([[0.0], [1.0]], [[0.0], [2.0]], -13.0),
        # d = 2: (1, 1) . (2, 0) / 2 + 1 = 2, k = 8: 1 + 1 - 2 * 11 / 4. Without / d it would be 27.
        ([[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [2.0, 0.0]], -3.5),
        # Orthogonal everywhere: the 1 inside the kernel is all there is.
        ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], 0.0),
    ],
)
def test_known_answers(x: list[list[float]], y: list[list[float]], expected: float) -> None:
    assert kernel_distance(torch.tensor(x), torch.tensor(y)) == pytest.approx(expected, rel=1e-12)


def test_is_its_definition_for_sets_of_different_sizes() -> None:
    x, y = draw(0, 9, 5), draw(1, 13, 5, shift=0.4)
    assert kernel_distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-12)


def test_is_symmetric_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(2, 50, 6), draw(3, 41, 6, shift=0.2)
    whole = kernel_distance(x, y)
    assert kernel_distance(y, x) == pytest.approx(whole, rel=1e-12)
    assert kernel_distance(x, y, mean_within(y)) == whole
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_is_unbiased() -> None:
    """The mean over many pairs of sets of one distribution is 0: the diagonal would add about k(x, x) / n."""
    values = torch.tensor([kernel_distance(draw(2 * i, 10, 3), draw(2 * i + 1, 10, 3)) for i in range(400)])
    error = float(values.std() / len(values) ** 0.5)
    assert abs(float(values.mean())) < 4 * error
    assert 4 * error < 0.5, "the diagonal alone would add about 1"


def test_one_vector_is_refused() -> None:
    for x, y in ((1, 5), (5, 1)):
        with pytest.raises(UsageError, match=f"at least 2 vectors of each kind, found {x} and {y}"):
            kernel_distance(torch.zeros(x, 2), torch.zeros(y, 2))
