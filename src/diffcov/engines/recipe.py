"""What a user picks of a sampler, whatever the mean: solver and its numbers, covariance and its share, grid and view.

Importing this file imports no torch, so that ``--help`` and completion know the recipes by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from diffcov.covariance.registry import COVARIANCES
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import ALIASES, GRIDS, make_grid
from diffcov.errors import InputError, UsageError
from diffcov.solver.registry import SOLVERS

if TYPE_CHECKING:
    from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["LITERATURE", "NOTHING", "OF_SOLVER", "USUAL", "Recipe"]

NOTHING = "small"
"""The covariance that adds nothing to what a solver keeps."""
OF_SOLVER = ("eta", "order", "weight", "through", "low_band", "high_band")
"""Whatever a solver can be told, by the names of its fields; each knows some of it."""


@dataclass(frozen=True)
class Recipe:
    """A sampler without its mean; None is whatever the solver has by itself.

    Attributes:
        solver: a registered name.
        covariance: a registered name, :data:`NOTHING` for none beside what the solver keeps.
        grid: a name of ``diffusion.grids.GRIDS``, or the times.
        eta: noise that steps keep, one number or one a step.
        order: looks that a step is made of.
        weight: w, of the trend from earlier looks.
        through: how the mean is written once x0_hat is clipped.
        share: c, the share of the covariance that is put back.
        eps_scale: what eps_hat is divided by.
        clip_x0: whether x0_hat is kept in the data's range.
        low_band, high_band: coefficients of the correction by Haar bands.
        start: the time over which a named grid is spread in the place of T; its last one is drawn from the Gaussian of
            the images. None: the walk begins with noise.

    Raises:
        UsageError: a name that is not registered, or a share or scale outside its range.
    """

    solver: str = "ddpm"
    covariance: str = NOTHING
    grid: str | tuple[int, ...] = "even"
    eta: float | tuple[float, ...] | None = None
    order: int | None = None
    weight: float | None = None
    through: str | None = None
    share: float = 1.0
    eps_scale: float = 1.0
    clip_x0: bool = True
    low_band: float | None = None
    high_band: float | None = None
    start: int | None = None

    def __post_init__(self) -> None:
        known = (tuple(SOLVERS), tuple(COVARIANCES), (*GRIDS, *ALIASES))
        for name, names in zip((self.solver, self.covariance, self.grid), known, strict=True):
            if isinstance(name, str) and name not in names:
                raise UsageError(f"a recipe names {name!r}, which is unknown; choose one of {', '.join(names)}")
        if not 0 <= self.share <= 1:
            raise UsageError(f"--share of the covariance to put back must be between 0 and 1, found {self.share:g}")
        if not 0 < self.eps_scale < math.inf:
            raise UsageError(f"the eps_scale of a recipe must be a positive number, found {self.eps_scale:g}")
        if self.start is not None and not isinstance(self.grid, str) and self.start != self.grid[-1]:
            raise UsageError(f"listed times that end at {self.grid[-1]} start there, and not at {self.start}")

    @property
    def of_solver(self) -> dict[str, Any]:
        """What is told to the solver."""
        return {name: getattr(self, name) for name in OF_SOLVER}

    def times(self, schedule: NoiseSchedule, K: int) -> Grid:
        """The times of K steps.

        Raises:
            UsageError: more steps than there are times, a start that is none, or listed times that are not K.
        """
        if isinstance(self.grid, str):
            return make_grid(self.grid, schedule, K, self.start)
        if len(self.grid) != K:
            raise UsageError(
                f"the recipe lists {len(self.grid)} times, and {K} steps were asked for; leave --steps out"
            )
        return explicit(schedule.T, self.grid)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`.

        Raises:
            InputError: a field that recipes do not have.
        """
        unknown = values.keys() - {one.name for one in fields(cls)}
        if unknown:
            raise InputError(f"a recipe has no {', '.join(sorted(unknown))}; it was written by another version")
        told: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in values.items()}
        return cls(**told)

    @property
    def label(self) -> str:
        """What it is in a few words: solver and its numbers, then whatever is not usual."""
        parts = [self.solver + ("" if self.order is None else f"-{self.order}")]
        if self.covariance != NOTHING:
            parts.append(self.covariance + ("" if self.share == 1 else f" c {self.share:.3g}"))
        told = {
            "eta": self.eta, "w": self.weight, "through": self.through,
            "low band": self.low_band, "high band": self.high_band,
        }  # fmt: skip
        parts += [f"{name} {_word(value)}" for name, value in told.items() if value is not None]
        if self.grid != "even":
            parts.append(self.grid if isinstance(self.grid, str) else "times " + ",".join(map(str, self.grid)))
        if self.start is not None:
            parts.append(f"start {self.start}")
        if self.eps_scale != 1:
            parts.append(f"eps_hat / {self.eps_scale:.4g}")
        return ", ".join(parts if self.clip_x0 else [*parts, "no clip"])


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(_word(one) for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


LITERATURE: dict[str, Recipe] = {
    "ddpm-small": Recipe("ddpm"),
    "ddpm-large": Recipe("ddpm", "large"),
    "ddim": Recipe("ddim"),
    "analytic-ddpm": Recipe("ddpm", "analytic"),
    "analytic-ddim": Recipe("ddim", "analytic"),
    "npr-ddpm": Recipe("ddpm", "npr"),
    "npr-ddim": Recipe("ddim", "npr"),
    "sn-ddim": Recipe("ddim", "sn"),
    "ocm-ddim": Recipe("ddim", "ocm"),
    "addim": Recipe("addim"),
    "dcw": Recipe("dcw"),
    "dpmpp-2m": Recipe("dpmpp", order=2),
    "dpmpp-3m": Recipe("dpmpp", order=3),
    "sde-dpmpp-2m": Recipe("dpmpp", order=2, eta=1.0),
    "unipc": Recipe("unipc", order=2),
    "unipc-3": Recipe("unipc", order=3),
    "ipndm": Recipe("ipndm", order=3),
    "deis": Recipe("deis", order=3),
    "er-sde": Recipe("er-sde", order=3),
    "spectral-ddpm": Recipe("ddpm", "spectral"),
    "spectral-ddim": Recipe("ddim", "spectral"),
    "spectral-ei": Recipe("spectral-ei", order=2),
}
"""Recipes of the literature, and three of ours, by name; on even times, as published otherwise."""

USUAL = ("ddim", "dpmpp-2m", "unipc", "ipndm", "er-sde")
"""What a user would pick who has never heard of covariances."""
