"""From a mean model and a view to the denoiser that sees just that."""

from __future__ import annotations

from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.guided import Guided
from diffcov.denoiser.scaled import Scaled

__all__ = ["through"]


def through(mean: Denoiser, view: View) -> Denoiser:
    """Guidance first, then the scale, then the clip; what the view leaves alone costs nothing.

    Raises:
        UsageError: a view that the mean does not allow.
    """
    found = mean
    if view.guidance != 1:
        found = Guided(found, view.guidance)
    if view.eps_scale != 1:
        found = Scaled(found, view.eps_scale)
    if view.clip_x0:
        found = Clipped(found)
    return found
