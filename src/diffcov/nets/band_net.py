"""A small network from pooled features to one amplitude a frequency band and colour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffcov.basis.bands import band_weights
from diffcov.nets.blocks import single_or_double, zero_init
from diffcov.nets.features import Features

__all__ = ["BandNet"]

BANDS = 8
HIDDEN = 96


class BandNet(nn.Module):
    """Mean and log mean square of each feature channel, and the time embedding; two hidden layers; 8 bands a group.

    The first colour axis (grey) has amplitudes of its own, the others share theirs. Bands overlap as triangles over
    log frequency, so that the map is continuous.

    Args:
        feature_channels: F of the trunk's activations.
        embedding_width: E of the trunk's embedding.
        shape: (C, H, W) of the images.
    """

    def __init__(self, feature_channels: int, embedding_width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        groups = min(channels, 2)
        self.norm = nn.LayerNorm(2 * feature_channels)
        self.layers = nn.Sequential(
            nn.Linear(2 * feature_channels + embedding_width, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            zero_init(nn.Linear(HIDDEN, groups * BANDS)),
        )
        with torch.device("cpu"):  # numbers also where a skeleton without numbers is built
            group_of = torch.arange(channels).clamp(max=groups - 1)
            weights = band_weights(height, width, BANDS).float()
        # Not saved: both follow from the shape alone.
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W), over cosine coefficients."""
        activations = single_or_double(features.activations)
        power = activations.square().mean((2, 3)).add(1e-6).log()
        pooled = self.norm(torch.cat([activations.mean((2, 3)), power], dim=1))
        amplitudes = self.layers(torch.cat([pooled, features.embedding.to(pooled.dtype)], dim=1))
        by_group = amplitudes.reshape(len(amplitudes), -1, BANDS)[:, self.group_of]
        out: Tensor = torch.einsum("bck,khw->bchw", by_group, self.weights.to(by_group.dtype))
        return out
