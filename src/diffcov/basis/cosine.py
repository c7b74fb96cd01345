"""The 2-D cosine transform with a colour rotation: nearly the basis in which the error of a mean model is diagonal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

from diffcov.basis.separable import Separable

__all__ = ["colour_axes", "cosine", "dct_matrix"]


def cosine(channels: int, height: int, width: int, colour: Tensor | None = None) -> Separable:
    """The DCT-II of each channel times a rotation of the channels.

    Coefficient (0, u, v) of three channels is the grey cosine with u half periods down and v across.

    Args:
        channels: C.
        height: H.
        width: W.
        colour: (C, C) float64 with orthonormal rows; by default grey (1, 1, 1) and the opponent axes (1, 0, -1) and
            (1, -2, 1) of three channels, each made a unit vector, and no rotation of any other number.
    """
    return Separable(_default_axes(channels) if colour is None else colour, dct_matrix(height), dct_matrix(width))


def colour_axes(images: Tensor | Iterable[Tensor]) -> Tensor:
    """The rotation of the channels for these images.

    Grey and two opponent axes for three channels; the principal axes of the channels of all pixels for any other
    number, largest variance first.

    Args:
        images: (N, C, H, W) of any dtype, or any number of such tensors one after the other. Grey levels are summed
            exactly, so that it does not matter how they are cut.

    Returns:
        (C, C) float64, orthonormal rows.
    """
    count, total, products = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for part in [images] if isinstance(images, Tensor) else images:
        channels = part.shape[1]
        if channels in (1, 3):
            return _default_axes(channels)
        flat = part.transpose(0, 1).reshape(channels, -1).double().cpu()
        count, total, products = count + flat.shape[1], total + flat.sum(1), products + flat @ flat.T
    covariance = (products - total[:, None] * (total / count)) / (count - 1)
    _, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    axes: Tensor = vectors.T.flip(0)
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return axes * largest.sign()


@cache
def dct_matrix(n: int) -> Tensor:
    """(n, n) float64, row u: sqrt((2 - [u = 0]) / n) cos(pi u (2 j + 1) / (2 n))."""
    u, j = torch.arange(n, dtype=torch.int64)[:, None], torch.arange(n, dtype=torch.int64)
    # The angle's multiple of pi / 2n, reduced modulo its period 4n while it is a whole number: no digits are lost.
    rows = ((u * (2 * j + 1) % (4 * n)).double() * (math.pi / (2 * n))).cos() * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows


@cache
def _default_axes(channels: int) -> Tensor:
    if channels != 3:
        return torch.eye(channels, dtype=torch.float64)
    axes = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    return axes / axes.square().sum(1, keepdim=True).sqrt()
