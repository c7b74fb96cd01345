"""Which times a command visits, from its options."""

from __future__ import annotations

from diffcov.errors import UsageError
from diffcov.trajectory import TRAJECTORIES, Trajectory, explicit

__all__ = ["pick_trajectory"]


def pick_trajectory(text: str, T: int, steps: int | None) -> Trajectory:
    """A named trajectory of ``steps`` times, or a list such as "1,250,500,1000".

    Raises:
        UsageError: no such name, a list with a wrong entry, a list beside another number of steps, or no steps.
    """
    if text in TRAJECTORIES:
        if steps is None:
            raise UsageError(f"--trajectory {text} needs --steps")
        return TRAJECTORIES[text](T, steps)
    try:
        times = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--trajectory must be one of {', '.join(TRAJECTORIES)} or times such as 1,500,1000; found {text!r}"
        ) from None
    if steps is not None and steps != len(times):
        raise UsageError(f"--steps {steps} was asked for, but --trajectory lists {len(times)} times; leave one out")
    return explicit(T, times)
