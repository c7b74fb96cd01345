"""Which times an experiment visits, from a name or a list."""

from __future__ import annotations

from collections.abc import Iterable

from diffcov.covariance.base import Covariance
from diffcov.diffusion.beginning import Beginning
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import ALIASES, GRIDS, make_grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, UsageError
from diffcov.store.binding import Trunk
from diffcov.store.grids import GridsFile, load_grids
from diffcov.store.run import RunFolder
from diffcov.study.listener import Listener

__all__ = ["NAMED", "OPTIMAL", "check_made_for", "grid_name", "open_optimal", "pick_grid", "warn_of_beginning"]

OPTIMAL = "optimal"
NAMED = (*GRIDS, OPTIMAL)
"""Names of grids; all of them need a number of steps."""


def grid_name(text: str) -> str:
    """The name that a grid goes by now."""
    return ALIASES.get(text, text)


def pick_grid(
    text: str, schedule: NoiseSchedule, steps: int | None, optimal: GridsFile | None = None, start: int | None = None
) -> Grid:
    """A named grid of ``steps`` times, or a list such as "1,250,500,1000".

    Args:
        text: a name of :data:`NAMED`, or times.
        schedule: of the mean.
        steps: K; None for a list.
        optimal: the searched grids, for that name.
        start: the time over which a named grid is spread in the place of T; a list ends there.

    Raises:
        UsageError: no such name, a list with a wrong entry, a list beside another number of steps, no steps, or a
            start that the times do not have.
    """
    name = grid_name(text)
    if name in NAMED and steps is None:
        raise UsageError(f"--grid {text} needs --steps")
    if name in GRIDS and steps is not None:
        return make_grid(name, schedule, steps, start)
    if name == OPTIMAL and steps is not None:
        if optimal is None:
            raise UsageError("--grid optimal is for sample and evaluate: it is searched with a covariance")
        return _starting(optimal.found.grid(steps), start)
    try:
        times = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--grid must be one of {', '.join(NAMED)} or times such as 1,500,1000; found {text!r}"
        ) from None
    if steps is not None and steps != len(times):
        raise UsageError(f"--steps {steps} was asked for, but --grid lists {len(times)} times; leave one out")
    return _starting(explicit(schedule.T, times), start)


def _starting(grid: Grid, start: int | None) -> Grid:
    """The grid, whose times are told. UsageError if it ends elsewhere than at a start that was asked for."""
    if start not in (None, grid.times[-1]):
        raise UsageError(
            f"--start {start} was asked for, and these times end at {grid.times[-1]}; leave one out, or name a grid"
        )
    return grid


def open_optimal(text: str, run: RunFolder, covariance: str, trunk: Trunk) -> GridsFile | None:
    """The run's searched grids of a covariance if they are asked for, else None.

    Raises:
        InputError: they were not searched, or for another mean model.
    """
    if text != OPTIMAL:
        return None
    path = run.grids(covariance)
    if not path.is_file():
        raise InputError(
            f"{run.path} holds no optimal grids for {covariance} ({path.name}); "
            f"run: diffcov trajectory --covariance {covariance}"
        )
    found = load_grids(path, trunk)
    if found.covariance != covariance:
        raise InputError(
            f"{path} holds the optimal grids of {found.covariance}, not of {covariance}; search them with: "
            f"diffcov trajectory --covariance {covariance} --force"
        )
    return found


def check_made_for(optimal: GridsFile | None, covariance: Covariance, clip_x0: bool, guidance: float) -> None:
    """Refuse (InputError) grids that were searched with another table or head, clip of x0_hat, or guidance."""
    if optimal is None:
        return
    name = covariance.name
    if optimal.config["clip_x0"] != clip_x0:
        there, here = ("with", "without") if optimal.config["clip_x0"] else ("without", "with")
        raise InputError(
            f"the optimal grids of {name} were searched {there} --clip-x0, and this is {here} it; give the same, or "
            f"search again with: diffcov trajectory --covariance {name} --force"
        )
    searched_at = optimal.config.get("guidance", 1.0)
    if searched_at != guidance:
        raise InputError(
            f"the optimal grids of {name} were searched at guidance {searched_at:g}, and this is {guidance:g}; search "
            f"again with: diffcov trajectory --covariance {name} --guidance {guidance:g} --force"
        )
    if optimal.fitted != covariance.made_of:
        raise InputError(
            f"the optimal grids of {name} were searched with another table or head than the run holds now; search "
            f"again with: diffcov trajectory --covariance {name} --force"
        )


def warn_of_beginning(grids: Iterable[Grid], schedule: NoiseSchedule, say: Listener) -> None:
    """Warn of chains that begin with noise where images still show; once for each time where they do."""
    for begins in sorted({Beginning.of(grid, schedule) for grid in grids}, key=lambda one: one.time):
        whole = "" if begins.time == begins.T else "take a grid that ends at T such as --grid even, or "
        text = f"{begins}; {whole}begin with a draw from the Gaussian of the images by --start {begins.time}"
        if begins.late and say.first_time(text):
            say.warn(text)
