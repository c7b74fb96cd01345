"""A Gaussian that is diagonal in an orthonormal basis: the uncertainty of x_0, and what a reverse step makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.basis.base import Basis
from diffcov.diffusion.step import Step
from diffcov.gaussian.nats import kl_lifted
from diffcov.transfer import sent

__all__ = ["Diagonal"]

CHUNK = 1 << 16
"""Values of float64 that a divergence works on at once: 512 KiB fit a core's cache (3 times as fast as 32 MiB)."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """N(0, U^T diag(var) U).

    Attributes:
        basis: U.
        var: variances of the coefficients, float32 or float64, broadcastable to (B, C, H, W).
        unclipped: those before they were clipped; None if they were not.
    """

    basis: Basis
    var: Tensor
    unclipped: Tensor | None = None

    def clipped(self, var_pixel: float) -> Diagonal:
        """Every variance between 0 and the largest a coefficient can have when no pixel's exceeds ``var_pixel``."""
        most = self.basis.largest_variance(var_pixel)
        if isinstance(most, Tensor):
            var = self.var.clamp(min=0.0).minimum(sent(most.to(self.var.dtype), self.var.device))
        else:
            var = self.var.clamp(0.0, most)
        return Diagonal(self.basis, var, self.var)

    def shared(self, share: float) -> Diagonal:
        """The Gaussian with a share of every variance."""
        return self if share == 1 else Diagonal(self.basis, share * self.var)

    def lifted(self, step: Step) -> Diagonal:
        """Cov[x_s | x_t] from Cov[x_0 | x_t]: lambda2 + gamma^2 var."""
        return Diagonal(self.basis, step.lift(self.var))

    def capped(self, most: float) -> Diagonal:
        """No variance above ``most``."""
        return Diagonal(self.basis, self.var.clamp(max=most))

    def color(self, noise: Tensor) -> Tensor:
        """U^T sqrt(var) U noise: a draw of this Gaussian from white noise of pixels (B, C, H, W).

        That is the symmetric root of the covariance. It is the linear map nearest to the identity (of all that make
        these draws, the one that moves the noise least), whatever the basis: under two covariances the same noise gives
        nearly the same draw, up to their different variances.

        Returns:
            (B, C, H, W), with the dtype and the device of the noise.
        """
        if self.is_scalar:  # alike in every basis
            return self._std(noise) * noise
        return self.color_coefficients(self.basis.forward(noise))

    def color_coefficients(self, noise: Tensor) -> Tensor:
        """U^T sqrt(var) noise: a draw from white noise that is taken for coefficients, (B, C, H, W).

        The same Gaussian as :meth:`color` draws. The same noise is another picture in each basis.
        """
        return self.basis.inverse(self._std(noise) * noise)

    def _std(self, noise: Tensor) -> Tensor:
        return sent(self.var.sqrt().to(noise.dtype), noise.device)

    @property
    def floor_share(self) -> float:
        """The share of the values that were at or below 0 before they were clipped, in [0, 1]."""
        var = self.var if self.unclipped is None else self.unclipped
        return float((var <= 0).double().mean())

    @property
    def is_scalar(self) -> bool:
        """Whether all values of all images have one variance."""
        return self.var.numel() == 1

    def kl_lifted(self, error: Tensor, rho: Tensor) -> Tensor:
        """KL(q(x_s|x_t,x_0) || p(x_s|x_t)) of several arrivals s, this being p's Cov[x_0 | x_t].

        Args:
            error: (B, C, H, W) float64, x_0 - x0_hat.
            rho: (S,) float64, gamma^2 / lambda2 of each step; see ``NoiseSchedule.snr_gain``.

        Returns:
            (S, B) float64, nats an image.
        """
        error_sq = self.basis.forward(error).square().flatten(1)
        rho, var = rho.to(error.device)[:, None], self.var.double()
        if self.is_scalar:  # the sum over pixels goes inside
            return error_sq.shape[1] * kl_lifted(rho, error_sq.mean(1), var.reshape(()))
        var = var.expand_as(error).flatten(1)
        at_once = max(1, CHUNK // error_sq.numel())
        parts = [kl_lifted(part[..., None], error_sq, var).sum(-1) for part in torch.split(rho, at_once)]
        return torch.cat(parts)

    def seen_in(self, other: Basis, like: Tensor) -> Tensor:
        """(B, C, H, W) float64, the variances of the coefficients of another basis, for images like ``like``."""
        var = self.var.to(like.device, torch.float64)
        return self.basis.power_in(other, var.expand(*var.shape[:-3], *like.shape[1:])).expand_as(like)
