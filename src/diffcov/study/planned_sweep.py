"""One sweep that measures each of its times for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep_rounds import Swept, estimate_in_rounds
from diffcov.processes.base import current
from diffcov.statistics.base import Placement, Statistic
from diffcov.statistics.knots import Knots
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import Part
from diffcov.store.statistics import StatisticFile
from diffcov.study.grids import pick_grid
from diffcov.study.keeping import Interval
from diffcov.study.kept_sweep import Result, packed, unpacked
from diffcov.study.listener import Listener
from diffcov.study.opening import Opened, asked_precision
from diffcov.study.requests.measure import EstimateRequest
from diffcov.study.run_sweep import Kinds, RunSweep, check_together
from diffcov.study.wishes import Keeper

__all__ = ["PlannedSweep"]

SAMPLES, KNOTS, KNOT_SAMPLES = 25, 32, 1000
"""Images at each time, knots, and images at each knot, where single times are asked for and not how many."""


@dataclass(frozen=True, kw_only=True)
class PlannedSweep(RunSweep):
    """The statistics of one placement.

    Attributes:
        times: where.
        samples: images at each time, now.
        first: number of the first of them.
    """

    times: tuple[int, ...]
    samples: int
    first: int

    @classmethod
    def planned(
        cls,
        request: EstimateRequest,
        mean: MeanCheckpoint,
        opened: Opened,
        placement: Placement,
        kinds: Kinds,
        held: Mapping[type[Statistic], StatisticFile[Any] | None],
    ) -> PlannedSweep:
        """A sweep that is sure to be possible; nothing has been measured yet.

        Raises:
            InputError: what is there was measured on other images, or some of it without the rest.
        """
        every = placement is Placement.EVERY_TIME
        samples = (request.samples or SAMPLES) if every else (request.knot_samples or KNOT_SAMPLES)
        there = {kind: file for kind in kinds if (file := held.get(kind)) is not None}
        common: dict[str, Any] = {
            "mean": mean, "opened": opened, "kinds": kinds, "held": there, "samples": samples,
            "batch_size": request.batch_size, "compile": request.running.compile,
        }  # fmt: skip
        if not there:
            schedule = mean.spec.reading.schedule
            times = _asked_times(request, schedule) if every else Knots.spread(schedule, request.knots or KNOTS).times
            return cls(
                **common, times=times, first=0, seed=request.seed or 0,
                precision=asked_precision(request.running, mean), guidance=request.guidance,
            )  # fmt: skip
        first = next(iter(there.values()))
        config = first.config
        check_together(kinds, there, opened)
        return cls(
            **common, times=tuple(config["times"]), first=config["samples"], seed=config["seed"],
            precision=config["precision"], guidance=first.guidance,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Its placement's: there is one sweep of each."""
        return self.kinds[0].placement.name

    def measured(self, keeper: Keeper, say: Listener) -> list[Result]:
        """Sweep, and merge with what is held; rounds are kept now and then, and a second try goes on with the next."""
        images = len(self.times) * self.samples
        denoiser = self.prepared(images, None, say)
        name, identity = f"rounds-{self.name}", {**self.identity, "times": list(self.times), "samples": self.samples}
        begun, interval = self._begun(keeper.part(name, identity), say), Interval()

        def on_round(swept: Swept) -> None:
            if current().agreed(interval.over()):
                keeper.save_part(name, identity, Part(packed(swept.found), {"times": swept.times}))
                interval.again()

        with say.progress(self.title, images, "images") as bar:
            found = estimate_in_rounds(
                denoiser, self.opened.examples, self.kinds, self.times, self.samples,
                seed=self.seed, first=self.first, batch_size=self.batch_size, flip=self.flip, colour=self.colour,
                begun=begun, on_batch=bar.update, on_round=on_round,
            )  # fmt: skip
        whole = [one.merge(self.held[kind].statistic) if kind in self.held else one for kind, one in found.items()]
        return [self.result(one, self.first + self.samples, self.times) for one in whole]

    def _begun(self, part: Part | None, say: Listener) -> Swept | None:
        """The rounds that an earlier try has measured."""
        if part is None:
            return None
        swept = Swept(unpacked(part.tensors, self.kinds), part.values["times"])
        say.note(f"going on: {swept.times:,} of {len(self.times):,} times are measured")
        return swept


def _asked_times(request: EstimateRequest, schedule: NoiseSchedule) -> tuple[int, ...]:
    if request.steps is None and request.grid is None:
        return tuple(range(1, schedule.T + 1))
    return pick_grid(request.grid or "even", schedule, request.steps).times
