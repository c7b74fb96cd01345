"""The times of a configuration: a rule for any number of steps, or those that its sampler was found with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import make_grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Eta

__all__ = ["PackedTimes"]


@dataclass(frozen=True, eq=False)
class PackedTimes:
    """How K times are found.

    Attributes:
        schedule: the noise schedule.
        rule: the name of a grid, or the K times of 1..T.
        until: the time over which a named grid is spread; None: T.
        eta: of the solver; one a step allows no other number of steps.
        told: K where nobody says another; None: the configuration says none.
    """

    schedule: NoiseSchedule
    rule: str | Sequence[int]
    until: int | None
    eta: Eta | None
    told: int | None

    @property
    def own_steps(self) -> int | None:
        """K where nobody says another; None: there is no such K."""
        return self.told or self._only

    @property
    def most(self) -> int:
        """The largest K there is."""
        return self._only or self.until or self.schedule.T

    @property
    def _only(self) -> int | None:
        """K of a sampler that has no other, because its times are listed or its noise is told step by step."""
        one_each = self.eta if isinstance(self.rule, str) else self.rule
        return len(one_each) if isinstance(one_each, list | tuple) else None

    def grid(self, steps: int | None, times: Sequence[int] | None) -> Grid:
        """The grid of K steps.

        Args:
            steps: K; None takes the sampler's own.
            times: K times of 1..T in the place of its own, in any order.

        Raises:
            ValueError: no number of steps, or another than the sampler can take.
            UsageError: times that cannot be.
        """
        if times is not None:
            return explicit(self.schedule.T, sorted(int(t) for t in times))
        K = self.own_steps if steps is None else steps
        if K is None:
            raise ValueError("how many steps? this sampler has no number of its own; say num_inference_steps")
        if self._only not in (None, K):
            raise ValueError(
                f"this sampler has {self._only} steps, each with its own time or noise, and not {K}; ask for "
                f"{self._only}"
            )
        if isinstance(self.rule, str):
            return make_grid(self.rule, self.schedule, K, self.until)
        return explicit(self.schedule.T, self.rule)
