"""What a denoiser says of noisy images: all that samplers, statistics, heads and bounds know of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from diffcov.diffusion.level import Level
from diffcov.nets.features import Features

__all__ = ["Look"]


@dataclass(frozen=True, eq=False)
class Look:
    """One look at (x_t, t).

    Attributes:
        x_t: (B, C, H, W), what was looked at; its dtype is that of everything here but the features.
        t: the time in 1..T, or (B,) int64 if it differs from image to image.
        x0_hat: (B, C, H, W), the estimate of E[x_0 | x_t], in units of x_0.
        eps_hat: (B, C, H, W), the estimate of E[eps | x_t]. After a clip of x0_hat it is still the predicted one, as in
            the published samplers; see ``consistent``.
        predicted: (B, C, H, W), eps_hat before anything was done to it (scaled, clipped).
        features: what a variance head reads, float32 or better.
        learned: (B, C, H, W), the second half of the output of a network that learned a variance beside its mean; None
            of others.
        consistent: whether x0_hat and eps_hat say the same of x_t.
    """

    x_t: Tensor
    t: int | Tensor
    x0_hat: Tensor
    eps_hat: Tensor
    predicted: Tensor
    features: Features
    learned: Tensor | None = None
    consistent: bool = True

    @property
    def time(self) -> int:
        """The time, where all images have the same.

        Raises:
            TypeError: they have not.
        """
        if not isinstance(self.t, int):
            raise TypeError("this look is at images of different times; take them apart with Look.rows")
        return self.t

    def scaled(self, scale: float, level: Level) -> Look:
        """The look with eps_hat / scale, and the x0_hat that goes with it.

        x0_hat gains what the noise that is taken away was worth; from x_t anew it would lose digits to 1 / signal.
        Where alpha_bar_t = 0 no x0_hat goes with an eps_hat, and it stays as it is.

        Args:
            scale: a positive number.
            level: the noise level of the look.
        """
        taken, x0_hat = 1 - 1 / scale, self.x0_hat
        if isinstance(level.signal, Tensor):
            gained = x0_hat + taken * level.noise / level.signal * self.eps_hat
            x0_hat = gained.where(level.signal > 0, x0_hat)
        elif level.signal > 0:
            x0_hat = x0_hat + taken * level.noise / level.signal * self.eps_hat
        return replace(self, x0_hat=x0_hat, eps_hat=self.eps_hat / scale)

    def clipped(self, low: float, high: float) -> Look:
        """The look with x0_hat in [low, high]; eps_hat stays as predicted, which is how DDIM's mean was published."""
        return replace(self, x0_hat=self.x0_hat.clamp(low, high), consistent=False)

    def rows(self, chosen: slice, t: int) -> Look:
        """Some of the images, which all have the time ``t``."""
        return replace(
            self,
            x_t=self.x_t[chosen],
            t=t,
            x0_hat=self.x0_hat[chosen],
            eps_hat=self.eps_hat[chosen],
            predicted=self.predicted[chosen],
            features=Features(*(part[chosen] for part in self.features)),
            learned=None if self.learned is None else self.learned[chosen],
        )
