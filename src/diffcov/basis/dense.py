"""A basis given by all of its vectors: the eigenvectors of a full covariance."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from diffcov.basis.base import Basis, to_keep

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class Dense(Basis):
    """U x for any orthonormal U; for images of up to about a thousand values.

    Args:
        matrix: (d, d) float64, orthonormal rows, over the flattened image.
        shape: (C, H, W) of the image, d values.
    """

    matrix: Tensor
    shape: tuple[int, int, int]
    _moved: dict[tuple[torch.device, torch.dtype], Tensor] = field(default_factory=dict, init=False, repr=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W), the coefficients in the order of the rows."""
        return (x.flatten(-3) @ self._like(x).T).reshape(x.shape)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        return (coefficients.flatten(-3) @ self._like(coefficients)).reshape(coefficients.shape)

    def spread(self, var_pixel: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        return (var_pixel.flatten(-3) @ self._like(var_pixel).T.square()).reshape(var_pixel.shape)

    def gather(self, var: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        return (var.flatten(-3) @ self._like(var).square()).reshape(var.shape)

    def power_in(self, other: Basis, var: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W): each of my vectors, seen in the other basis."""
        seen = other.forward(self._like(var).reshape(-1, *self.shape)).flatten(1)
        return (var.flatten(-3) @ seen.square()).reshape(var.shape)

    def largest_variance(self, var_pixel: float) -> Tensor:
        """(C, H, W) float64."""
        return var_pixel * self._largest

    @cached_property
    def _largest(self) -> Tensor:
        return self.matrix.abs().sum(1).square().reshape(self.shape)

    def _like(self, x: Tensor) -> Tensor:
        """The matrix where ``x`` is, in its dtype; the last one is kept."""
        where = x.device, x.dtype
        if where not in self._moved:
            self._moved.clear()
            self._moved[where] = to_keep(self.matrix, *where)
        return self._moved[where]
