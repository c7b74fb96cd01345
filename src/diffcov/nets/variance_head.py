"""Variance heads: small networks from the trunk's features to what a covariance regresses.

A head is a start, known for each time before any fit, and a network that moves away from it. The network's last layer
is zero at first, so an unfitted head says exactly its start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffcov.nets.band_net import BandNet
from diffcov.nets.blocks import GroupNorm, ResBlock, single_or_double, zero_init
from diffcov.nets.features import Features

__all__ = ["LINKS", "NETWORKS", "ComplexNet", "Head", "HeadSpec", "SimpleNet", "StemNet", "parameter_count"]


class SimpleNet(nn.Module):
    """Norm, SiLU, 3x3 convolution (3,715 parameters on a trunk of width 128). Source: arXiv 2206.07309, "simple".

    Args:
        feature_channels: F of the trunk's activations.
        embedding_width: E of the trunk's embedding (not used here).
        shape: (C, H, W) of the images.
    """

    def __init__(self, feature_channels: int, embedding_width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.out = nn.Sequential(
            GroupNorm(feature_channels),
            nn.SiLU(),
            zero_init(nn.Conv2d(feature_channels, shape[0], 3, padding=1)),
        )

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W)."""
        out: Tensor = self.out(single_or_double(features.activations))
        return out


class ComplexNet(SimpleNet):
    """A residual block with the time embedding, then the simple network. Source: arXiv 2206.07309, "complex"."""

    def __init__(self, feature_channels: int, embedding_width: int, shape: tuple[int, int, int]) -> None:
        super().__init__(feature_channels, embedding_width, shape)
        self.block = ResBlock(feature_channels, feature_channels, embedding_width, dropout=0.0, scale_shift=True)

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W)."""
        h = self.block(single_or_double(features.activations), single_or_double(features.embedding))
        return super().forward(Features(h, features.embedding))


class StemNet(nn.Module):
    """A convolution to 32 channels, then the complex network: for features that no trunk has made ready.

    Norms would take away what few raw channels say; behind a convolution they do not.
    """

    WIDTH = 32

    def __init__(self, feature_channels: int, embedding_width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(feature_channels, self.WIDTH, 3, padding=1)
        self.rest = ComplexNet(self.WIDTH, embedding_width, shape)

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W)."""
        h = self.stem(single_or_double(features.activations))
        out: Tensor = self.rest(Features(h, features.embedding))
        return out


NETWORKS: dict[str, Callable[[int, int, tuple[int, int, int]], nn.Module]] = {
    "simple": SimpleNet,
    "complex": ComplexNet,
    "stem": StemNet,
    "bands": BandNet,
}
"""Networks by the name the command line gives them."""


def _identity(start: Tensor, out: Tensor, reach: float) -> Tensor:
    return start + out


def _log(start: Tensor, out: Tensor, reach: float) -> Tensor:
    return start * (reach * (out / reach).tanh()).exp()


LINKS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"identity": _identity, "log": _log}
"""How the network moves the start: by addition (published), or by a factor within exp(-reach)..exp(reach), which keeps
what is positive positive."""


class Head(nn.Module):
    """link(start[t], network(features)).

    Args:
        network: features -> (B, C, H, W), zero at first.
        link: a function of :data:`LINKS`.
        reach: its reach.
        start: (T+1,), what the head says before it is fitted; index 0 is not used.
    """

    def __init__(
        self, network: nn.Module, link: Callable[[Tensor, Tensor, float], Tensor], reach: float, start: Tensor
    ) -> None:
        super().__init__()
        self.network = network
        self.link = link
        self.reach = reach
        self.register_buffer("start", start.to(torch.float32))

    def forward(self, features: Features, t: Tensor) -> Tensor:
        """(features of any precision, (B,) int64 times) -> (B, C, H, W), in the unit of the start, in its dtype."""
        start: Tensor = self.start[t][:, None, None, None]  # type: ignore[index]
        return self.link(start, self.network(Features(*(part.to(start.dtype) for part in features))), self.reach)


WIDEST = 1 << 20
"""Features, pixels a side or times that a head may have."""
LARGEST = 1 << 24
"""Values that an image of a head may have."""


@dataclass(frozen=True)
class HeadSpec:
    """What a head is, apart from its weights.

    Attributes:
        kind: name of its covariance ("npr", "sn", ...).
        network: name in :data:`NETWORKS`.
        link: name in :data:`LINKS`.
        reach: of the link; the identity has none.
        feature_channels: F of the trunk's activations.
        embedding_width: E of the trunk's embedding.
        shape: (C, H, W) of the images.
        timesteps: T.

    Raises:
        ValueError: a width that no network has; a header of a stranger is believed before its weights are seen.
    """

    kind: str
    network: str
    link: str
    reach: float
    feature_channels: int
    embedding_width: int
    shape: tuple[int, int, int]
    timesteps: int

    def __post_init__(self) -> None:
        for width in (self.feature_channels, self.embedding_width, *self.shape, self.timesteps):
            if not (isinstance(width, int) and 1 <= width <= WIDEST):
                raise ValueError(f"a head has no width of {width}")
        if math.prod(self.shape) > LARGEST:
            raise ValueError(f"a head has no images of {self.shape}")

    def build(self, start: Tensor | None = None) -> Head:
        """A head that says ``start``, (T+1,); without one, weights are about to be loaded."""
        network = NETWORKS[self.network](self.feature_channels, self.embedding_width, self.shape)
        empty = torch.zeros(self.timesteps + 1)
        return Head(network, LINKS[self.link], self.reach, empty if start is None else start)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
