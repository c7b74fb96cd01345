"""What one call of the network gives: the predicted noise, and the features a variance head reads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from diffcov.nets.features import Features

__all__ = ["Prediction"]


class Prediction(NamedTuple):
    """One trunk call at (x_t, t).

    Attributes:
        eps_hat: (B, C, H, W) float32, the predicted noise E[eps | x_t].
        features: what a head reads.
    """

    eps_hat: Tensor
    features: Features
