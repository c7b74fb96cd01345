"""Whether the contrast of samples tells which scale of eps_hat is best: a ladder of scales, contrast beside distance.

For each process and number of steps: the mismatch of contrast and the Fréchet distance at every scale, and what
`--eps-scale fitted` finds, which looks at contrast alone and at other noise.

Run: python benchmarks/eps_scale.py RUN [--covariance NAME] [--steps 5,10] [--scales 1,1.01,..] [--count N] [--out FILE]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from timing import report

from diffcov.cli.feature_space import open_features, open_reference
from diffcov.cli.opening import open_training_images
from diffcov.covariance.clipping import default_cap_levels
from diffcov.diffusion.grid import even
from diffcov.diffusion.process import DDIM, DDPM
from diffcov.engines.sampling import Sampler
from diffcov.engines.scale.contrast import Contrast
from diffcov.store.checkpoint import load_mean
from diffcov.store.run import Run
from diffcov.study.draw import draw
from diffcov.study.fitted import load_covariance
from diffcov.study.scale import fit_eps_scale


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
    mean = load_mean(run.mean)
    images, provenance = open_training_images(mean, None, None)
    space = open_features("auto", run, mean, mean.model.device)
    reference = open_reference(space, run, images, provenance, None)
    schedule, levels = mean.spec.schedule, mean.spec.data.levels
    wanted = Contrast.of(images[torch.randperm(len(images))].split(256)[:16], levels)
    found = []
    for steps in map(int, given.steps.split(",")):
        trajectory = even(schedule.T, steps)
        loaded = load_covariance(run, given.covariance, mean.digest, mean.model.device, trajectory.times)
        for process in (DDPM(), DDIM()):
            plain = Sampler(loaded.covariance, process, trajectory, default_cap_levels(schedule, process))
            fitted = fit_eps_scale(mean.model, plain, images).scale
            for scale in sorted({*map(float, given.scales.split(",")), fitted}):
                drawn = draw(
                    mean.model, replace(plain, eps_scale=scale), given.count, (space, reference),
                    batch_size=250, shown=given.count,
                )  # fmt: skip
                assert drawn.distances is not None
                found.append({
                    "process": process.name, "steps": steps, "scale": scale, "fitted": scale == fitted,
                    "mismatch": Contrast.of([drawn.pixels], levels).mismatch(wanted), "fid": drawn.distances.fid,
                })  # fmt: skip
    setting = {"run": str(given.run), "covariance": given.covariance, "count": given.count, "features": space.name}
    report({**setting, "ladder": found}, given.out)


if __name__ == "__main__":
    main()
