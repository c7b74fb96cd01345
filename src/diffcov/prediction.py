"""What one call of the network gives: the predicted noise, and the features a variance head reads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Features", "Prediction"]


class Features(NamedTuple):
    """What the trunk knows just before its output layer.

    Attributes:
        activations: (B, F, H, W) float32, before the output norm.
        embedding: (B, E) float32, the time (and class) embedding.
    """

    activations: Tensor
    embedding: Tensor


class Prediction(NamedTuple):
    """One trunk call at (x_t, t).

    Attributes:
        eps_hat: (B, C, H, W) float32, the predicted noise E[eps | x_t].
        features: what a head reads.
    """

    eps_hat: Tensor
    features: Features
