"""EDM's preconditionings: what a network is given of (x_t, sigma), and how our prediction follows from what it says.

EDM lets a network F see c_in x and c_noise at x = x_0 + sigma n, and says D = c_skip x + c_out F. With
sigma^2 = beta_bar / alpha_bar that is x = x_t / sqrt(alpha_bar), and every published choice of the four numbers makes F
a prediction that is known here, so that neither x_0 nor eps is ever divided by a small number: the noise (VP, VE,
iDDPM), or what lies between noise and image (EDM), from which v follows with coefficients that are never large.
Source: arXiv 2206.00364, table 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffcov.diffusion.families import MAX_BETA
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError

__all__ = ["PRECONDITIONINGS", "Preconditioning"]

MOST = 100_000
"""Noise levels that a chain may have; the published ones have 1000 and 4000."""


class Preconditioning(ABC):
    """What a network is given of (x_t, sigma), and how our prediction follows from what it says.

    Levels sigma_1..sigma_T are (T,) float64, and so is whatever is made of them.
    """

    predicts: ClassVar[str] = "eps"
    """Name of our parametrisation."""

    @property
    def steps(self) -> int:
        """T of its own levels, unless another is asked for."""
        return 1000

    @abstractmethod
    def schedule(self, T: int) -> NoiseSchedule:
        """T noise levels of its own.

        Raises:
            InputError: a number of them that it does not have.
        """

    @abstractmethod
    def noise(self, sigma: Tensor) -> Tensor:
        """c_noise: what the network is told of each level."""

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(a, b, c) of each level: the network sees a x_t and says F, the prediction is b x_t + c F; here (1, 0, 1)."""
        one = torch.ones_like(sigma)
        return one, torch.zeros_like(sigma), one


@dataclass(frozen=True)
class VP(Preconditioning):
    """Variance preserving: the network sees x_t and M - 1 times the time of the VP-SDE, and says the noise.

    Attributes:
        beta_d: how much beta grows over the times 0..1.
        beta_min: where it begins.
        M: steps of the chain that it stands for.

    Raises:
        InputError: a beta that does not grow.
    """

    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000

    def __post_init__(self) -> None:
        if not (self.beta_d > 0 and self.beta_min >= 0):
            raise InputError(
                f"a VP network's beta grows from beta_min by beta_d > 0, found {self.beta_min:g} and {self.beta_d:g}"
            )

    def schedule(self, T: int) -> NoiseSchedule:
        """The VP-SDE at t/T."""
        return NoiseSchedule.vp(T, self.beta_min, self.beta_min + self.beta_d)

    def noise(self, sigma: Tensor) -> Tensor:
        """(M - 1) times the time at which the VP-SDE has the level."""
        grown = 2 * self.beta_d * sigma.square().log1p()
        return (self.M - 1) * grown / (self.beta_d * ((self.beta_min**2 + grown).sqrt() + self.beta_min))


@dataclass(frozen=True)
class VE(Preconditioning):
    """Variance exploding: the network sees x and log(sigma / 2), and says the noise with its sign turned.

    Attributes:
        sigma_min, sigma_max: ends of the levels that it is asked at.
    """

    sigma_min: float = 0.02
    sigma_max: float = 80.0

    def schedule(self, T: int) -> NoiseSchedule:
        """EDM's levels between the two ends."""
        return NoiseSchedule.edm(T, self.sigma_min, self.sigma_max)

    def noise(self, sigma: Tensor) -> Tensor:
        """log(sigma / 2)."""
        return (sigma / 2).log()

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(sqrt(1 + sigma^2), 0, -1)."""
        return (1 + sigma.square()).sqrt(), torch.zeros_like(sigma), -torch.ones_like(sigma)


@dataclass(frozen=True)
class IDDPM(Preconditioning):
    """Improved DDPM: the network sees x_t and the number of the level, and says the noise, and a variance perhaps.

    Attributes:
        C_1: 1 - the largest beta.
        C_2: offset of the cosine schedule.
        M: number of levels, 1..100,000; it knows no others.

    Raises:
        InputError: a largest beta that is not the published one, or numbers that no such network has.
    """

    C_1: float = 0.001
    C_2: float = 0.008
    M: int = 1000

    @property
    def steps(self) -> int:
        """M."""
        return self.M

    def __post_init__(self) -> None:
        if abs(1 - self.C_1 - MAX_BETA) > 1e-9:
            raise InputError(f"an iDDPM network with C_1 = {self.C_1:g} is not read; those with {1 - MAX_BETA:g} are")
        if not (self.M in range(1, MOST + 1) and self.C_2 >= 0):
            raise InputError(
                f"an iDDPM network has 1 to {MOST:,} noise levels and an offset C_2 of at least 0, found M = {self.M} "
                f"and C_2 = {self.C_2:g}"
            )

    def schedule(self, T: int) -> NoiseSchedule:
        """The cosine schedule of M steps."""
        if T != self.M:
            raise InputError(f"an iDDPM network knows its own {self.M} noise levels alone; leave out --timesteps {T}")
        return NoiseSchedule.cosine(T, self.C_2)

    def noise(self, sigma: Tensor) -> Tensor:
        """t - 1, at its own levels.

        Raises:
            InputError: other levels.
        """
        own = self.schedule(len(sigma)).ratio[1:].sqrt()
        if not torch.allclose(own, sigma, rtol=1e-6, atol=0):
            raise InputError("an iDDPM network knows the noise levels of its own schedule alone; leave out --schedule")
        return torch.arange(len(sigma), dtype=sigma.dtype)


@dataclass(frozen=True)
class EDM(Preconditioning):
    """EDM's own: input and output have variance 1 at every level, if the data have variance sigma_data^2.

    Attributes:
        sigma_data: standard deviation of the data.
        sigma_min, sigma_max: ends of the levels that it is asked at.

    Raises:
        InputError: a deviation that is not above 0.
    """

    predicts = "v"

    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_data < math.inf:
            raise InputError(f"an EDM network needs data of a standard deviation above 0, found {self.sigma_data:g}")

    def schedule(self, T: int) -> NoiseSchedule:
        """EDM's levels between the two ends."""
        return NoiseSchedule.edm(T, self.sigma_min, self.sigma_max)

    def noise(self, sigma: Tensor) -> Tensor:
        """log(sigma) / 4."""
        return sigma.log() / 4

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of v = sqrt(alpha_bar) eps - sqrt(beta_bar) x_0, put into the definition of D and solved for v.

        a = sqrt((1 + sigma^2) / (sigma^2 + sigma_data^2)), b = sigma (1 - sigma_data^2) / (sigma^2 + sigma_data^2) and
        c = -sigma_data a: with sigma_data = 1 the network says -v itself.
        """
        total = sigma.square() + self.sigma_data**2
        a = ((1 + sigma.square()) / total).sqrt()
        return a, sigma * (1 - self.sigma_data**2) / total, -self.sigma_data * a


PRECONDITIONINGS: dict[str, type[Preconditioning]] = {
    "VPPrecond": VP, "VEPrecond": VE, "iDDPMPrecond": IDDPM, "EDMPrecond": EDM,
}  # fmt: skip
"""By the names that EDM's files call them."""
