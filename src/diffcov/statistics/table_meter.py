"""What a variance table is measured with: norms of the predicted noise and of its error, image by image."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor

from diffcov.denoiser.noised import Noised
from diffcov.statistics.base import Statistic
from diffcov.statistics.control import LinearDenoiser, control_sums

__all__ = ["CONTROLS", "TableMeter"]

CONTROLS = (3, 6)
"""Three controls: squared error and norm of the linear denoiser, and the noise where the images have their energy."""


T = TypeVar("T", bound=Statistic)


class TableMeter(Generic[T]):
    """Adds up the norms of eps_hat and of its error.

    The drawn noise's own ||eps||^2 / d, whose mean is known to be 1, serves as control variate of ||eps_hat||^2 / d.
    What ``analytic`` needs is 1 - Gamma_t, which falls to 1e-3 while the plain estimate of Gamma_t scatters by
    sqrt(2 / (d M)); where eps_hat is close to eps that scatter is common to both and cancels. (At small t, where they
    are not close, 1 - Gamma_t is near 1 and its relative error is that of ||eps - eps_hat||^2.)

    Source: arXiv 2201.06503, equation 8 (Monte Carlo estimate of Gamma); arXiv 2206.07309 for the error.

    Args:
        table: what is added to, in place.
        linear: for the controls of a table with curves, whose batches are of one time each.
    """

    def __init__(self, table: T, linear: LinearDenoiser | None = None) -> None:
        self._table, self._sums, self._linear = table, table.tensors(), linear

    def add(self, noised: Noised) -> None:
        """One batch."""
        look, eps = noised.look, noised.eps
        t = look.t.cpu() if isinstance(look.t, Tensor) else torch.full((len(eps),), look.t)
        norm = per_image(noised.eps_hat) - per_image(eps) + 1
        error = per_image(noised.residual)
        sums = {
            "count": torch.ones_like(norm),
            "eps_hat_sq": norm, "eps_hat_sq_sq": norm.square(),
            "error_sq": error, "error_sq_sq": error.square(),
        }  # fmt: skip
        for name, total in self._sums.items():
            if name in sums:
                total.index_add_(0, t, sums[name])

        if self._linear is not None:
            squares, said, noise = (part.flatten(1) for part in self._linear.squares(noised))
            energy = self._linear.var.flatten() / self._linear.var.sum().clamp(min=1e-30)
            controls = torch.stack([squares.mean(1), said.mean(1), noise @ energy], 1)
            self._sums["controls"][noised.look.time] += control_sums(controls, torch.stack([error, norm], 1))

    def result(self) -> T:
        """The table."""
        return self._table


def per_image(values: Tensor) -> Tensor:
    """||values||^2 / d per image: (B, C, H, W) -> (B,) float64 on the CPU."""
    return values.square().flatten(1).mean(1, dtype=torch.float64).cpu()
