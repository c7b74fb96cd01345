"""Which times a command visits, from its options."""

from __future__ import annotations

from diffcov.diffusion.grid import TRAJECTORIES, Trajectory, explicit
from diffcov.errors import InputError, UsageError
from diffcov.store.run import Run
from diffcov.store.trajectory import TrajectoryFile, load_trajectories

__all__ = ["NAMED", "OPTIMAL", "check_made_for", "open_optimal", "pick_trajectory"]

OPTIMAL = "optimal"
NAMED = (*TRAJECTORIES, OPTIMAL)
"""Words for ``--trajectory``; all of them need ``--steps``."""


def pick_trajectory(text: str, T: int, steps: int | None, optimal: TrajectoryFile | None = None) -> Trajectory:
    """A named trajectory of ``steps`` times, or a list such as "1,250,500,1000".

    Args:
        text: a word of :data:`NAMED`, or times.
        T: number of trained steps.
        steps: K; None for a list.
        optimal: the searched trajectories, for that word.

    Raises:
        UsageError: no such name, a list with a wrong entry, a list beside another number of steps, or no steps.
    """
    if text in NAMED and steps is None:
        raise UsageError(f"--trajectory {text} needs --steps")
    if text in TRAJECTORIES and steps is not None:
        return TRAJECTORIES[text](T, steps)
    if text == OPTIMAL and steps is not None:
        if optimal is None:
            raise UsageError("--trajectory optimal is for sample and evaluate: it is searched with a covariance")
        return optimal.found.trajectory(steps)
    try:
        times = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--trajectory must be one of {', '.join(NAMED)} or times such as 1,500,1000; found {text!r}"
        ) from None
    if steps is not None and steps != len(times):
        raise UsageError(f"--steps {steps} was asked for, but --trajectory lists {len(times)} times; leave one out")
    return explicit(T, times)


def open_optimal(text: str, run: Run, covariance: str, trunk: str) -> TrajectoryFile | None:
    """The run's searched trajectories of a covariance if ``--trajectory`` asks for them, else None.

    Raises:
        InputError: they were not searched, or for another mean model.
    """
    if text != OPTIMAL:
        return None
    path = run.trajectories(covariance)
    if not path.is_file():
        raise InputError(
            f"{run.path} holds no optimal trajectories for {covariance} ({path.name}); "
            f"run: diffcov trajectory --covariance {covariance}"
        )
    found = load_trajectories(path, trunk)
    if found.covariance != covariance:
        raise InputError(
            f"{path} holds the optimal trajectories of {found.covariance}, not of {covariance}; search them with: "
            f"diffcov trajectory --covariance {covariance} --force"
        )
    return found


def check_made_for(
    optimal: TrajectoryFile | None, covariance: str, fitted: dict[str, str], clip_x0: bool | None = None
) -> None:
    """Refuse (InputError) trajectories that were searched with another table or head, or another clip of x0_hat."""
    if optimal is not None and clip_x0 is not None and optimal.config["clip_x0"] != clip_x0:
        there, here = ("with", "without") if optimal.config["clip_x0"] else ("without", "with")
        raise InputError(
            f"the optimal trajectories of {covariance} were searched {there} --clip-x0, and this is {here} it; give "
            f"the same, or search again with: diffcov trajectory --covariance {covariance} --force"
        )
    if optimal is not None and optimal.fitted != fitted:
        raise InputError(
            f"the optimal trajectories of {covariance} were searched with another table or head than the run holds "
            f"now; search again with: diffcov trajectory --covariance {covariance} --force"
        )
