"""What every covariance states about itself: its name, its needs, its formula, and var_x0.

The one idea: a covariance says how uncertain x_0 is given x_t (``var_x0``); the *process* lifts that to x_s.
Bounds are applied to var_x0, before the lift, because the lift can amplify an error ten million times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor

from diffcov.basis import PIXEL, Basis
from diffcov.covariance.clipping import clip_var_x0
from diffcov.covariance.needs import Need
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.process import Process, Step
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.features import Features
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable

__all__ = ["Covariance", "Fitted", "HeadFunction", "Need", "TableCovariance"]

HeadFunction = Callable[[Features, Tensor], Tensor]
"""(features, t (B,) int64) -> float32 broadcastable to (B, C, H, W): the head's estimate of E[head_target | x_t]."""


@dataclass(frozen=True)
class Fitted:
    """What was measured and fitted for one mean model.

    Attributes:
        table: the variance table, if estimated.
        spectrum: the spectrum, if estimated.
        matrices: the residual matrices, if estimated.
        heads: fitted heads by the name of their covariance.
    """

    table: VarianceTable | None = None
    spectrum: Spectrum | None = None
    matrices: ResidualMatrices | None = None
    heads: Mapping[str, HeadFunction] = field(default_factory=dict)

    def holds(self, need: Need, name: str) -> bool:
        """Whether what the covariance ``name`` needs is here."""
        return {
            Need.TABLE: self.table is not None,
            Need.SPECTRUM: self.spectrum is not None,
            Need.MATRICES: self.matrices is not None,
            Need.HEAD: name in self.heads,
        }[need]

    def joined(self, other: Fitted) -> Fitted:
        """What either holds; this one's where both do."""
        return Fitted(
            self.table or other.table,
            self.spectrum or other.spectrum,
            self.matrices or other.matrices,
            {**other.heads, **self.heads},
        )

    def require(self, kind: type[Covariance]) -> Any:
        """Itself, once everything that a covariance needs is here.

        Raises:
            InputError: something is missing; the message names the command that makes it.
        """
        for need in Need:
            if need in kind.needs and not self.holds(need, kind.name):
                raise InputError(
                    f"the {kind.name} covariance needs {need.value} and none was found; run: {need.command(kind.name)}"
                )
        return self


class Covariance(ABC):
    """The covariance of p(x_s | x_t). Subclasses are one file each and fill in what is declared here."""

    name: ClassVar[str]
    """Name in the registry and on the command line."""
    needs: ClassVar[frozenset[Need]]
    """What must have been measured or fitted."""
    summary: ClassVar[str]
    """One line for help and tables."""
    formula: ClassVar[str]
    """var_x0 in plain text."""
    reference: ClassVar[str]
    """Where it comes from."""
    likelihood_caution: ClassVar[str | None] = None
    """What to know before trusting its likelihood where variances lie at the floor; None: nothing."""

    @classmethod
    @abstractmethod
    def build(cls, fitted: Fitted) -> Self:
        """From what was fitted; InputError (naming the command to run) if what it needs is missing."""

    @abstractmethod
    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """Cov[x_0 | x_t] per coefficient of :meth:`basis_at`, before any clip.

        Returns:
            float32 or float64, broadcastable to (B, C, H, W), in units of x_0 squared. May leave the bounds.
        """

    def basis_at(self, schedule: NoiseSchedule, t: int) -> Basis:
        """The orthonormal basis in which var_x0 is diagonal at ``t``; pixels unless a covariance says otherwise."""
        return PIXEL

    def bounded_var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction, var_bound: float) -> Tensor:
        """:meth:`var_x0` clipped to [0, :meth:`upper_bound`]."""
        upper = self.upper_bound(schedule, t, var_bound)
        return clip_var_x0(self.var_x0(schedule, t, prediction), upper)

    def var_xs(self, step: Step, prediction: Prediction, var_bound: float) -> Tensor:
        """The variance of p(x_s | x_t), in :meth:`basis_at`: clip var_x0 to its bounds, then lift.

        Args:
            step: the reverse step (s, t, eta).
            prediction: the trunk's call at (x_t, t).
            var_bound: ((high - low) / 2)^2 of the data.

        Returns:
            As :meth:`var_x0`, within [lambda2, lambda2 + gamma^2 upper_bound].
        """
        return step.lift(self.bounded_var_x0(step.schedule, step.t, prediction, var_bound))

    def upper_bound(self, schedule: NoiseSchedule, t: int, var_bound: float) -> float | Tensor:
        """The largest value var_x0 can have.

        For every x_t that is ((high - low) / 2)^2 in a pixel, the largest variance of a variable in [low, high], and
        what the basis makes of it in a coefficient. The other bound of arXiv 2201.06503 (theorem 2), r, holds for the
        mean over x_t alone: at one x_t, Var[eps | x_t] can exceed 1, and does where a pixel is undecided between two
        values. So only ``analytic`` takes it.
        """
        return self.basis_at(schedule, t).largest_variance(var_bound)

    def check_process(self, process: Process) -> None:
        """Refuse a process this covariance has no meaning for (UsageError). Most have one for all."""
        return


class TableCovariance(Covariance):
    """A covariance that reads the variance table: one number per time."""

    needs = frozenset({Need.TABLE})

    def __init__(self, table: VarianceTable) -> None:
        self.table = table

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        return cls(fitted.require(cls).table)
