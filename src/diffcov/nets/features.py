"""What a network knows just before its output layer: what a variance head reads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Features"]


class Features(NamedTuple):
    """Features of one call.

    Attributes:
        activations: (B, F, H, W), before the output norm.
        embedding: (B, E), the time (and class) embedding.
    """

    activations: Tensor
    embedding: Tensor
