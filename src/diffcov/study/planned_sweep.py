"""One sweep over the data that begins or extends statistics of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.denoiser.through import through
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError
from diffcov.statistics.base import Placement, Statistic
from diffcov.statistics.knots import Knots
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.store.statistics import StatisticFile, save_statistic
from diffcov.study.grids import pick_grid
from diffcov.study.listener import Listener
from diffcov.study.opening import Opened, asked_precision
from diffcov.study.quickest import Work, choose_way
from diffcov.study.requests.measure import EstimateRequest

__all__ = ["Kinds", "Measured", "PlannedSweep", "check_together", "held_colour", "saved"]

SAMPLES, KNOTS, KNOT_SAMPLES = 25, 32, 1000
"""Images at each time, knots, and images at each knot, where single times are asked for and not how many."""

Kinds = Sequence[type[Statistic]]
ALIKE: dict[str, Callable[[StatisticFile[Any]], Any]] = {
    "numbers of images": lambda file: file.config["samples"],
    "times": lambda file: file.config["times"],
    "seeds": lambda file: file.config["seed"],
    "precisions": lambda file: file.config["precision"],
    "mirroring": lambda file: file.config["flip"],
    "guidance": lambda file: file.guidance,
}
"""What statistics of one sweep must have in common to go on together: only then do they hold the same samples."""


@dataclass(frozen=True)
class Measured:
    """One statistic as it stands in the run now.

    Attributes:
        statistic: all images together.
        path: its file.
        digest: of the file.
        samples: images at each time, or all of them together of one that lays curves.
    """

    statistic: Statistic
    path: Path
    digest: str
    samples: int


@dataclass(frozen=True)
class PlannedSweep:
    """The statistics of one placement, what they go on from, and how.

    Attributes:
        mean: the mean model; its precision is set to the sweep's.
        opened: the images.
        placement: of all these statistics.
        kinds: which.
        held: by class, what is there; empty where they begin.
        times: where.
        samples: images at each time, now.
        first: number of the first of them.
        seed, precision, guidance, batch_size, compile: as asked for, or as those that are there were measured.
    """

    mean: MeanCheckpoint
    opened: Opened
    placement: Placement
    kinds: Kinds
    held: Mapping[type[Statistic], StatisticFile[Any]]
    times: tuple[int, ...]
    samples: int
    first: int
    seed: int
    precision: str
    guidance: float
    batch_size: int
    compile: Literal["auto", "on", "off"]

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
        if not there:
            schedule = mean.spec.reading.schedule
            times = _asked_times(request, schedule) if every else Knots.spread(schedule, request.knots or KNOTS).times
            return cls(
                mean, opened, placement, kinds, {}, times, samples, 0, request.seed or 0,
                asked_precision(request.running, mean), request.guidance, request.batch_size, request.running.compile,
            )  # fmt: skip
        first = next(iter(there.values()))
        config = first.config
        check_together(kinds, there, opened)
        return cls(
            mean, opened, placement, kinds, there, tuple(config["times"]), samples, config["samples"], config["seed"],
            config["precision"], first.guidance, request.batch_size, request.running.compile,
        )  # fmt: skip

    def measure(self, run: RunFolder, say: Listener) -> dict[str, Measured]:
        """Sweep, merge, save."""
        flip = bool(self.mean.settings.get("flip", False))
        self.mean.model.autocast = PRECISIONS[self.precision]
        denoiser = through(self.mean.model, View(guidance=self.guidance))
        calls = -(-len(self.times) * self.samples // self.batch_size) * denoiser.calls
        choose_way(self.mean.model, Work(self.batch_size, calls), self.compile, say)
        title = ", ".join(kind.name for kind in self.kinds)
        with say.progress(title, len(self.times) * self.samples, "images") as bar:
            found = estimate(
                denoiser, self.opened.examples, self.kinds, self.times, self.samples,
                seed=self.seed, first=self.first, batch_size=self.batch_size, flip=flip, colour=held_colour(self.held),
                on_batch=bar.update,
            )  # fmt: skip
        out = {}
        for kind, statistic in found.items():
            total = statistic.merge(self.held[kind].statistic) if kind in self.held else statistic
            config = {
                "samples": self.first + self.samples, "times": list(self.times), "seed": self.seed, "flip": flip,
                "precision": self.precision, "view": View(kind.clips, guidance=self.guidance).as_dict(),
                "data": self.opened.provenance, "call": self.mean.model.caller.way.as_dict(),
            }  # fmt: skip
            out[kind.name] = saved(run, self.mean, total, config, say)
        return out


def held_colour(held: Mapping[type[Statistic], StatisticFile[Any]]) -> Tensor | None:
    """The rotation of the channels under which what is there was measured; None where nothing there has one."""
    return next((file.statistic.colour for file in held.values() if hasattr(file.statistic, "colour")), None)


def saved(run: RunFolder, mean: MeanCheckpoint, whole: Statistic, config: dict[str, Any], say: Listener) -> Measured:
    """Keep a statistic in its run, and say what people should know of it."""
    path = run.ingredient(type(whole))
    digest = save_statistic(path, whole, mean.spec.reading, mean.digest, config)
    for remark in whole.remarks():
        say.note(remark)
    return Measured(whole, path, digest, config["samples"])


def _asked_times(request: EstimateRequest, schedule: NoiseSchedule) -> tuple[int, ...]:
    if request.steps is None and request.grid is None:
        return tuple(range(1, schedule.T + 1))
    return pick_grid(request.grid or "even", schedule, request.steps).times


def check_together(kinds: Kinds, there: Mapping[type[Statistic], StatisticFile[Any]], opened: Opened) -> None:
    """Refuse (InputError) to extend statistics of other images, or some that do not hold the same as the rest."""
    for kind, file in there.items():
        if file.config["data"]["digest"] != opened.provenance["digest"]:
            raise InputError(
                f"--add needs the images that {kind.file} was measured on; give the same --data and --limit"
            )
    apart = [what for what, key in ALIKE.items() if len({str(key(file)) for file in there.values()}) > 1]
    missing = [kind.file for kind in kinds if kind not in there]
    if missing or apart:
        held = f"{missing[0]} does not exist" if missing else f"they have different {', '.join(apart)}"
        files = " and ".join(kind.file for kind in kinds)
        raise InputError(
            f"--add goes on with {files} together, and {held}; add with --no-full, or measure anew with --full --force"
        )
