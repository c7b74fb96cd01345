"""What a network's output means, and how x_0 and eps follow from it: the one place where this is said.

With a = sqrt(alpha_bar_t) and b = sqrt(beta_bar_t), x_t = a x_0 + b eps. Both estimates are taken straight from the
output: a way round through the other one would divide by a or b, and so multiply rounding by up to 2e4. Importing this
file imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from diffcov.diffusion.level import Level

__all__ = ["PARAMETRISATIONS", "PREDICTIONS", "Parametrisation"]


class Parametrisation(ABC):
    """One meaning of a network's output; all tensors are (B, C, H, W) of one dtype."""

    name: ClassVar[str]
    """Name in the registry and on the command line."""
    summary: ClassVar[str]
    """One line for help."""
    needs_signal: ClassVar[bool] = False
    """Whether x_0 cannot be had from the output where alpha_bar_t = 0."""

    @abstractmethod
    def x0(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """The estimate of x_0."""

    @abstractmethod
    def eps(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """The estimate of eps."""

    @abstractmethod
    def target(self, x_0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """What the output should be."""

    def weight(self, level: Level) -> float | Tensor:
        """The factor of (target - output)^2 in the loss that a mean is trained by."""
        return 1.0


class Eps(Parametrisation):
    """The output is the noise. Source: arXiv 2006.11239, equation 12."""

    name = "eps"
    summary = "the noise (published)"
    needs_signal = True

    def x0(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """(x_t - b output) / a."""
        return (x_t - level.noise * output) / level.signal

    def eps(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """The output."""
        return output

    def target(self, x_0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """eps."""
        return eps


class V(Parametrisation):
    """The output is v = a eps - b x_0, which is at right angles to x_t. Source: arXiv 2202.00512, appendix D."""

    name = "v"
    summary = "v = sqrt(alpha_bar) eps - sqrt(beta_bar) x_0"

    def x0(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """a x_t - b output."""
        return level.signal * x_t - level.noise * output

    def eps(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """b x_t + a output."""
        return level.noise * x_t + level.signal * output

    def target(self, x_0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """a eps - b x_0."""
        return level.signal * eps - level.noise * x_0


class X0(Parametrisation):
    """The output is the image."""

    name = "x0"
    summary = "the image"

    def x0(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """The output."""
        return output

    def eps(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """(x_t - a output) / b."""
        return (x_t - level.signal * output) / level.noise

    def target(self, x_0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """x_0."""
        return x_0

    def weight(self, level: Level) -> float | Tensor:
        """1 / b^2: an error of x_0 counts as the error of v that it makes.

        Unweighted, the loss would hardly see the little noise at which details are decided. Source: arXiv 2202.00512,
        section 4 ("SNR+1").
        """
        return 1 / level.noise**2


PARAMETRISATIONS: dict[str, Parametrisation] = {one.name: one for one in (Eps(), V(), X0())}
"""Parametrisations by name."""

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""Their names by those of diffusers' prediction types."""
