"""A denoiser whose predicted noise is divided by a number. Source: arXiv 2308.15321."""

from __future__ import annotations

import math
from dataclasses import replace

from diffcov.denoiser.base import Denoiser, Lens, View
from diffcov.denoiser.look import Look
from diffcov.diffusion.level import Level
from diffcov.errors import UsageError

__all__ = ["Scaled"]


class Scaled(Lens):
    """eps_hat / scale, and the x0_hat that goes with it; see :meth:`Look.scaled`.

    Args:
        inner: not clipped, for the clip comes after.
        scale: a positive number.

    Raises:
        UsageError: a scale that is not a positive number, or a clipped denoiser.
    """

    def __init__(self, inner: Denoiser, scale: float) -> None:
        super().__init__(inner)
        if not 0 < scale < math.inf:
            raise UsageError(f"eps_hat is divided by a positive number, found {scale}")
        if inner.view.clip_x0:
            raise UsageError("eps_hat is scaled before x0_hat is clipped, not after: put Clipped outside of Scaled")
        self.scale = scale

    def change(self, look: Look) -> Look:
        return look.scaled(self.scale, Level.at(self.schedule, look.t, look.x_t))

    @property
    def view(self) -> View:
        return replace(self.inner.view, eps_scale=self.inner.view.eps_scale * self.scale)
