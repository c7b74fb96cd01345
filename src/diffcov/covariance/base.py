"""What every covariance states about itself: its name, its needs, its formula, and how uncertain x_0 is at a look.

The one idea: a covariance says how uncertain x_0 is given x_t; the solver's *step* lifts that to x_s. Bounds are
applied before the lift, because the lift can amplify an error ten million times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from diffcov.covariance.form import Form
from diffcov.covariance.ingredients import Ingredient, Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import NoAnswerError, NonFiniteError, UsageError
from diffcov.gaussian import Diagonal
from diffcov.solver.base import Solver

__all__ = ["Covariance"]

MAKING = {"unbounded", "at", "pixel_bound", "head_at"}
"""Methods that make var_x0."""


class Covariance(ABC):
    """The covariance of p(x_s | x_t), as that of x_0 given x_t. Subclasses are one file each.

    Args:
        ingredients: what was measured and fitted; other parts than the needed ones are left alone.

    Raises:
        InputError: something is missing, or was measured of another schedule or other images; the command that makes it
            is named.
    """

    name: ClassVar[str]
    """Name in the registry and on the command line."""
    needs: ClassVar[tuple[type[Ingredient], ...]] = ()
    """Classes of what must have been measured or fitted."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Names of tensors that it reads of its statistics and that some files lack (published tables lack the error)."""
    needs_signal: ClassVar[bool] = False
    """Whether what it knows of eps says nothing of x_0 where alpha_bar_t = 0."""
    reads_range: ClassVar[bool] = False
    """Whether it reads the variance that the network itself learned beside its mean, which most networks did not."""
    of_ddpm: ClassVar[bool] = False
    """Whether it is the variance of a DDPM step, and none of any other."""
    summary: ClassVar[str]
    """One line for help and tables."""
    formula: ClassVar[str]
    """var_x0 in plain text."""
    form: ClassVar[Form | None] = None
    """Which of the ways that leave the house makes var_x0; None if it is another. A subclass that makes it anew, by any
    method of :data:`MAKING`, has none unless it says so."""
    reference: ClassVar[str]
    """Where it comes from."""
    likelihood_caution: ClassVar[str | None] = None
    """What to know before trusting its likelihood where variances lie at the floor; None: nothing."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "form" not in vars(cls) and vars(cls).keys() & MAKING:
            cls.form = None

    def __init__(self, ingredients: Ingredients) -> None:
        ingredients.require(self.needs, self.name, f"the {self.name} covariance needs")
        self.ingredients = ingredients.only(self.needs)
        self.schedule, self.data = ingredients.schedule, ingredients.data
        self.ingredients.check_fit()

    @abstractmethod
    def unbounded(self, look: Look) -> Diagonal:
        """Cov[x_0 | x_t] before any clip, in units of x_0 squared; it may leave the bounds."""

    def at(self, look: Look) -> Diagonal:
        """Cov[x_0 | x_t], every variance within its bounds.

        Args:
            look: at x_t of one time, through any view.

        Raises:
            NoAnswerError: a time at which it says nothing.
        """
        self._check_signal(look.time)
        return self.unbounded(look).clipped(self.pixel_bound(look.time))

    def checked(self, look: Look) -> Diagonal:
        """The same as :meth:`at`, once it is sure that there is no NaN in it.

        Raises:
            NonFiniteError: there is.
        """
        found = self.at(look)
        if found.var.isnan().any():
            raise NonFiniteError(f"the {self.name} covariance gives NaN at t={look.time}: its table or head is broken")
        return found

    def pixel_bound(self, t: int) -> float:
        """The largest variance of one pixel; what that makes of a coefficient is the basis's to say.

        For every x_t that is ((high - low) / 2)^2, the largest variance of a variable in [low, high]. The other bound
        of arXiv 2201.06503 (theorem 2), r, holds for the mean over x_t alone: at one x_t, Var[eps | x_t] can exceed 1,
        and does where a pixel is undecided between two values. So only ``analytic`` takes it.
        """
        return self.data.var_bound

    def check_times(self, times: tuple[int, ...]) -> None:
        """Refuse times at which it says nothing (NoAnswerError), or what it was built from (InputError)."""
        for t in times:
            self._check_signal(t)
        for part in self.ingredients.parts.values():
            if hasattr(part, "check_times"):
                part.check_times(times)

    def check_mean(self, schedule: NoiseSchedule, data: DataDescription) -> None:
        """Refuse (UsageError) a mean of another schedule or of other images than it was built for."""
        if (self.schedule, self.data) != (schedule, data):
            what = "another schedule than that of" if self.schedule != schedule else f"{self.data}, and not {data} of"
            raise UsageError(f"the {self.name} covariance was built for {what} the mean; build it for this one")

    def _check_signal(self, t: int) -> None:
        if self.needs_signal and self.schedule.alpha_bar[t] == 0:
            raise NoAnswerError(
                f"{self.name} has no value at t={t}, where alpha_bar is 0 and eps_hat says nothing of x_0; use "
                "corrected, or times below it"
            )

    @classmethod
    def check_solver(cls, solver: Solver) -> None:
        """Refuse a solver that this covariance has no meaning for (UsageError). Most have one for all."""
        if cls.of_ddpm and solver.eta != 1:
            raise UsageError(
                f"the {cls.name} covariance is the variance of a DDPM step and means nothing for {solver.label}, whose "
                "steps are others; use --solver ddpm, or another covariance"
            )

    @classmethod
    def suits(cls, solver: Solver) -> bool:
        """Whether this covariance has a meaning for a solver."""
        try:
            cls.check_solver(solver)
        except UsageError:
            return False
        return True

    @cached_property
    def made_of(self) -> dict[str, str]:
        """Digests of what it was built from, by the names that these have as files in a run."""
        return {kind.file_for(self.name): self.ingredients[kind].digest for kind in self.needs}

    def as_dict(self) -> dict[str, Any]:
        """What decides its answers, as plain values."""
        return {"name": self.name, "made_of": self.made_of}
