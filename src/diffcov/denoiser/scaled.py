"""A denoiser whose predicted noise is divided by a number. Source: arXiv 2308.15321."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from diffcov.denoiser.base import Denoiser, Lens, View
from diffcov.denoiser.look import Look
from diffcov.diffusion.level import Level
from diffcov.errors import UsageError

__all__ = ["Scaled"]


class Scaled(Lens):
    """eps_hat / scale, and the x0_hat that goes with it.

    Where alpha_bar_t = 0 no x0_hat goes with an eps_hat, and it stays as it is.

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
        level = Level.at(self.schedule, look.t, look.x_t)
        return replace(look, x0_hat=self._x0(look, level), eps_hat=look.eps_hat / self.scale)

    def _x0(self, look: Look, level: Level) -> Tensor:
        """x0_hat and what it gains by the noise taken away; from x_t anew it would lose digits to 1 / signal."""
        taken = 1 - 1 / self.scale
        if isinstance(level.signal, Tensor):
            x0_hat = look.x0_hat + taken * level.noise / level.signal * look.eps_hat
            return x0_hat.where(level.signal > 0, look.x0_hat)
        return look.x0_hat if level.signal == 0 else look.x0_hat + taken * level.noise / level.signal * look.eps_hat

    @property
    def view(self) -> View:
        return replace(self.inner.view, eps_scale=self.inner.view.eps_scale * self.scale)
