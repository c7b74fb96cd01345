"""A look at images of which the truth is known: what statistics, heads and bounds are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["Noised"]


@dataclass(frozen=True, eq=False)
class Noised:
    """Images, the noise that was added to them, and what a denoiser says of the mixture.

    Attributes:
        schedule: the noise schedule.
        x_0: (B, C, H, W), the images.
        eps: (B, C, H, W), the noise.
        look: at x_t = sqrt(alpha_bar_t) x_0 + sqrt(beta_bar_t) eps.
        first: number of the first image, where images are numbered.
        curvature: (B, C, H, W), v * (J^T v) with independent signs v and J = d eps_hat / d x_t, whose mean over v is
            the diagonal of J; None unless a head asks for it.
    """

    schedule: NoiseSchedule
    x_0: Tensor
    eps: Tensor
    look: Look
    first: int = 0
    curvature: Tensor | None = None

    @property
    def rows(self) -> slice:
        """The images' numbers."""
        return slice(self.first, self.first + len(self.x_0))

    @property
    def error(self) -> Tensor:
        """x_0 - x0_hat, (B, C, H, W)."""
        return self.x_0 - self.look.x0_hat

    @property
    def eps_hat(self) -> Tensor:
        """The noise that goes with x0_hat; of a clipped look (x_t - sqrt(alpha_bar) x0_hat) / sqrt(beta_bar)."""
        look = self.look
        if look.consistent:
            return look.eps_hat
        level = Level.at(self.schedule, look.t, look.x_t)
        return (look.x_t - level.signal * look.x0_hat) / level.noise

    @property
    def residual(self) -> Tensor:
        """The error of x0_hat as an error of eps: (x0_hat - x_0) / sqrt(r_t) = eps - eps_hat, (B, C, H, W).

        Of a clipped look it is that of the noise which goes with the clipped x0_hat. Where alpha_bar_t = 0, r_t is 1 by
        convention and the residual is x0_hat - x_0 itself.
        """
        found = self.eps - self.eps_hat
        if not self.schedule.ends_at_zero:
            return found
        level = Level.at(self.schedule, self.look.t, self.look.x_t)
        if isinstance(level.signal, Tensor):
            return found.where(level.signal > 0, -self.error)
        return found if level.signal > 0 else -self.error

    def seen(self, look: Look) -> Noised:
        """The same images through another look at the same x_t."""
        return replace(self, look=look)
