"""One foreign mean, ten network calls: diffusers' own schedulers beside the exported one, by distance.

Run: python benchmarks/foreign_schedulers.py RUN [--steps 10] [--count 500] [--out FILE]
RUN was made by `diffcov import` of a pipeline of diffusers and has a table, a spectrum and a head.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from timing import report
from torch import Tensor

from diffcov import GivenNoise, Run, sample
from diffcov.engines.distances.distances import distances
from diffcov.engines.distances.features import features_of
from diffcov.exported.diffcov_scheduler import DiffcovScheduler
from diffcov.study.export import export_model
from diffcov.study.judging import open_against
from diffcov.study.listener import Silent
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.shared import ChosenSampler, Features, Place

BATCH = 100


@torch.inference_mode()
def drawn(unet: UNet2DModel, scheduler: object, steps: int, count: int, shape: tuple[int, int, int]) -> Tensor:
    """(count, C, H, W) samples; the start noise is that of every other scheduler."""
    out = []
    for start in range(0, count, BATCH):
        draw = torch.Generator().manual_seed(start)
        x = torch.randn(min(BATCH, count - start), *shape, generator=draw)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            told = {} if isinstance(scheduler, DPMSolverMultistepScheduler | DDIMScheduler) else {"generator": draw}
            x = scheduler.step(unet(x, t).sample, t, x, **told).prev_sample
        out.append(x)
    return torch.cat(out)


def main() -> None:
    """Draw with each, measure, and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    run = Run(given.run)
    data = run.mean.data
    result: dict[str, object] = {"steps": given.steps, "count": given.count}
    schedulers: dict[str, object] = {
        "DDPMScheduler, fixed_small": DDPMScheduler(1000),
        "DDPMScheduler, fixed_large": DDPMScheduler(1000, variance_type="fixed_large"),
        "DDIMScheduler": DDIMScheduler(1000, set_alpha_to_one=True),
        "DDIMScheduler, trailing": DDIMScheduler(1000, set_alpha_to_one=True, timestep_spacing="trailing"),
        "DPMSolverMultistepScheduler": DPMSolverMultistepScheduler(1000),
    }
    with tempfile.TemporaryDirectory() as folder:
        for covariance in ("corrected", "spectral"):
            for solver in ("ddpm", "ddim"):
                out = Path(folder) / f"{covariance}-{solver}"
                export_model(ExportRequest(Place(run=given.run), out, covariance, sampler=ChosenSampler(solver=solver)))
                found = DiffcovScheduler.from_pretrained(out, subfolder="scheduler")
                schedulers[f"DiffcovScheduler, {covariance}, {solver}"] = found
        unet = UNet2DModel.from_pretrained(out, subfolder="unet").eval()
    for covariance, solver in (
        ("corrected", "ddpm"),
        ("spectral", "ddpm"),
        ("corrected", "ddim"),
        ("spectral", "ddim"),
    ):
        draw = torch.Generator().manual_seed(0)
        noise = [torch.randn(8, *data.shape, generator=draw) for _ in range(given.steps)]
        ours = sample(run.sampler(covariance=covariance, solver=solver, steps=given.steps), GivenNoise(noise))
        scheduler = schedulers[f"DiffcovScheduler, {covariance}, {solver}"]
        scheduler.set_timesteps(given.steps)
        x, later = noise[0], iter(noise[1:])
        with torch.inference_mode():
            for t in scheduler.timesteps:
                x = scheduler.step(unet(x, t).sample, t, x, variance_noise=next(later, None)).prev_sample
        result[f"largest difference to diffcov sample, {covariance}, {solver}"] = float((x - ours).abs().max())
    against = open_against(Features(), run.folder, run.checkpoint, given.count, Silent(), None)
    for name, scheduler in schedulers.items():
        pixels = data.decode(drawn(unet, scheduler, given.steps, given.count, data.shape))
        found = distances(features_of(against.space, pixels), against.reference)
        result[name] = {f"fid@{given.count} {against.space.name}": found.fid, "precision": found.precision}
    report(result, given.out)


if __name__ == "__main__":
    main()
