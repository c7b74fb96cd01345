"""A variance head of diffcov as a model of diffusers; it needs torch and diffusers.

head = DiffcovHead.from_pretrained("folder", subfolder="head")
"""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from diffcov.nets.features import Features
from diffcov.nets.variance_head import HeadSpec

__all__ = ["DiffcovHead"]


class DiffcovHead(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """(features of the network, t in 1..T) -> what the covariance is made of, (B, C, H, W).

    Args:
        kind: the name of the covariance.
        network, link, reach, feature_channels, embedding_width, shape, timesteps: as of ``HeadSpec``.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        kind: str,
        network: str,
        link: str,
        reach: float,
        feature_channels: int,
        embedding_width: int,
        shape: list[int],
        timesteps: int,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = feature_channels, embedding_width, (channels, height, width)
        self.head = HeadSpec(kind, network, link, reach, *sizes, timesteps).build()

    def forward(self, activations: Tensor, embedding: Tensor, t: Tensor) -> Tensor:
        """(B, F, H, W), (B, E) of any precision and (B,) int64 -> (B, C, H, W)."""
        out: Tensor = self.head(Features(activations, embedding), t)
        return out
