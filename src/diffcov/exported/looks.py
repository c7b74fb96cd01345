"""What the network of a configuration says of x_t: x0_hat and eps_hat, scaled and clipped as its sampler does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.features import Features

__all__ = ["PackedLooks"]


@dataclass(frozen=True, eq=False)
class PackedLooks:
    """How outputs are read.

    Attributes:
        schedule: the noise schedule.
        predicts: what the network's output is, a name of ``parametrisation.PARAMETRISATIONS``.
        eps_scale: what eps_hat is divided by.
        bounds: what x0_hat is kept between; None: it is not clipped.
    """

    schedule: NoiseSchedule
    predicts: str
    eps_scale: float
    bounds: tuple[float, float] | None

    def estimates(self, output: Tensor, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """(x0_hat, eps_hat) that an output at time t says, neither scaled nor clipped."""
        meaning, level = PARAMETRISATIONS[self.predicts], Level.at(self.schedule, t, x_t)
        return meaning.x0(x_t, output, level), meaning.eps(x_t, output, level)

    def at(self, output: Tensor, x_t: Tensor, t: int) -> Look:
        """The look at x_t; channels of a learned variance behind those of the image are left out."""
        x0_hat, eps_hat = self.estimates(output[:, : x_t.shape[1]], x_t, t)
        look = Look(x_t, t, x0_hat, eps_hat, predicted=eps_hat, features=Features(x_t, x_t.new_zeros(len(x_t), 1)))
        if self.eps_scale != 1:
            look = look.scaled(self.eps_scale, Level.at(self.schedule, t, x_t))
        return look if self.bounds is None else look.clipped(*self.bounds)
