"""Draw with one sampler and measure what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffcov.engines.distances.distances import Distances, Reference, distances
from diffcov.engines.distances.features import FeatureSpace, features_of
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.processes.base import current

__all__ = ["Against", "Drawn", "draw"]


@dataclass(frozen=True)
class Against:
    """Where distances are taken, and the data there.

    Attributes:
        space: the feature space.
        reference: what is known of the data in it.
        record: of the reference, as plain values: count, split, source and digest.
    """

    space: FeatureSpace
    reference: Reference
    record: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """What decides a distance, as plain values."""
        return {"features": self.space.digest or self.space.name, "reference": self.record}


@dataclass(frozen=True)
class Drawn:
    """Samples of one sampler, measured.

    Attributes:
        pixels: (shown, C, H, W) uint8 grey levels, the first samples.
        distances: of all samples to the data; None where no feature space was given.
        norms: (K,) float64, E||eps_hat||^2 / d on the sampled path, in the order of the grid's times.
        seconds: that drawing took, without the distances.
    """

    pixels: Tensor
    distances: Distances | None
    norms: Tensor
    seconds: float


def draw(
    sampler: Sampler,
    count: int,
    against: Against | None,
    *,
    batch_size: int = 256,
    shown: int = 10,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """Draw ``count`` images, keep ``shown`` of them and the features of all.

    Args:
        sampler: how to step.
        count: number of samples; for distances at least as many as the space has dimensions.
        against: where distances are taken; None takes none.
        batch_size, on_batch: as for ``sampling.generate``.
        shown: samples to keep.

    Raises:
        UsageError: fewer samples than dimensions.
        NonFiniteError: NaN or infinity in an image or a feature.
    """
    norms = NormMeter(sampler.grid.times)
    kept: list[Tensor] = []
    features: list[Tensor] = []
    drawing, have = 0.0, 0
    batches = generate(sampler, count, batch_size=batch_size, on_batch=on_batch, on_look=norms.hear)
    started = time.monotonic()
    for pixels in batches:
        drawing += time.monotonic() - started
        if have < shown:
            kept.append(pixels[: shown - have])
        have += len(pixels)
        if against is not None:
            features.append(features_of(against.space, pixels))
        started = time.monotonic()
    current().summed(norms.sums())
    found = None if against is None else distances(torch.cat(features), against.reference)
    return Drawn(torch.cat(kept), found, norms.mean(), drawing)
