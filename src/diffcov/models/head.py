"""Variance heads: small networks from the trunk's features to one number a pixel.

The last layer starts at zero, so an unfitted head predicts 0 everywhere: NPR and SN then are exactly ``small``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from diffcov.models.blocks import GroupNorm, ResBlock, zero_init
from diffcov.prediction import Features

__all__ = ["HEADS", "ComplexHead", "HeadSpec", "SimpleHead", "parameter_count"]


class SimpleHead(nn.Module):
    """Norm, SiLU, 3x3 convolution (3,715 parameters on a trunk of width 128). Source: arXiv 2206.07309, "simple".

    Args:
        feature_channels: F of the trunk's activations.
        embedding_width: E of the trunk's embedding (not used here).
        image_channels: C of the images.
    """

    def __init__(self, feature_channels: int, embedding_width: int, image_channels: int) -> None:
        super().__init__()
        self.out = nn.Sequential(
            GroupNorm(feature_channels),
            nn.SiLU(),
            zero_init(nn.Conv2d(feature_channels, image_channels, 3, padding=1)),
        )

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W) float32, in units of eps^2."""
        out: Tensor = self.out(features.activations.float())
        return out


class ComplexHead(SimpleHead):
    """A residual block with the time embedding, then the simple head. Source: arXiv 2206.07309, "complex"."""

    def __init__(self, feature_channels: int, embedding_width: int, image_channels: int) -> None:
        super().__init__(feature_channels, embedding_width, image_channels)
        self.block = ResBlock(feature_channels, feature_channels, embedding_width, dropout=0.0, scale_shift=True)

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W) float32, in units of eps^2."""
        h = self.block(features.activations.float(), features.embedding.float())
        return super().forward(Features(h, features.embedding))


HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {"simple": SimpleHead, "complex": ComplexHead}
"""Head architectures by the name the command line gives them."""


@dataclass(frozen=True)
class HeadSpec:
    """What a head is, apart from its weights.

    Attributes:
        kind: name of its covariance ("npr", "sn", ...).
        architecture: name in :data:`HEADS`.
        feature_channels: F of the trunk's activations.
        embedding_width: E of the trunk's embedding.
        image_channels: C of the images.
    """

    kind: str
    architecture: str
    feature_channels: int
    embedding_width: int
    image_channels: int

    def build(self) -> nn.Module:
        """A head whose last layer is zero."""
        return HEADS[self.architecture](self.feature_channels, self.embedding_width, self.image_channels)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
