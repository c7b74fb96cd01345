"""What class labels do: how many samples the shipped classifier calls by the class they were asked for, and bits/dim.

Run: python benchmarks/conditional.py CONDITIONAL PLAIN [--count 500] [--steps 50] [--guidance 1,1.5,2,3] [--out FILE]
CONDITIONAL is a run of the embedded digits trained with --classes --label-dropout, PLAIN one without, both measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from timing import report

from diffcov import Examples, Run, draw
from diffcov.store.classifier import load_digits_classifier


def right(run: Run, guidance: float, given: argparse.Namespace) -> float:
    """The share of samples, of all classes alike, that are called by their class; DDPM steps."""
    sampler = run.sampler(covariance=given.covariance, steps=given.steps, guidance=guidance, classes=("all",))
    pixels = draw(sampler, given.count, batch_size=250)
    labels = sampler.labels_of(range(given.count))
    return load_digits_classifier().classifier.accuracy(Examples(pixels, labels))


def bound(run: Run, given: argparse.Namespace) -> dict[str, float]:
    """bits/dim of the test split, mean and standard error; the classes of the images are told where there are any."""
    found = run.evaluate(covariances=(given.covariance,), steps=given.steps, images=297).document["nll"]
    return {key: found[given.covariance][key] for key in ("bits_per_dim", "stderr")}


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("conditional", type=Path)
    parser.add_argument("plain", type=Path)
    parser.add_argument("--covariance", default="corrected")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", default="1,1.5,2,3")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    conditional, plain = Run(given.conditional), Run(given.plain)
    result = {
        "iterations": {
            str(run.folder.path): run.checkpoint.training["iterations"] for run in (conditional, plain)
        },
        "covariance": given.covariance, "steps": given.steps, "count": given.count,
        "called_by_the_class_asked_for": {
            weight: right(conditional, float(weight), given) for weight in given.guidance.split(",")
        },
        "bits_per_dim": {"conditional": bound(conditional, given), "plain": bound(plain, given)},
    }  # fmt: skip
    report(result, given.out)


if __name__ == "__main__":
    main()
