"""``dcw``: DDIM whose means are pushed away from x0_hat, Haar band by Haar band."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step
from diffcov.errors import UsageError
from diffcov.solver.first_order import FirstOrder

__all__ = ["DCW"]


@dataclass(frozen=True)
class DCW(FirstOrder):
    """m + low_band sigma P(m - x0_hat) + high_band (1 - sigma) (1 - P)(m - x0_hat), m the mean of DDIM.

    P keeps the low band of one orthonormal Haar level, the mean of each 2x2 block; its other three bands share
    high_band. Blocks begin at the top left, and where a side is odd those at its end hold the pixels that there are.
    sigma = sqrt(beta_tilde) is the standard deviation of the Markov chain's step, whatever eta is, so that the low band
    is corrected early and the others late. The paper calls sigma_t the variance of the reverse process and writes
    sigma_t z for its noise, which is how it is read here; it prints (1 - high_band) sigma for the weight of the high
    bands, against its own words and its program, whose (1 - sigma) high_band this is. Its piecewise and its constant
    weights are not offered.

    With noise (an eta, or a covariance) the mean alone is corrected. The paper corrects x_s with its noise, which also
    stretches that by one plus the weight of each band. Neither the paper nor its program says anything of a clip: here
    x0_hat is the look's, clipped where samples clip, in m and in the difference, and eps_hat is as predicted. The step
    to the data is x0_hat.

    Steps are pushed however short they are, more in all the more there are: both coefficients belong to a K, and
    nothing converges unless they are 0, which is DDIM.

    Args:
        low_band: coefficient of the low band, 0..1; 0.052 as published for A-DPM on CIFAR-10 in 25 steps.
        high_band: coefficient of the high bands, 0..1; 0.010 there.

    Raises:
        UsageError: another coefficient, or another eta than a :class:`FirstOrder` takes.
    """

    low_band: float = 0.052
    high_band: float = 0.010

    name = "dcw"
    summary = "DDIM pushed away from x0_hat, the low Haar band early and the high ones late"
    reference = "arXiv 2604.16044, equations 18 to 21, appendix G"
    through = "eps_hat"
    covers = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, found, own in (("low", self.low_band, DCW.low_band), ("high", self.high_band, DCW.high_band)):
            if not 0 <= found <= 1:
                raise UsageError(f"--{name}-band must be between 0 and 1, found {found:g}; published is {own:g}")

    def mean(self, step: Step, look: Look) -> Tensor:
        """The corrected mean, (B, C, H, W); x0_hat at s = 0."""
        plain = super().mean(step, look)
        sigma, away = math.sqrt(step.beta_tilde), plain - look.x0_hat
        low = _low_band(away)
        return plain + self.low_band * sigma * low + self.high_band * (1 - sigma) * (away - low)


def _low_band(x: Tensor) -> Tensor:
    """What is left of (B, C, H, W) without the high bands: each pixel of a 2x2 block is the block's mean."""
    means = F.avg_pool2d(x, 2, ceil_mode=True)
    return means.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : x.shape[-2], : x.shape[-1]]
