"""Whether the contrast of samples tells which scale of eps_hat is best: a ladder of scales, contrast beside distance.

For each solver and number of steps: the mismatch of contrast and the Fréchet distance at every scale, and what
`--eps-scale fitted` finds, which looks at contrast alone and at other noise.

Run: python benchmarks/eps_scale.py RUN [--covariance NAME] [--steps 5,10] [--scales 1,1.01,..] [--count N] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from timing import report

from diffcov import Run, Sampler, View, through
from diffcov.engines.scale.contrast import Contrast
from diffcov.study.contrast_scale import fit_scale, scaled
from diffcov.study.drawn import draw
from diffcov.study.judging import open_against
from diffcov.study.requests.shared import Features


def main() -> None:
    """Draw, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--covariance", default="spectral")
    parser.add_argument("--steps", default="5,10")
    parser.add_argument("--scales", default="0.98,1,1.005,1.01,1.02,1.03,1.04,1.05,1.06,1.08")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    run = Run(given.run)
    mean, images, levels = run.mean, run.examples().images, run.mean.data.levels
    against = open_against(Features(), run.folder, run.checkpoint, given.count, run.listener, None)
    wanted = Contrast.of(images[torch.randperm(len(images))].split(256)[:16], levels)
    covariance, clipped = run.covariance(given.covariance), through(mean, View(clip_x0=True))
    found = []
    for steps in map(int, given.steps.split(",")):
        for solver in ("ddpm", "ddim"):
            plain = Sampler.of(clipped, covariance, steps=steps, solver=solver)
            fitted = fit_scale(plain, mean, images).scale
            for scale in sorted({*map(float, given.scales.split(",")), fitted}):
                drawn = draw(scaled(plain, mean, scale), given.count, against, batch_size=250, shown=given.count)
                assert drawn.distances is not None
                found.append({
                    "solver": solver, "steps": steps, "scale": scale, "fitted": scale == fitted,
                    "mismatch": Contrast.of([drawn.pixels], levels).mismatch(wanted), "fid": drawn.distances.fid,
                })  # fmt: skip
    setting = {"run": str(given.run), "covariance": given.covariance, "count": given.count}
    report({**setting, "features": against.space.name, "ladder": found}, given.out)


if __name__ == "__main__":
    main()
