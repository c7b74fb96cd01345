"""The full second moments of the error of the predicted noise, at knots in log-SNR, shrunk to their spectrum.

Of d values there are d (d + 1) / 2 moments, and small ones between two large values are measured worst: taken as they
are, a few thousand images of a few hundred values overfit. In cosines the matrix is nearly diagonal, so that is where
it is shrunk to: R = (1 - weight) R_measured + weight I for the correlations R of cosine coefficients, with the weight
that minimises the expected squared error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.basis import Dense
from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.at_knots import AtKnots
from diffcov.statistics.base import Setting
from diffcov.statistics.knot_meters import MatricesMeter
from diffcov.statistics.knots import Knots
from diffcov.statistics.noise_curve import log_snr_of
from diffcov.statistics.smooth import SmoothCurve

__all__ = ["LARGEST", "UNASKED", "ResidualMatrices"]

KEPT = 64
"""Times whose eigenvectors are kept: at most half a gigabyte."""
LARGEST = 1024
"""Values of an image, at most: beyond it matrices and their eigenvectors cost more than they give."""
LEAST_SHARE = 0.05
"""Of the largest share in an average of correlations: knots of smaller ones are left out."""
UNASKED = 256
"""Values of an image up to which matrices are measured without being asked for."""


@dataclass(frozen=True, repr=False)
class ResidualMatrices(AtKnots):
    """E[c c^T] of the cosine coefficients c = U (eps - eps_hat), at M knots.

    Args:
        knots, count, colour, size, alpha_bar: see :class:`diffcov.statistics.at_knots.AtKnots`.
        total: float32 (M, d (d + 1) / 2), sums over images of the lower triangle of c c^T, row after row.
        pairs: float64 (M,), sums over images and i != j of (z_i z_j)^2, where z is c over its standard deviation.
    """

    name = "matrices"
    title = "residual matrices"
    several = "residual matrices"
    kind = "residual-matrices"
    file = "matrices.safetensors"
    command = "diffcov estimate-var --full"
    remedy = "diffcov estimate-var --full --force"

    knots: Tensor
    count: Tensor
    total: Tensor
    pairs: Tensor
    colour: Tensor
    size: Tensor
    alpha_bar: Tensor | None = None
    _diagonal: dict[tuple[NoiseSchedule, int], tuple[Dense, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def empty(cls, knots: Knots, shape: tuple[int, int, int], colour: Tensor, alpha_bar: Tensor | None = None) -> Self:
        """The matrices of no image, for images of ``shape`` (C, H, W).

        Raises:
            InputError: images of more than :data:`LARGEST` values.
        """
        channels, height, width = shape
        M, d = len(knots.times), channels * height * width
        cls._check_dims(d)
        total = torch.zeros(M, d * (d + 1) // 2)
        count, pairs = (torch.zeros(M, dtype=torch.float64) for _ in range(2))
        return cls(torch.tensor(knots.times), count, total, pairs, colour, torch.tensor([height, width]), alpha_bar)

    @classmethod
    def begin(cls, setting: Setting) -> MatricesMeter[Self]:
        start = cls.empty(Knots(setting.times), setting.data.shape, setting.colour, setting.alpha_bar)
        return MatricesMeter(start)

    @classmethod
    def unasked(cls, data: DataDescription) -> bool:
        return data.dims <= UNASKED

    @classmethod
    def check(cls, data: DataDescription) -> None:
        cls._check_dims(data.dims)

    @staticmethod
    def _check_dims(d: int) -> None:
        if d > LARGEST:
            raise InputError(
                f"a full covariance is for images of at most {LARGEST} values, and these have {d}; "
                "leave --full out: the spectrum serves images of any size"
            )

    @property
    def dims(self) -> int:
        """d, the number of values in one image."""
        channels, height, width = self.shape
        return channels * height * width

    def add(self, knot: int, coefficients: Tensor, *controls: Tensor) -> None:
        """Take (B, C, H, W) coefficients, all images of this measurement, at one knot into account, in place."""
        c = coefficients.flatten(1).double().cpu()
        rows, columns = torch.tril_indices(self.dims, self.dims)
        self.total[knot] += (c.T @ c)[rows, columns].float()
        z_sq = c.square() / c.square().mean(0).clamp(min=1e-30)
        self.pairs[knot] += (z_sq.sum(1).square() - z_sq.square().sum(1)).sum()
        self.count[knot] += len(c)
        self._diagonal.clear()

    def moments(self, knot: int) -> Tensor:
        """(d, d) float64, E[c c^T] as measured at a knot."""
        d = self.dims
        rows, columns = torch.tril_indices(d, d)
        out = torch.zeros(d, d, dtype=torch.float64)
        out[rows, columns] = out[columns, rows] = self.total[knot].double() / self.count[knot]
        return out

    def shrinkage(self, knot: int) -> float:
        """The weight of the diagonal at a knot, in [0, 1]; 1 below two images.

        sum Var(r_ij) / sum r_ij^2 over i != j, which minimises E||R - R_true||^2.
        Source: Schaefer and Strimmer, Statistical Applications in Genetics and Molecular Biology 4 (2005), 32.
        """
        return self._correlations(knot)[1]

    def _correlations(self, knot: int) -> tuple[Tensor, float]:
        """(the correlations R as measured at a knot, or at those that the curve averages over; their shrinkage).

        The scatter of a mean of r over knots of independent images, sum_m w_m r_m, is sum_m w_m^2 Var(r_m).
        """
        mean, noise = torch.zeros(self.dims, self.dims, dtype=torch.float64), 0.0
        for m, weight in self._averaged(knot):
            correlation, n = _correlation(self.moments(m)), float(self.count[m])
            squares = float(correlation.square().sum()) - self.dims
            noise += weight**2 * (float(self.pairs[m]) / n - squares) / (n - 1) if n > 1 else math.inf
            mean += weight * correlation
        squares = float(mean.square().sum()) - self.dims
        return mean, min(1.0, max(0.0, noise / squares)) if squares > 0 else 1.0

    def _averaged(self, knot: int) -> list[tuple[int, float]]:
        """The knots whose correlations speak at one, and their shares: by the curve, but never less than nothing."""
        place = self._signal.index(knot) if knot in self._signal else None
        if self._curve is None or place is None:
            return [(knot, 1.0)]
        share = self._curve.weights(self._curve.x[[place]])[0].clamp(min=0)
        share = share.where(share > LEAST_SHARE * share.max(), 0.0)
        return [(self._signal[m], float(w / share.sum())) for m, w in enumerate(share.tolist()) if w > 0]

    @cached_property
    def _signal(self) -> list[int]:
        """The knots that a curve goes through; none if there is no curve."""
        return [] if self.alpha_bar is None else self.alpha_bar.nonzero().flatten().tolist()

    @cached_property
    def _curve(self) -> SmoothCurve | None:
        """Through the logarithms of the variances, each of which is known to 2 / n as those of Gaussian values are."""
        if self.alpha_bar is None or len(self._signal) < 2:
            return None
        measured = torch.stack([self._measured_variances(knot) for knot in self._signal])
        log_snr = log_snr_of(self.alpha_bar[self._signal])
        return SmoothCurve(log_snr, measured.log() + 1 / self.count[self._signal, None], 2 / self.count[self._signal])

    def diagonal(self, schedule: NoiseSchedule, t: int) -> tuple[Dense, Tensor]:
        """The basis in which the shrunk matrix at ``t`` is diagonal, and the variances there.

        Between knots the spectrum is interpolated as :class:`diffcov.statistics.spectrum.Spectrum` does, and the
        correlations linearly in log-SNR, which keeps them positive definite.

        Returns:
            The basis, largest variance first, and (C, H, W) float64 >= 0.
        """
        if (schedule, t) not in self._diagonal:
            variances, vectors = torch.linalg.eigh(self._at(schedule, t))
            seen = self.basis.inverse(vectors.T.flip(0).reshape(-1, *self.shape)).flatten(1)
            spread = variances.flip(0).clamp(min=0).reshape(self.shape)
            while len(self._diagonal) >= KEPT:
                self._diagonal.pop(next(iter(self._diagonal)))
            self._diagonal[schedule, t] = Dense(seen, self.shape), spread
        return self._diagonal[schedule, t]

    def _at(self, schedule: NoiseSchedule, t: int) -> Tensor:
        """(d, d) float64, E[c c^T] at ``t``."""
        time = torch.tensor([t])
        straight = self._knots.straight(schedule, time)[0]
        correlation = sum(straight[knot] * self._shrunk(knot) for knot in straight.nonzero().flatten().tolist())
        diagonals = torch.stack([self._variances(knot) for knot in range(len(self.knots))])
        std = (self._knots.weights(schedule, time) @ diagonals.log() / 2).exp()[0]
        return std[:, None] * correlation * std

    def at_knot(self, knot: int) -> Tensor:
        """(d, d) float64, E[c c^T] at a knot, shrunk."""
        std = self._variances(knot).sqrt()
        return std[:, None] * self._shrunk(knot) * std

    def _variances(self, knot: int) -> Tensor:
        """(d,) at a knot, as measured there or as the curve says."""
        if self._curve is None or knot not in self._signal:
            return self._measured_variances(knot)
        return self._curve.mean(self._curve.x[[self._signal.index(knot)]])[0].exp()

    def _measured_variances(self, knot: int) -> Tensor:
        i = torch.arange(self.dims)
        return (self.total[knot, i * (i + 3) // 2].double() / self.count[knot]).clamp(min=1e-30)

    def _shrunk(self, knot: int) -> Tensor:
        correlation, weight = self._correlations(knot)
        out = (1 - weight) * correlation
        out.diagonal().fill_(1.0)
        return out

    def summary(self) -> dict[str, Any]:
        weights = [self.shrinkage(knot) for knot in range(len(self.knots))]
        return {"knots": len(self.knots), "shrinkage": f"{min(weights):.3g} to {max(weights):.3g}"}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`. TypeError for other names, ValueError for sizes that do not fit."""
        found = cls(**tensors)
        cls.check_place(tensors)
        M, d = len(found.knots), found.dims
        if found.total.shape != (M, d * (d + 1) // 2) or found.pairs.shape != (M,) or found.count.shape != (M,):
            raise ValueError(f"matrices of shape {tuple(found.total.shape)} do not fit {M} knots and {d} values")
        return found


def _correlation(moments: Tensor) -> Tensor:
    std = moments.diagonal().clamp(min=1e-30).sqrt()
    return moments / (std[:, None] * std)
