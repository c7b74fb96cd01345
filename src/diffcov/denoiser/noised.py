"""A look at images of which the truth is known: what statistics, heads and bounds are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.look import Look
from diffcov.diffusion.level import Level, q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import NonFiniteError

__all__ = ["Noised", "noised_look"]


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

    def by_time(self) -> Iterator[Noised]:
        """The images of each time alone, where those of one time stand in a row; their looks have one time each."""
        look, start = self.look, 0
        if not isinstance(look.t, Tensor):
            yield self
            return
        for t, some in groupby(look.t.tolist()):
            count = len(list(some))
            rows = slice(start, start + count)
            yield replace(
                self, x_0=self.x_0[rows], eps=self.eps[rows], look=look.rows(rows, t), first=self.first + start
            )
            start += count

    def seen(self, look: Look) -> Noised:
        """The same images through another look at the same x_t."""
        return replace(self, look=look)


def noised_look(denoiser: Denoiser, x_0: Tensor, t: Tensor, eps: Tensor, labels: Tensor | None) -> Look:
    """A look at sqrt(alpha_bar_t) x_0 + sqrt(beta_bar_t) eps, in float64 whatever the network computes in.

    Args:
        denoiser: the mean; one without classes is not told any.
        x_0, eps: (B, C, H, W).
        t: (B,) int64 in 1..T.
        labels: (B,) int64, or None where classes are not known.

    Raises:
        NonFiniteError: the network gave NaN or infinity.
    """
    x_t = q_sample(denoiser.schedule, x_0, t, eps)
    look = denoiser.look(x_t.double(), t, labels if denoiser.classes else None)
    if not torch.isfinite(look.predicted).all():
        broken = ~torch.isfinite(look.predicted).flatten(1).all(1)
        first = int(t.expand(len(broken))[broken].min())
        raise NonFiniteError(
            f"the network predicts NaN or infinite noise at t={first} ({int(broken.sum())} of {len(broken)} images of "
            "the batch); the mean model is broken: train it again"
        )
    return look
