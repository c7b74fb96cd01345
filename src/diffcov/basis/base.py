"""What every basis can do, and the simplest one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["PIXEL", "Basis", "Pixel", "to_keep"]


class Basis(ABC):
    """An orthonormal basis of images; coefficients have the shape of the image, (..., C, H, W)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """U x: image to coefficients, in the dtype of ``x``."""

    @abstractmethod
    def inverse(self, coefficients: Tensor) -> Tensor:
        """U^T c: coefficients to image, in the dtype of ``coefficients``."""

    @abstractmethod
    def spread(self, var_pixel: Tensor) -> Tensor:
        """diag(U diag(var_pixel) U^T): the variances of the coefficients of pixels that vary independently."""

    @abstractmethod
    def gather(self, var: Tensor) -> Tensor:
        """diag(U^T diag(var) U): the variances of the pixels of coefficients that vary independently."""

    @abstractmethod
    def power_in(self, other: Basis, var: Tensor) -> Tensor:
        """diag(V U^T diag(var) U V^T): the variances, in the basis V = ``other``, of what is diagonal here."""

    @abstractmethod
    def largest_variance(self, var_pixel: float) -> float | Tensor:
        """The largest variance a coefficient can have when no pixel's exceeds ``var_pixel``.

        A coefficient is sum_j u_j x_j, and its variance is largest when all pixels move together with the signs of u:
        ``var_pixel * (sum_j |u_j|)^2``. One number if it is the same for all coefficients, else (C, H, W) float64.
        """


class Pixel(Basis):
    """The pixels themselves, U = I."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` itself."""
        return x

    def inverse(self, coefficients: Tensor) -> Tensor:
        """``coefficients`` themselves."""
        return coefficients

    def spread(self, var_pixel: Tensor) -> Tensor:
        """``var_pixel``."""
        return var_pixel

    def gather(self, var: Tensor) -> Tensor:
        """``var``."""
        return var

    def power_in(self, other: Basis, var: Tensor) -> Tensor:
        """What pixels that vary independently have in ``other``."""
        return other.spread(var)

    def largest_variance(self, var_pixel: float) -> float:
        """``var_pixel``."""
        return var_pixel


PIXEL = Pixel()


def to_keep(factor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A factor of a basis where it is needed, fit to be kept: one made while sampling would be refused by autograd."""
    with torch.inference_mode(False):
        moved = factor.to(device, dtype)
        return moved.clone() if moved.is_inference() else moved
