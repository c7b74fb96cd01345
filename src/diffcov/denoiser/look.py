"""What a denoiser says of noisy images: all that samplers, statistics, heads and bounds know of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

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
