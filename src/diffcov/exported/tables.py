"""Statistics as the configuration of a scheduler holds them: what solvers and covariances ask of them, nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.basis.cosine import cosine
from diffcov.basis.separable import Separable
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.exported.packing import unpacked
from diffcov.gaussian.start import GaussianStart

__all__ = ["PackedErrors", "PackedMatrices", "PackedSpectrum", "start_again"]


@dataclass(frozen=True, eq=False)
class PackedSpectrum:
    """E[(U (eps - eps_hat))^2] by cell of frequencies, interpolated as the statistic was when it left.

    Attributes:
        logs: (M, C, h, w) float64, its logarithm at M knots.
        weights: (T+1, M) float64, how each time's logarithms are made of those at the knots; row 0 is unused.
        rows, columns: the cell of each row and of each column of coefficients, H and W numbers.
        colour: (C, C) float64, the rotation of the channels.
        file, digest: of the statistic.
    """

    logs: Tensor
    weights: Tensor
    rows: Sequence[int]
    columns: Sequence[int]
    colour: Tensor
    file: str
    digest: str

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Self:
        """The spectrum of a configuration."""
        arrays = {name: unpacked(values[name]) for name in ("logs", "weights", "colour")}
        return cls(
            rows=values["rows"], columns=values["columns"], file=values["file"], digest=values["digest"], **arrays
        )

    @cached_property
    def basis(self) -> Separable:
        """U, cosines with a rotation of the channels."""
        return cosine(len(self.colour), len(self.rows), len(self.columns), self.colour)

    def var_eps_in_cells(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, C, h, w) float64 >= 0 at times (B,), on the CPU; the schedule is the one that it left with."""
        between = (self.weights[t] @ self.logs.flatten(1)).exp()
        return between.reshape(len(t), *self.logs.shape[1:])

    def spread(self, in_cells: Tensor) -> Tensor:
        """Values of cells (.., h, w) given to every coefficient, (.., H, W)."""
        return in_cells[..., self.rows, :][..., self.columns]


@dataclass(frozen=True, eq=False)
class PackedErrors:
    """E||eps - eps_hat||^2 / d at each time.

    Attributes:
        errors: (T+1,) float64; entry 0 is unused.
        file, digest: of the statistic.
    """

    errors: Tensor
    file: str
    digest: str

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Self:
        """The table of a configuration."""
        return cls(unpacked(values["errors"]), values["file"], values["digest"])

    def error_at(self, t: int) -> float:
        """E||eps - eps_hat||^2 / d at t in 1..T."""
        return float(self.errors[t])


@dataclass(frozen=True, eq=False)
class PackedMatrices:
    """E[c c^T] of the cosine coefficients c = U (eps - eps_hat), shrunk when the statistic left.

    Attributes:
        triangles: (M, d (d + 1) / 2) float64, the lower triangles at M knots, row after row.
        weights: (T+1, M) float64, how each time's logarithms are made of those at the knots; row 0 is unused.
        shape: (C, H, W), d values.
        colour: (C, C) float64, the rotation of the channels.
        file, digest: of the statistic.
    """

    triangles: Tensor
    weights: Tensor
    shape: tuple[int, int, int]
    colour: Tensor
    file: str
    digest: str

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Self:
        """The matrices of a configuration."""
        channels, height, width = values["shape"]
        arrays = {name: unpacked(values[name]) for name in ("triangles", "weights", "colour")}
        return cls(shape=(channels, height, width), file=values["file"], digest=values["digest"], **arrays)

    @cached_property
    def basis(self) -> Separable:
        """U, cosines with a rotation of the channels."""
        return cosine(*self.shape, self.colour)

    def knot_weights(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, M) float64 at times (B,); the schedule is the one that it left with."""
        return self.weights[t]

    def at_knot(self, knot: int) -> Tensor:
        """(d, d) float64, E[c c^T] at a knot."""
        d = math.prod(self.shape)
        rows, columns = torch.tril_indices(d, d)
        out = torch.zeros(d, d, dtype=torch.float64)
        out[rows, columns] = out[columns, rows] = self.triangles[knot]
        return out


def start_again(values: Mapping[str, Any]) -> GaussianStart:
    """The start below T of a configuration.

    Args:
        values: "mean" and "var" (C, H, W) and "colour" (C, C), packed: the mean image, the variance of each cosine
            coefficient, and the rotation of the channels; "made_of": digests, by the names of files.
    """
    mean, var, colour = (unpacked(values[name]) for name in ("mean", "var", "colour"))
    channels, height, width = mean.shape
    return GaussianStart(cosine(channels, height, width, colour), mean, var, values["made_of"])
