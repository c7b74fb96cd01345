"""What statistics at knots are measured with, from the cosine coefficients of the error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from diffcov.denoiser.noised import Noised
from diffcov.statistics.at_knots import AtKnots
from diffcov.statistics.control import LinearDenoiser

__all__ = ["MatricesMeter", "SpectrumMeter"]

S = TypeVar("S", bound=AtKnots)


class SpectrumMeter(Generic[S]):
    """Adds up the squared coefficients of the error, batches of one time each.

    Args:
        spectrum: what is added to, in place.
        linear: for the controls of a spectrum with curves.
    """

    def __init__(self, spectrum: S, linear: LinearDenoiser | None = None) -> None:
        self._spectrum, self._linear = spectrum, linear

    def add(self, noised: Noised) -> None:
        """One batch, which is at a knot."""
        coefficients = self._spectrum.basis.forward(noised.residual.double())
        controls: Sequence[Tensor] = () if self._linear is None else self._linear.squares(noised)[::2]
        self._spectrum.add(self._spectrum.knot_number(noised.look.time), coefficients.square(), *controls)

    def result(self) -> S:
        """The spectrum."""
        return self._spectrum


class MatricesMeter(Generic[S]):
    """Adds up products of the coefficients of the error, batches of one time each, all those of one time in a row.

    The products are taken when a time is complete: their scatter is measured in units of the coefficients' own spread
    there.

    Args:
        matrices: what is added to, in place.
    """

    def __init__(self, matrices: S) -> None:
        self._matrices = matrices
        self._now: int | None = None
        self._seen: list[Tensor] = []

    def add(self, noised: Noised) -> None:
        """One batch, which is at a knot."""
        if noised.look.time != self._now:
            self._finish()
            self._now = noised.look.time
        self._seen.append(self._matrices.basis.forward(noised.residual.double()).cpu())

    def _finish(self) -> None:
        if self._now is not None:
            self._matrices.add(self._matrices.knot_number(self._now), torch.cat(self._seen))
        self._seen = []

    def result(self) -> S:
        """The matrices, the last time included."""
        self._finish()
        self._now = None
        return self._matrices
