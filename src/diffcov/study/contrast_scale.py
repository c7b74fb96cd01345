"""The number that eps_hat is divided by, such that samples have the contrast of the data.

With few steps samples look washed out: a long step takes for noise what a finer path would have kept as detail, and
the cap on the last noise leaves that detail to the mean alone. Dividing eps_hat by a little more than 1 keeps more of
it. By how much is measured: samples are drawn at some scales, always from the same noise, and the scale is taken at
which their distribution of contrast (``engines/scale/contrast.py``) is nearest that of the data. A fit looks at no
feature space and at no distance that covariances are judged by.

Source: scaling eps_hat is that of arXiv 2308.15321, where the scale is searched by the distance of samples; the bias it
answers was named in arXiv 2301.11706. That contrast finds the scale is ours; ``benchmarks/README.md`` has the evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.through import through
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.engines.scale.contrast import Contrast
from diffcov.engines.scale.search import FittedScale, search_scale
from diffcov.noise import generator
from diffcov.processes.base import current
from diffcov.store.datasets.large import LargeImages

__all__ = ["FIT", "SAMPLES", "fit_scale", "scaled"]

FIT = 2
"""Version of what a fit does, search and contrast included. Raise it when that changes: no old scale is reused then."""
SAMPLES = 512
"""Samples at each scale that is tried."""
IMAGES = 4096
"""Images of the data that contrast is measured on, at most."""


def scaled(sampler: Sampler, mean: MeanModel, scale: float) -> Sampler:
    """The sampler with eps_hat divided by another number, all else as it was."""
    return replace(sampler, denoiser=through(mean, replace(sampler.denoiser.view, eps_scale=scale)))


def fit_scale(
    sampler: Sampler,
    mean: MeanModel,
    images: Tensor | LargeImages,
    *,
    count: int = SAMPLES,
    seed: int = 0,
    batch_size: int = 256,
    kept: Callable[[float, Callable[[], float]], float] = lambda scale, make: make(),
    on_batch: Callable[[int], None] = lambda done: None,
) -> FittedScale:
    """The scale for one sampler: six to eleven times ``count`` samples are drawn.

    Args:
        sampler: how samples are drawn; its own scale and seed are not used.
        mean: what its denoiser looks at in the end.
        images: (N, C, H, W) uint8, of the data.
        count: samples at each scale.
        seed: of the choice of images and of the noise, which is not that of samples under the same seed.
        batch_size: images a network call.
        kept: (scale, what draws at it and makes its mismatch) -> the mismatch, made or kept from an earlier try.
        on_batch: told the number of samples drawn so far, over all scales.

    Raises:
        UsageError: a count or a batch size below 1.
        InputError: data without contrast, or of fewer than 2x2 pixels.
        NonFiniteError: NaN or infinity while sampling.
    """
    levels = mean.data.levels
    chosen = torch.randperm(len(images), generator=generator(seed, "eps-scale-images"))[:IMAGES].to(images.device)
    wanted = Contrast.of((images[part] for part in torch.split(chosen, 256)), levels)
    seeded = replace(sampler, seed=seed)
    probes = 0

    def drawn_at(scale: float) -> float:
        nonlocal probes
        before, probes = probes * count, probes + 1
        drawn = generate(
            scaled(seeded, mean, scale), count, batch_size=batch_size, purpose="eps-scale",
            on_batch=lambda done: on_batch(before + done),
        )  # fmt: skip
        return current().agreed(Contrast.of(drawn, levels).mismatch(wanted))

    return search_scale(lambda scale: kept(scale, lambda: drawn_at(scale)))
