"""What solvers that remember earlier looks share: the step of order 1, and a trend of x0_hat that is added to it.

    mean = (the mean of order 1) + gamma weight trend

In units of x_0, ``trend`` is how far the average of x0_hat over the step, weighted as the step weighs it, is expected
to lie from x0_hat(x_t): a combination of what earlier looks said. Methods on eps_hat have the same form, because at
one x_t a change of eps_hat by d is one of x0_hat by -sqrt(bbar_t / abar_t) d.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step, check_eta
from diffcov.errors import UsageError
from diffcov.solver.base import Solver
from diffcov.solver.through import THROUGH, check_through

__all__ = ["Multistep", "MultistepWalk", "Seen"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a look: the time, and x0_hat and eps_hat as the look says them."""

    t: int
    x0_hat: Tensor
    eps_hat: Tensor

    @classmethod
    def of(cls, look: Look) -> Seen:
        """What is kept of this look."""
        return cls(look.time, look.x0_hat, look.eps_hat)


@dataclass(frozen=True)
class Multistep(Solver):
    """Order 1 at the first step, one more with each look; order 1 again at the data, 2 just before it.

    Lower orders at both ends are as published: nothing is remembered at the noise, and at the data lambda is infinite.

    Args:
        order: how many looks make a mean, at most.
        weight: what the trend is multiplied by; 1 as published, 0 for the solver of order 1.
        through: how the mean of order 1 is written once x0_hat is clipped, a name of ``through.THROUGH``.

    Raises:
        UsageError: a value outside its range.
    """

    order: int = 2
    weight: float = 1.0
    through: str = "x_t"

    covers: ClassVar[bool] = False
    orders: ClassVar[tuple[int, ...]] = (1, 2, 3)
    """The orders that it has."""

    def __post_init__(self) -> None:
        if self.eta is not None:
            check_eta(self.eta)
        check_through(self.through)
        if self.order not in self.orders:
            raise UsageError(f"{self.name} has orders {self.orders[0]} to {self.orders[-1]}, found {self.order}")
        if not 0 <= self.weight <= 4:
            raise UsageError(f"--weight must be between 0 and 4, found {self.weight:g}; 1 is the published one")

    def walk(self, steps: Sequence[Step]) -> MultistepWalk:
        """A walk that has seen nothing."""
        return MultistepWalk(self, len(steps))

    def plain(self, step: Step, look: Look) -> Tensor:
        """The mean of order 1, (B, C, H, W)."""
        return THROUGH[self.through](step, look)

    @abstractmethod
    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """The expected change of x0_hat over a step with s > 0.

        Args:
            step: the step.
            seen: looks, the one at x_t first, as many as the order of this step, at least 2.

        Returns:
            (B, C, H, W), in units of x_0.
        """


class MultistepWalk:
    """One walk of a multistep solver.

    Args:
        solver: the method.
        steps: how many steps there are, the one to the data included.
    """

    def __init__(self, solver: Multistep, steps: int) -> None:
        self.solver = solver
        self.left = steps
        self.seen: deque[Seen] = deque(maxlen=solver.order)

    def mean(self, step: Step, look: Look) -> Tensor:
        """The mean of order 1 and the weighted trend."""
        seen = self.see(look)
        plain = self.solver.plain(step, look)
        if len(seen) == 1 or self.solver.weight == 0:
            return plain
        return plain + self.solver.weight * step.gamma * self.solver.trend(step, seen)

    def see(self, look: Look) -> list[Seen]:
        """Remember a look; the looks that the step from it is made of, newest first."""
        self.seen.appendleft(Seen.of(look))
        self.left -= 1
        return list(self.seen)[: min(self.solver.order, self.left + 1)]
