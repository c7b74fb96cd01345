"""What every solver states about itself, and how it walks from noise to data.

A solver makes the mean of p(x_s | x_t) from the look at x_t and, if it likes, from earlier ones. How uncertain x_0 is
comes from the covariance, which the solver's step lifts to x_s. To add one: write ``solver/yours.py`` with one subclass
of :class:`Solver`, and its line in ``solver/registry.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Eta, Step
from diffcov.errors import InputError, UsageError

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
    covers: ClassVar[bool] = True
    """Whether a covariance belongs to it unasked. Solvers that integrate the flow are published without any."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Names of the statistics that it has to know before it can walk; see :meth:`given`."""

    @classmethod
    def of(cls, **chosen: Any) -> Self:
        """The solver that options choose; None takes the solver's own.

        Raises:
            UsageError: an option that this solver does not have, or a value that it cannot have.
        """
        given = {name: value for name, value in chosen.items() if value is not None}
        own = cls._options()
        for name, value in given.items():
            if name not in own:
                asked, *words = (one.replace("_", "-") for one in (name, *own))
                has = f"it takes {', '.join(f'--{word}' for word in words)}" if own else "it has no options"
                raise UsageError(f"{cls.name} has no {asked}, but {asked} {_word(value)} was asked for; {has}")
        return cls(**given)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`, but for the statistics that it was given."""
        told = {name: values[name] for name in cls._options()}
        return cls(**{name: tuple(one) if isinstance(one, list) else one for name, one in told.items()})

    @classmethod
    def _options(cls) -> list[str]:
        """Names of the fields that can be chosen."""
        return [one.name for one in fields(cls) if one.init and one.compare]  # type: ignore[arg-type]

    @property
    @abstractmethod
    def eta(self) -> Eta | None:
        """How much of beta_tilde the steps keep as noise: 1 is the Markov chain (DDPM), 0 adds none (DDIM).

        One number, or one a step, from the noise on; None where it follows a rule of the solver's own.
        """

    @property
    @abstractmethod
    def order(self) -> int:
        """How many looks make a step, at most; the published order."""

    @property
    def accuracy(self) -> int:
        """Order of convergence in the step size, where the noise is off and nothing is clipped."""
        return self.order

    @property
    def stochastic(self) -> bool:
        """Whether its steps add noise although x_0 is known."""
        return self.eta is None or any(eta > 0 for eta in _several(self.eta))

    @property
    def why_no_bound(self) -> str | None:
        """Why its chain has no bound on the likelihood; None if it has one, which has to be said by the solver."""
        return "the bound is that of the Markov chain (ddpm)" if self.stochastic else "its posterior has no variance"

    def given(self, known: Mapping[str, Any]) -> Self:
        """The solver that knows the statistics which it needs, each in its field of that name; most need none."""
        return replace(self, **{name: known[name] for name in self.needs})  # type: ignore[type-var]

    def check_given(self) -> None:
        """Refuse (InputError) to walk without the statistics that it needs."""
        for name in self.needs:
            if getattr(self, name) is None:
                raise InputError(f"{self.name} needs the {name} and was given none; use Solver.given")

    def step(self, schedule: NoiseSchedule, s: int, t: int, place: int = 0) -> Step:
        """The step of order 1 from t to s: its lambda2 and gamma are what a covariance is lifted by.

        Args:
            schedule: the noise schedule.
            s, t: where to, and where from.
            place: its place in the walk, 0 for the first, which leaves the noise.
        """
        assert self.eta is not None, "a solver whose eta follows a rule makes its own steps"
        several = _several(self.eta)
        return Step(schedule, s, t, several[min(place, len(several) - 1)])

    def steps(self, schedule: NoiseSchedule, grid: Grid) -> tuple[Step, ...]:
        """The steps of a grid, in the order they are taken.

        Raises:
            UsageError: one eta a step, and another number of steps.
        """
        if isinstance(self.eta, tuple) and len(self.eta) != grid.K:
            raise UsageError(
                f"--eta lists {len(self.eta)} numbers, one a step, and the grid has {grid.K} steps; give one number, "
                "or one for each"
            )
        return tuple(self.step(schedule, s, t, place) for place, (s, t) in enumerate(grid.pairs()))

    @abstractmethod
    def walk(self, steps: Sequence[Step]) -> Walk:
        """A new walk, which has seen nothing, along steps that :meth:`steps` made."""

    @property
    def label(self) -> str:
        """The name, and what was chosen where it is not the solver's own."""
        own, mine = type(self)().as_dict(), self.as_dict()
        others = [f"{key}{_word(value)}" for key, value in mine.items() if key != "made_of" and value != own[key]]
        return "-".join([self.name, *others])

    def as_dict(self) -> dict[str, Any]:
        """What decides its steps, as plain values: its name, its eta, its fields, and what it was given."""
        chosen = {name: getattr(self, name) for name in self._options()}
        eta = [float(one) for one in self.eta] if isinstance(self.eta, tuple) else self.eta
        known = {"made_of": self.made_of} if self.needs else {}
        return {"name": self.name, **chosen, "eta": float(eta) if isinstance(eta, int) else eta, **known}

    @property
    def made_of(self) -> dict[str, str]:
        """Digests of the statistics that it was given, by the names that these have as files in a run."""
        given = [getattr(self, name) for name in self.needs]
        return {one.file: one.digest for one in given if one is not None}


def _several(eta: Eta) -> tuple[float, ...]:
    return eta if isinstance(eta, tuple) else (eta,)


def _word(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "+".join(_word(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
