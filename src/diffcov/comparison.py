"""Draw with one sampler and measure what came out: the one place where sampling meets evaluation.

Engines do not know each other; what needs two of them stands here, above both, and below the commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.evaluation.distances import Distances, Reference, distances
from diffcov.evaluation.exposure import NormMeter
from diffcov.evaluation.features import FeatureSpace, features_of
from diffcov.mean_model import MeanModel
from diffcov.sampling import Sampler, generate

__all__ = ["Drawn", "draw"]


@dataclass(frozen=True)
class Drawn:
    """Samples of one sampler, measured.

    Attributes:
        pixels: (shown, C, H, W) uint8 grey levels, the first samples.
        distances: of all samples to the data.
        norms: (K,) float64, E||eps_hat||^2 / d on the sampled path, in the order of the trajectory's times.
        seconds: that drawing took, without the distances.
    """

    pixels: Tensor
    distances: Distances
    norms: Tensor
    seconds: float


def draw(
    model: MeanModel,
    sampler: Sampler,
    space: FeatureSpace,
    reference: Reference,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 256,
    shown: int = 10,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """Draw ``count`` images, keep ``shown`` of them and the features of all.

    Args:
        model: the mean model, frozen.
        sampler: how to step.
        space: where distances are taken.
        reference: the data in that space.
        count: number of samples, more than the space has dimensions.
        seed, batch_size, on_batch: as for ``sampling.generate``.
        shown: samples to keep.

    Raises:
        UsageError: fewer samples than dimensions.
        NonFiniteError: NaN or infinity in an image or a feature.
    """
    norms = NormMeter(sampler.trajectory.times)
    kept: list[Tensor] = []
    features: list[Tensor] = []
    drawing, have = 0.0, 0
    batches = generate(
        model, sampler, count, seed=seed, batch_size=batch_size, on_batch=on_batch, on_prediction=norms.hear
    )
    started = time.monotonic()
    for pixels in batches:
        drawing += time.monotonic() - started
        if have < shown:
            kept.append(pixels[: shown - have])
        have += len(pixels)
        features.append(features_of(space, pixels))
        started = time.monotonic()
    return Drawn(torch.cat(kept), distances(torch.cat(features), reference), norms.mean(), drawing)
