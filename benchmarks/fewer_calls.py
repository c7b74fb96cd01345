"""One sweep at chosen knots against two sweeps at single times: images, seconds, and whether stated errors are true.

Independent sweeps (other seeds) are measured; at each time the spread of what they say is compared with the standard
error that they state. 1 is honest, above 1 is too sure. The sweep of single times is the same code as ever, timed in
this process on a part of its images.

Run: python benchmarks/fewer_calls.py RUN [--seeds N] [--calls N] [--rtol X] [--out benchmarks/results/fewer-NAME.json]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from timing import report, seconds
from torch import Tensor

from diffcov.engines.smooth_sweep import Goal, Reached, smooth_sweep
from diffcov.engines.sweep import estimate
from diffcov.runtime import keep_freed_memory
from diffcov.statistics.knots import Knots
from diffcov.statistics.registry import load_all
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import load_mean
from diffcov.store.run import RunFolder
from diffcov.study.listener import Silent
from diffcov.study.opening import training_examples
from diffcov.study.planned_sweep import KNOT_SAMPLES, KNOTS, SAMPLES

PART = 0.04
"""Of the images of the sweeps at single times, which are timed."""


def spread(values: Tensor, stated: Tensor) -> dict[str, Any]:
    """Values (R, ...) of R sweeps beside their stated standard errors (R, ...)."""
    ratio = values.var(0) / stated.square().mean(0)
    return {
        "stated_median": float(stated.median()), "stated_worst": float(stated.amax()),
        "spread_over_stated": float(ratio.mean().sqrt()),
        "spread_over_stated_by_quarter": [float(part.mean().sqrt()) for part in ratio.flatten(1).mean(1).chunk(4)]
        if ratio.ndim > 1 else [float(part.mean().sqrt()) for part in ratio.chunk(4)],
    }  # fmt: skip


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rtol", type=float, default=0.01)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    keep_freed_memory()
    mean = load_mean(given.run / "mean.safetensors")
    model, flip = mean.model, bool(mean.settings.get("flip", False))
    examples = training_examples(RunFolder(given.run), mean, Silent(), None, None).examples
    kinds = [kind for kind in load_all() if kind.unasked(model.data)]
    schedule, times = model.schedule, tuple(range(1, model.schedule.T + 1))

    samples, at_knots = max(1, round(PART * SAMPLES)), round(PART * KNOT_SAMPLES)
    knots = Knots.spread(schedule, KNOTS).times
    of_table = seconds(lambda: estimate(model, examples, [VarianceTable], times, samples, flip=flip))
    rest = [kind for kind in kinds if kind is not VarianceTable]
    of_knots = seconds(lambda: estimate(model, examples, rest, knots, at_knots, flip=flip))
    before = {
        "images": SAMPLES * len(times) + KNOT_SAMPLES * len(knots),
        "seconds": of_table * SAMPLES / samples + of_knots * KNOT_SAMPLES / at_knots,
    }

    took, tables, spectra, reached = [], [], [], []
    for seed in range(given.seeds):
        last: list[Reached] = []

        def sweep(seed: int = seed, last: list[Reached] = last) -> None:
            goal = Goal(given.rtol, given.calls)
            found = smooth_sweep(model, examples, kinds, goal, seed=seed, flip=flip, on_round=last.append)
            tables.append(found[VarianceTable])
            spectra.append(found[Spectrum])

        took.append(seconds(sweep))
        reached.append({"images": last[-1].images, **last[-1].errors})

    error = torch.stack([one.error_moments.mean()[1:] for one in tables])
    error_stderr = torch.stack([one.error_moments.stderr()[1:] for one in tables])
    gap = torch.stack([1 - one.eps_hat_moments.mean()[1:] for one in tables])
    gap_stderr = torch.stack([one.eps_hat_moments.stderr()[1:] for one in tables])
    at = torch.tensor(knots)
    coefficients = torch.stack([one.var_eps_in_cells(schedule, at).log() for one in spectra])
    relative = gap_stderr / gap.mean(0).abs()
    after = {
        "images": sum(one["images"] for one in reached) / len(reached), "seconds": sum(took) / len(took),
        "reached": reached,
        "error": spread(error / error.mean(0), error_stderr / error.mean(0)),
        "one_minus_gamma": {**spread(gap, gap_stderr), "relative_median": float(relative.median()),
                            "relative_by_quarter": [float(part.median()) for part in relative.chunk(4, 1)]},
        "coefficient_spread_median": float(coefficients.std(0).median()),
        "coefficient_spread_worst": float(coefficients.std(0).max()),
    }  # fmt: skip
    ratio = {"images": after["images"] / before["images"], "seconds": after["seconds"] / before["seconds"]}
    report({"run": given.run.name, "seeds": given.seeds, "before": before, "after": after, "ratio": ratio}, given.out)


if __name__ == "__main__":
    main()
