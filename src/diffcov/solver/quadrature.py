"""Gauss and Legendre's rule, for integrals over a step that have no short closed form."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["gauss_legendre"]

NODES = 48
"""Enough for 1e-12 where the integrand is smooth over a few e-foldings."""


def gauss_legendre(low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes in (low, high) and their weights, (48,) float64 each: an integral is the sum of weight times value."""
    nodes, weights = _on_unit()
    half = (high - low) / 2
    return low + half * (nodes + 1), half * weights


@cache
def _on_unit() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights
