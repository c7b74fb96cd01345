"""What people should know of a variance table once it is measured."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["on_gamma", "on_stderr"]


def on_gamma(Gamma: Tensor, above: Sequence[int], times: Sequence[int]) -> str | None:
    """Where E||eps_hat||^2 / d (T+1,) is above 1, as it is for no perfect mean; None where it is nowhere."""
    if not above:
        return None
    worst = max(above, key=lambda t: float(Gamma[t]))
    return (
        f"E||eps_hat||^2/d exceeds 1 at {len(above)} of {len(times)} times (largest "
        f"{float(Gamma[worst]):.4f} at t={worst}): the mean is imperfect there, and analytic takes its lower bound"
    )


def on_stderr(relative: Tensor, images: int, knots: int | None) -> str:
    """How well E||eps - eps_hat||^2 is known.

    Args:
        relative: standard errors over means at all times that a table speaks of; NaN where they are unknown.
        images: at each time, or at all knots together.
        knots: how many, of a table with curves.
    """
    known = relative[~relative.isnan()]
    shown = "unknown from one image" if not len(known) else f"{float(known.median()):.1%}"
    if knots is None:
        return f"{images} images at {len(relative)} times; median standard error of a variance {shown}"
    worst = f"{float(known.max()):.1%} (worst)" if len(known) else "unknown"
    return (
        f"{images} images at {knots} knots; standard error of the squared error at all {len(relative)} times "
        f"{shown} (median), {worst}"
    )
