"""Mean model and images in, statistics out: begun, or extended by more images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.digest import digest_of_values
from diffcov.errors import InputError, UsageError
from diffcov.statistics.base import Placement, Statistic
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.registry import load_all
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.store.statistics import StatisticFile, load_statistic
from diffcov.study.curves_sweep import CurvesSweep, lays_curves
from diffcov.study.keeping import kept_beside
from diffcov.study.kept_sweep import KeptSweep
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import held_out_examples, open_mean, training_examples
from diffcov.study.owning import owning
from diffcov.study.planned_sweep import SAMPLES, PlannedSweep
from diffcov.study.range_check import IMAGES, keep_range_check, lacks_range_check
from diffcov.study.requests.measure import EstimateRequest
from diffcov.study.run_sweep import Kinds, Measured, in_the_run
from diffcov.study.stale import warn_of_stale_heads

__all__ = ["Estimated", "estimate_var"]

FEW_SAMPLES = 10
"""Below this the published likelihoods scatter by a bit/dim (arXiv 2201.06503, appendix G.2)."""


@dataclass(frozen=True)
class Estimated:
    """What one call measured.

    Attributes:
        schedule: of the mean.
        data: of the mean.
        measured: by the statistic's name, in the registry's order.
    """

    schedule: NoiseSchedule
    data: DataDescription
    measured: dict[str, Measured] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values: where each statistic is, and what it says of itself."""
        return {
            name: {
                "path": str(one.path), "digest": one.digest, "samples": one.samples,
                **one.statistic.summary(), **one.statistic.details(), "times": list(one.statistic.times),
            }
            for name, one in self.measured.items()
        }  # fmt: skip


@owning("estimate-var", lambda request: ["statistics"])
def estimate_var(request: EstimateRequest, listener: Listener | None = None) -> Estimated:
    """Measure (or extend) what a run knows of its mean's errors.

    Typed again after it was stopped, it goes on: with the next round of a sweep that lays curves, and with what is
    missing.

    Raises:
        UsageError: options that contradict each other.
        InputError: no mean, images that are gone or others, or statistics that cannot be extended.
        OutputError: something is already there.
        NonFiniteError: the network gave NaN or infinity.
    """
    say = listener or Silent()
    _check(request)
    run = RunFolder(request.place.run)
    run.require_mean()
    there = [kind for kind in load_all() if run.ingredient(kind).is_file()]
    if request.add and not there:
        raise InputError(f"{run.path} holds no statistics to add to; measure them with: diffcov estimate-var")
    mean = open_mean(request.place, request.running, say, request.batch_size)
    key = digest_of_values([repr(request), mean.digest])
    with kept_beside(run.path / "estimate-var", key, "diffcov estimate-var", say) as keeper:
        found = _measured(request, run, mean, KeptSweep(keeper, run, mean), say)
    warn_of_stale_heads(run, {one.path.name: one.digest for one in found.values()}, say)
    reading = mean.spec.reading
    if reading.learned_range and (request.force or lacks_range_check(run, mean)):
        held_out = held_out_examples(run, mean, say, request.data, IMAGES, None, request.pictures)
        keep_range_check(run, mean.model, held_out.examples, held_out.provenance, say)
    return Estimated(reading.schedule, reading.data, found)


def _measured(
    request: EstimateRequest, run: RunFolder, mean: MeanCheckpoint, kept: KeptSweep, say: Listener
) -> dict[str, Measured]:
    """What is asked for, in the registry's order: measured now, or by an earlier try of the same."""
    earlier = kept.written(say)
    out = {kind.name: in_the_run(run, *one) for kind, one in earlier.items()}
    there = [kind for kind in load_all() if run.ingredient(kind).is_file()]
    wanted = {placement: _wanted(run, mean, request, placement) for placement in Placement}
    wanted = {placement: [kind for kind in kinds if kind not in earlier] for placement, kinds in wanted.items()}
    if earlier and not any(wanted.values()):
        return out
    if there and not request.add and not request.force:
        wanted = _missing(run, mean, request, wanted, there, say)
    held = {kind: _held(run, mean, kind) for kinds in wanted.values() for kind in kinds} if request.add else {}
    beside = {kind: load_statistic(run.ingredient(kind), kind) for kind in there if not request.add}
    curved = next((file for file in beside.values() if lays_curves(file) and not request.force), None)
    together = _in_one_sweep(request, wanted, held, curved)
    wanted = {placement: [kind for kind in kinds if kind not in together] for placement, kinds in wanted.items()}
    _warn_of_few(request, wanted[Placement.EVERY_TIME], held, say)
    opened = training_examples(run, mean, say, request.data, request.limit, request.pictures)
    sweeps: list[CurvesSweep | PlannedSweep] = [
        PlannedSweep.planned(request, mean, opened, placement, kinds, held)
        for placement, kinds in wanted.items()
        if kinds
    ]
    if together:
        sweeps.insert(0, CurvesSweep.planned(request, mean, opened, together, held, curved))
    for sweep in sweeps:
        results = {type(one.statistic): one for one in sweep.measured(kept.keeper, say)}
        for kind, digest in kept.write(sweep.name, list(results.values())).items():
            for remark in results[kind].statistic.remarks():
                say.note(remark)
            out[kind.name] = in_the_run(run, results[kind], digest)
    return out


