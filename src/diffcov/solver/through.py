"""The two ways to write the mean of a step of order 1, which differ once x0_hat is clipped.

Both are the posterior mean at x0_hat. DDPM writes it through x_t, so that the noise is recomputed from the clipped
x0_hat; DDIM through eps_hat as it was predicted. Where nothing binds they are one.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step
from diffcov.errors import UsageError

__all__ = ["THROUGH", "check_through"]


def _x_t(step: Step, look: Look) -> Tensor:
    return step.mean_from_x_t(look.x0_hat, look.x_t)


def _eps_hat(step: Step, look: Look) -> Tensor:
    return step.mean_from_eps(look.x0_hat, look.eps_hat)


THROUGH: dict[str, Callable[[Step, Look], Tensor]] = {"x_t": _x_t, "eps_hat": _eps_hat}
"""What the mean is written through beside x0_hat, by its name."""


def check_through(name: str) -> None:
    """Refuse (UsageError) a name that is none of :data:`THROUGH`."""
    if name not in THROUGH:
        raise UsageError(f"--through takes {' or '.join(THROUGH)}; found {name!r}")
