"""Draw with one sampler and measure what came out: the one place where sampling meets evaluation.

Engines do not know each other; what needs two of them stands here, above both, and below the commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.denoiser.network import MeanModel
from diffcov.engines.distances.distances import Distances, Reference, distances
from diffcov.engines.distances.features import FeatureSpace, features_of
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.sampling import Sampler, generate

__all__ = ["Drawn", "draw"]


@dataclass(frozen=True)
class Drawn:
    """Samples of one sampler, measured.

    Attributes:
        pixels: (shown, C, H, W) uint8 grey levels, the first samples.
        distances: of all samples to the data; None where no feature space was given.
        norms: (K,) float64, E||eps_hat||^2 / d on the sampled path, in the order of the trajectory's times.
        seconds: that drawing took, without the distances.
    """

    pixels: Tensor
    distances: Distances | None
    norms: Tensor
    seconds: float


def draw(
    model: MeanModel,
    sampler: Sampler,
    count: int,
    against: tuple[FeatureSpace, Reference] | None,
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
        count: number of samples; for distances at least as many as the space has dimensions.
        against: where distances are taken, and the data there; None takes none.
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
        if against is not None:
            features.append(features_of(against[0], pixels))
        started = time.monotonic()
    found = None if against is None else distances(torch.cat(features), against[1])
    return Drawn(torch.cat(kept), found, norms.mean(), drawing)
