"""The mean model: all that the engines know of a network.

A network, the schedule it was trained under, the description of its data, and the one conversion from our times
(1..T) to the network's own. Foreign networks become a :class:`MeanModel` too and look the same from here on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError
from diffcov.nets.features import Features

__all__ = ["PRECISIONS", "MeanModel", "TimeConvention"]

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}
"""Precision of the network's inside by the command line's name; everything outside it is float32 or better."""


@dataclass(frozen=True)
class TimeConvention:
    """network time = (t - offset) * scale.

    Args:
        offset: 1 where the network counts from 0, as all published ones do; 0 where it counts as we do.
        scale: 1000 / T where the network's times always span 0..1000, else 1.
    """

    offset: float = 1.0
    scale: float = 1.0

    def __call__(self, t: Tensor) -> Tensor:
        """(B,) times in 1..T -> (B,) float32 network times."""
        return (t.to(torch.float32) - self.offset) * self.scale

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return asdict(self)


class MeanModel(nn.Module):
    """eps_hat(x_t, t) with everything needed to use it.

    Args:
        trunk: the network: (x (B, C, H, W), times (B,) in its convention) -> (eps_hat, features), with integer
            attributes ``feature_channels`` and ``embedding_width``, the sizes of its features.
        schedule: the noise schedule it was trained under.
        data: the images it was trained on.
        time: its time convention.
        autocast: dtype of the network's inside, or None for float32.
    """

    def __init__(
        self,
        trunk: nn.Module,
        schedule: NoiseSchedule,
        data: DataDescription,
        time: TimeConvention,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.schedule = schedule
        self.data = data
        self.time = time
        self.autocast = autocast

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def feature_channels(self) -> int:
        """F of the features' activations."""
        return int(self.trunk.feature_channels)  # type: ignore[arg-type]

    @property
    def embedding_width(self) -> int:
        """E of the features' embedding."""
        return int(self.trunk.embedding_width)  # type: ignore[arg-type]

    def freeze(self) -> MeanModel:
        """Eval mode for good and no gradients: what estimating, fitting and sampling need of a trunk."""
        self.eval().requires_grad_(False)
        return self

    def predict(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        """One call of the network.

        Args:
            x_t: (B, C, H, W) float32.
            t: (B,) times in 1..T.
            cond: class labels; this version's networks take none.

        Returns:
            eps_hat and features in float32, whatever the precision inside.

        Raises:
            UsageError: ``cond`` given to an unconditional network.
        """
        if cond is not None:
            raise UsageError("this network is unconditional: it takes no class labels")
        with torch.autocast(x_t.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            eps_hat, features = self.trunk(x_t, self.time(t))
        return Prediction(eps_hat.float(), Features(*(f.float() for f in features)))

    def predict_at(self, x_t: Tensor, t: int) -> Prediction:
        """:meth:`predict` with the same time for every image."""
        return self.predict(x_t, torch.full((x_t.shape[0],), t, device=x_t.device))