def _in_one_sweep(
    request: EstimateRequest,
    wanted: Mapping[Placement, Kinds],
    held: Mapping[type[Statistic], StatisticFile[Any] | None],
    beside: StatisticFile[Any] | None,
) -> Kinds:
    """What is measured together, with curves over log-SNR: by default all that can be, with --add what was.

    Raises:
        UsageError: --add with options of single times to curves, or with a goal to single times.
    """
    kinds = [kind for some in wanted.values() for kind in some if kind.smooths]
    goal = any(one is not None for one in (request.rtol, request.calls, request.minutes))
    if not request.add:
        alone = beside is None and not any(kind.decides for kind in kinds)  # nothing says where more is needed
        return [] if request.single_times or alone else kinds
    curved = any(file is not None and lays_curves(file) for file in held.values())
    if curved and request.single_times:
        raise UsageError(
            "--add goes on with curves over log-SNR, which have no single times; leave --samples and --knot-samples "
            "out and say how far: --rtol, --calls or --minutes"
        )
    if goal and not curved:
        raise UsageError(
            "--add goes on with single times, which have no common goal; leave --rtol, --calls and --minutes out and "
            "say how many: --samples, --knot-samples"
        )
    return kinds if curved else []


def _check(request: EstimateRequest) -> None:
    if request.single_times and any(one is not None for one in (request.rtol, request.calls, request.minutes)):
        raise UsageError(
            "--rtol, --calls and --minutes end a sweep that chooses its own times; leave them out with --samples, "
            "--steps, --grid, --knots or --knot-samples"
        )
    if request.rtol is not None and not 0 < request.rtol < 1:
        raise UsageError(f"--rtol is a relative standard error between 0 and 1, found {request.rtol:g}")
    if request.minutes is not None and not 0 < request.minutes < math.inf:
        raise UsageError(f"--minutes must be above 0, found {request.minutes:g}")
    if request.add and request.force:
        raise UsageError("--add keeps the existing table and --force replaces it; give one of them")
    told = (request.seed, request.steps, request.grid, request.knots, request.running.precision)
    if request.add and (any(option is not None for option in told) or request.guidance != 1):
        raise UsageError(
            "--add goes on with the table's own times, knots, seed, precision and guidance; leave those options out"
        )
    if request.full and request.knot_samples == 0:
        raise UsageError("--full measures at the knots, and --knot-samples 0 leaves them out; give a number")


def _wanted(run: RunFolder, mean: MeanCheckpoint, request: EstimateRequest, placement: Placement) -> Kinds:
    """The statistics of a placement that are to be measured.

    What is there is extended; where nothing is, whatever is measured unasked begins. ``--full`` overrules both.
    """
    if placement is Placement.AT_KNOTS and request.knot_samples == 0:
        return []
    data = mean.spec.reading.data
    kinds = [kind for kind in load_all() if kind.placement is placement]
    there = [kind for kind in kinds if request.add and run.ingredient(kind).is_file()]
    chosen = there or [kind for kind in kinds if kind.unasked(data)]
    if request.full is not None:
        chosen = [kind for kind in kinds if (request.full if kind is ResidualMatrices else kind in chosen)]
    for kind in chosen:
        kind.check(data)
    return chosen


def _missing(
    run: RunFolder,
    mean: MeanCheckpoint,
    request: EstimateRequest,
    wanted: Mapping[Placement, Kinds],
    there: Kinds,
    say: Listener,
) -> dict[Placement, Kinds]:
    """What is wanted and not there; OutputError if that is nothing, or if what is there is of another guidance."""
    missing: dict[Placement, Kinds] = {
        placement: [kind for kind in kinds if kind not in there] for placement, kinds in wanted.items()
    }
    others = [
        kind for kind in there if load_statistic(run.ingredient(kind), kind, mean.trunk).guidance != request.guidance
    ]
    if others or not any(missing.values()):
        refuse_existing(
            run.ingredient((others or there)[0]), False, "add images to it with --add, or replace it with --force"
        )
    say.note(f"{', '.join(kind.file for kind in there)} stays as it is; measuring what is missing")
    return missing


def _held(run: RunFolder, mean: MeanCheckpoint, kind: type[Statistic]) -> StatisticFile[Any] | None:
    path = run.ingredient(kind)
    found = load_statistic(path, kind, mean.trunk) if path.is_file() else None
    if found is not None and "imported" in found.config:
        raise InputError(
            f"{path} was published with the mean and holds no sums over images, so nothing can be added to it; measure "
            f"your own with: {kind.remedy}"
        )
    return found


def _warn_of_few(
    request: EstimateRequest, kinds: Kinds, held: Mapping[type[Statistic], StatisticFile[Any] | None], say: Listener
) -> None:
    earlier = next((file for kind in kinds if (file := held.get(kind)) is not None), None)
    total = (request.samples or SAMPLES) + (earlier.config["samples"] if earlier is not None else 0)
    if kinds and total < FEW_SAMPLES:
        say.warn(f"{total} images a time is few: the table will be noisy; 10 suffice, 25 are plenty")
