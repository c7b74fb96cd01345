"""A start below T: x_t of Gaussian images, in the place of noise and of the looks that would have led there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffcov.basis.base import Basis
from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["GaussianStart"]


@dataclass(frozen=True, eq=False)
class GaussianStart:
    """x_t ~ N(sqrt(abar_t) mean, U^T (abar_t var + bbar_t) U): q(x_t) of images that are Gaussian in the basis.

    It is U^T sqrt(abar_t var + bbar_t) U of the noise around that mean: the noise itself where nothing is left of the
    images, and below that where their exact probability flow takes it. Real images are nearly Gaussian as long as the
    noise hides what they show. The looks above t are saved.

    Args:
        basis: U.
        mean: (C, H, W) float64, the mean image, in units of x_0; of all classes together, where there are any.
        var: (C, H, W) float64 >= 0, the variance of each coefficient.
        made_of: digests of what it was made of, by the names that these have as files in a run.

    Source: arXiv 2412.09726 ("Gaussian teleportation"), here in cosines.
    """

    basis: Basis
    mean: Tensor
    var: Tensor
    made_of: Mapping[str, str]

    def draw(self, schedule: NoiseSchedule, t: int, noise: Tensor) -> Tensor:
        """x_t from white noise (B, C, H, W), with its dtype and device."""
        signal, beta_bar = float(schedule.alpha_bar[t]), float(schedule.beta_bar[t])
        mean = (math.sqrt(signal) * self.mean).to(noise.device, noise.dtype)
        std = (signal * self.var + beta_bar).sqrt().to(noise.device, noise.dtype)
        return mean + self.basis.inverse(std * self.basis.forward(noise))

    def as_dict(self) -> dict[str, Any]:
        """What decides its draws, as plain values."""
        return {"name": "gaussian", "made_of": dict(self.made_of)}
