"""What this program costs beside the same network in a loop written out by hand: a training step, and a sampling.

The plain loops do what is mathematically needed and no more: no checks, no seeds an image, no log, no average over
parts of the time. Both run in turn within this one process, the network is the same.

Run: python benchmarks/plain_loop.py [--repeats N] [--out benchmarks/results/plain-loop-NAME.json]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from sizes import SIZES, Size
from speed import random_examples, session_for, steps
from timing import asked, pair, report
from torch import Tensor, nn
from torch.nn import functional as F

from diffcov import NoiseSchedule, Sampler, VarianceTable, View, draw, estimate, even, make_covariance, through
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.runtime import keep_freed_memory

STEPS = 10


def plain_training(size: Size, count: int) -> Callable[[], None]:
    """``count`` steps of the squared error of eps, AdamW and an average of the weights."""
    network = size.spec.build().network
    average = deepcopy(network)
    images = random_examples(size.spec).images
    signal, noise = levels(size.spec.reading.schedule)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        for _ in range(count):
            x_0 = images[torch.randint(len(images), (size.batch,))].float() / 127.5 - 1
            t, eps = torch.randint(1, len(signal), (size.batch,)), torch.randn_like(x_0)
            x_t = signal[t, None, None, None] * x_0 + noise[t, None, None, None] * eps
            optimizer.zero_grad()
            F.mse_loss(network(x_t, (t - 1).float())[0], eps).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1e-4)

    return run


def levels(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), t = 0..T, float32."""
    return schedule.alpha_bar.sqrt().float(), (1 - schedule.alpha_bar).sqrt().float()


@torch.inference_mode()
def plain_sampling(mean: MeanModel, batch: int) -> Tensor:
    """DDIM with eta = 0 and x_0 clipped, in :data:`STEPS` even steps, as uint8."""
    signal, noise = levels(mean.schedule)
    times = [0, *even(mean.schedule.T, STEPS).times]
    x = torch.randn(batch, *mean.data.shape)
    for s, t in zip(times[-2::-1], times[:0:-1], strict=True):
        eps = mean.network(x, torch.full((batch,), float(t - 1)))[0]
        x_0 = ((x - noise[t] * eps) / signal[t]).clamp(-1, 1)
        x = signal[s] * x_0 + noise[s] * (x - signal[t] * x_0) / noise[t]
    return ((x + 1) * 127.5).round().clamp(0, 255).byte()


def sampling(mean: MeanModel, spec: MeanSpec, batch: int) -> dict[str, Callable[[], object]]:
    """The same number of images and steps here: DDIM, and DDPM with the corrected covariance."""
    with torch.no_grad():
        table = estimate(mean, random_examples(spec), [VarianceTable], even(mean.schedule.T, STEPS).times, 2)
    clipped = through(mean, View(clip_x0=True))
    corrected = make_covariance("corrected", mean, table[VarianceTable])
    ways = {
        "ddim": Sampler.of(clipped, make_covariance("small", mean), solver="ddim", steps=STEPS),
        "corrected": Sampler.of(clipped, corrected, steps=STEPS),
    }
    return {name: lambda sampler=sampler: draw(sampler, batch, batch_size=batch) for name, sampler in ways.items()}


def main() -> None:
    """Take every measurement and print it as JSON."""
    options = asked(__doc__, 7)
    keep_freed_memory()
    result: dict[str, object] = {}
    for name, size in SIZES.items():
        mean = size.spec.build().freeze()
        result[name] = {
            "training_step": pair(
                steps(*session_for(size.spec, size.batch), 2), plain_training(size, 2), options.repeats
            ),
            **{
                way: pair(ours, lambda mean=mean, size=size: plain_sampling(mean, size.batch), options.repeats)
                for way, ours in sampling(mean, size.spec, size.batch).items()
            },
        }
    report(result, options.out)


if __name__ == "__main__":
    main()
