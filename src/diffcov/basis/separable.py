"""Bases that are one orthonormal matrix for the channels, one for the rows and one for the columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffcov.basis.base import Basis, Pixel, to_keep
from diffcov.basis.dense import Dense

__all__ = ["Separable"]

Factors = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Separable(Basis):
    """Coefficient (a, u, v) of x is sum over (c, i, j) of colour[a, c] rows[u, i] columns[v, j] x[c, i, j].

    Three products of small matrices: at the sizes images have here that is faster than a fast transform (figures in
    benchmarks/README.md).

    Args:
        colour: (C, C) float64, orthonormal rows.
        rows: (H, H) float64, orthonormal rows, for the image's vertical axis.
        columns: (W, W) float64, orthonormal rows, for its horizontal axis.
    """

    colour: Tensor
    rows: Tensor
    columns: Tensor
    _moved: dict[tuple[torch.device, torch.dtype], Factors] = field(default_factory=dict, init=False, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Separable) and all(
            torch.equal(mine, theirs) for mine, theirs in zip(self._factors, other._factors, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(factor.shape[0] for factor in self._factors))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        return _apply(x, self._like(x))

    def inverse(self, coefficients: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        colour, rows, columns = self._like(coefficients)
        return _apply(coefficients, (colour.T, rows.T, columns.T))

    def spread(self, var_pixel: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W): sum over pixels of (basis vector)^2 times their variance."""
        colour, rows, columns = self._like(var_pixel)
        return _apply(var_pixel, (colour.square(), rows.square(), columns.square()))

    def gather(self, var: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W): sum over coefficients of (basis vector)^2 times their variance."""
        colour, rows, columns = self._like(var)
        return _apply(var, (colour.T.square(), rows.T.square(), columns.T.square()))

    def power_in(self, other: Basis, var: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        if isinstance(other, Separable):
            mine, theirs = self._like(var), other._like(var)
            colour, rows, columns = ((b @ a.T).square() for a, b in zip(mine, theirs, strict=True))
            return _apply(var, (colour, rows, columns))
        if isinstance(other, Dense):
            seen = self.forward(other.matrix.to(var.device, var.dtype).reshape(-1, *other.shape)).flatten(1)
            return (var.flatten(-3) @ seen.square().T).reshape(var.shape)
        if isinstance(other, Pixel):
            return self.gather(var)
        raise TypeError(f"what is diagonal in a separable basis cannot be seen in {other}: say how in separable.py")

    def largest_variance(self, var_pixel: float) -> Tensor:
        """(C, H, W) float64: sums of absolute values multiply, as the factors do."""
        colour, rows, columns = (factor.abs().sum(1) for factor in self._factors)
        return var_pixel * (colour[:, None, None] * rows[:, None] * columns).square()

    @property
    def _factors(self) -> Factors:
        return self.colour, self.rows, self.columns

    def _like(self, x: Tensor) -> Factors:
        """The factors where ``x`` is, in its dtype."""
        where = x.device, x.dtype
        if where not in self._moved:
            colour, rows, columns = (to_keep(factor, *where) for factor in self._factors)
            self._moved[where] = colour, rows, columns
        return self._moved[where]


def _apply(x: Tensor, factors: Factors) -> Tensor:
    colour, rows, columns = factors
    turned = rows @ x @ columns.T
    if colour.shape[0] == 1:
        return turned * colour[0, 0]
    return torch.einsum("cd,...dhw->...chw", colour, turned)
