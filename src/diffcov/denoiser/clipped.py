"""A denoiser that knows the range of the data."""

from __future__ import annotations

from dataclasses import replace

from diffcov.denoiser.base import Lens, View
from diffcov.denoiser.look import Look

__all__ = ["Clipped"]


class Clipped(Lens):
    """x0_hat clipped to [low, high] of the data; eps_hat as predicted, which is how DDIM's mean was published."""

    def change(self, look: Look) -> Look:
        return look.clipped(self.data.low, self.data.high)

    @property
    def view(self) -> View:
        return replace(self.inner.view, clip_x0=True)
