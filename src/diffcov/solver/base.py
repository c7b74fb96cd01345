"""What every solver states about itself, and how it walks from x_t to x_s.

A solver makes the mean of p(x_s | x_t) from the look at x_t and, if it likes, from earlier ones. How uncertain x_0 is
comes from the covariance, which the solver's step lifts to x_s. To add one: write ``solver/yours.py`` with one subclass
of :class:`Solver`, and its line in ``solver/registry.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step

__all__ = ["Solver", "Walk"]


class Walk(Protocol):
    """One walk from noise to a batch of images; it may remember what it has seen."""

    def mean(self, step: Step, look: Look) -> Tensor:
        """The mean of p(x_s | x_t), (B, C, H, W); asked for each step of a grid in turn, from the noise on."""


class Solver(ABC):
    """A way to step. Subclasses are frozen dataclasses of what can be chosen."""

    name: ClassVar[str]
    """Name in the registry and on the command line."""
    summary: ClassVar[str]
    """One line for help and tables."""
    reference: ClassVar[str]
    """Where it comes from."""

    @classmethod
    @abstractmethod
    def of(cls, eta: float | None) -> Self:
        """The solver that ``--eta`` chooses; None takes the solver's own.

        Raises:
            UsageError: an eta that it does not have.
        """

    @property
    @abstractmethod
    def eta(self) -> float:
        """How much of beta_tilde the steps keep as noise: 1 is the Markov chain (DDPM), 0 adds none (DDIM)."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of convergence in the step size, where the looks are exact and the noise is off."""

    @property
    def stochastic(self) -> bool:
        """Whether its steps add noise although x_0 is known."""
        return self.eta > 0

    @property
    def why_no_bound(self) -> str | None:
        """Why its chain has no bound on the likelihood; None if it has one, which has to be said by the solver."""
        return "its posterior has no variance" if self.eta == 0 else "the bound is that of the Markov chain (ddpm)"

    def step(self, schedule: NoiseSchedule, s: int, t: int) -> Step:
        """The step of order 1 from t to s: its lambda2 and gamma are what a covariance is lifted by."""
        return Step(schedule, s, t, self.eta)

    @abstractmethod
    def walk(self) -> Walk:
        """A new walk, which has seen nothing."""

    @property
    def label(self) -> str:
        """The name, and what was chosen where it is not the solver's own."""
        own = type(self).of(None).as_dict()
        others = [f"{key}{_word(value)}" for key, value in self.as_dict().items() if value != own[key]]
        return "-".join([self.name, *others])

    def as_dict(self) -> dict[str, Any]:
        """What decides its steps, as plain values: its name, its eta, and every field that it compares by."""
        chosen = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}  # type: ignore[arg-type]
        return {"name": self.name, **chosen, "eta": float(self.eta)}


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
