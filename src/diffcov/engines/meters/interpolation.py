"""The transition terms of one look as one smooth function of rho, known from few values of it.

At a fixed t, KL(rho) = sum over pixels of (log(1 + rho var) + rho (error^2 - var) / (1 + rho var)) / 2 is analytic in
x = log rho: its singularities, rho = -1/var, lie pi above and below the real line. Chebyshev interpolation over a
range of half-width a therefore converges like exp(-n asinh(pi / a)): about a hundred values give all T arrivals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["chebyshev_nodes", "interpolation_matrix"]

PRECISION = 1e-12
"""Wanted of the interpolation, relative to the largest value."""


def chebyshev_nodes(rho: Tensor) -> Tensor:
    """Where to know the function, so as to know it at every ``rho``.

    Args:
        rho: (S,) float64 > 0.

    Returns:
        (n,) float64, Chebyshev points of the second kind in log rho; ``rho`` itself where that is no longer.
    """
    low, high = float(rho.min().log()), float(rho.max().log())
    half = (high - low) / 2
    if half == 0:
        return rho
    n = math.ceil(-math.log(PRECISION) / math.asinh(math.pi / half)) + 2
    if n >= rho.numel():
        return rho
    angles = torch.arange(n, dtype=torch.float64) * (math.pi / (n - 1))
    return ((low + high) / 2 - half * angles.cos()).exp()


def interpolation_matrix(nodes: Tensor, rho: Tensor) -> Tensor:
    """(S, n) float64: values at the nodes -> values at ``rho``, by the barycentric formula in log rho.

    What is interpolated is KL (1 + rho) / rho, which stays within a few powers of ten where KL itself falls with rho;
    so small terms are as exact as large ones.

    Args:
        nodes: (n,), of :func:`chebyshev_nodes`.
        rho: (S,), the same that they were made for.
    """
    if nodes is rho:
        return torch.eye(rho.numel(), dtype=torch.float64)
    weights = torch.ones_like(nodes)
    weights[1::2] = -1
    weights[[0, -1]] *= 0.5
    distance = rho.log()[:, None] - nodes.log()[None, :]
    exact = distance == 0
    terms = weights / distance.masked_fill(exact, 1)
    terms = torch.where(exact.any(1, keepdim=True), exact.double(), terms)
    basis = terms / terms.sum(1, keepdim=True)
    return (rho / (1 + rho))[:, None] * basis * ((1 + nodes) / nodes)
