"""How long heads are fitted unasked, and what that costs in likelihood: a fixed length against the default.

Both start from the same mean, table and spectrum, run one after the other in this one process on one thread, and are
judged on the same test images with the same noise.

Run: python benchmarks/heads.py RUN [--iterations 400] [--batch-size 128] [--again] [--out FILE]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from timing import report

import diffcov

KINDS = ("npr", "sn", "banded")
STEPS = (5, 10, 50)
NEEDED = ("mean", "variance", "spectrum")


def copied(run: Path, folder: Path) -> diffcov.Run:
    """A run with the same mean, table and spectrum, and no heads."""
    folder.mkdir()
    for name in NEEDED:
        shutil.copy(run / f"{name}.safetensors", folder)
    return diffcov.Run(folder)


def bits(run: diffcov.Run, images: int) -> dict[str, dict[str, float]]:
    """Bits/dim of every kind by number of steps."""
    found = {str(K): run.evaluate(covariances=KINDS, steps=K, images=images).bits_per_dim for K in STEPS}
    return {kind: {K: values[kind] for K, values in found.items()} for kind in KINDS}


def fitted(run: Path, folder: Path, images: int, **options: Any) -> dict[str, Any]:
    """A fit: how long it took, and what came of it."""
    one = copied(run, folder)
    fit = one.fit(kind=KINDS, **options)
    return {
        "iterations": fit.iterations,
        "seconds": fit.seconds,
        "images": fit.iterations * fit.settings["batch_size"],
        "held_out": fit.held_out,
        "judged": fit.judged,
        "bits_per_dim": bits(one, images),
    }


def main() -> None:
    """Fit both ways and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--iterations", type=int, default=400, help="of the fixed fit")
    parser.add_argument("--batch-size", type=int, default=128, help="of the fixed fit")
    parser.add_argument("--again", action="store_true", help="also the fixed fit of another seed")
    parser.add_argument("--images", type=int, default=256, help="test images")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fixed = {"iterations": options.iterations, "batch_size": options.batch_size, "patience": 0}
        before = fitted(options.run, Path(folder) / "fixed", options.images, **fixed)
        after = fitted(options.run, Path(folder) / "default", options.images)
        found = {"fixed": before, "default": after}
        if options.again:
            found["again"] = fitted(options.run, Path(folder) / "again", options.images, **fixed, seed=1)
    ratios = {name: after[name] / before[name] for name in ("iterations", "seconds", "images")}
    more = {name: _more(fit, before) for name, fit in found.items() if name != "fixed"}
    report({"run": options.run.name, **found, "ratio": ratios, "bits_per_dim_more": more}, options.out)


def _more(fit: dict[str, Any], before: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Bits/dim of a fit above those of the fixed one."""
    mine, theirs = fit["bits_per_dim"], before["bits_per_dim"]
    return {kind: {K: mine[kind][K] - theirs[kind][K] for K in mine[kind]} for kind in KINDS}


if __name__ == "__main__":
    main()
