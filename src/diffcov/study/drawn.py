"""Draw with one sampler and measure what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffcov.digest import digest_of_values
from diffcov.engines.distances.distances import Distances, Reference, distances
from diffcov.engines.distances.features import FeatureSpace, features_of
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.sampler import Sampler
from diffcov.processes.base import current
from diffcov.store.parts import UNFINISHED
from diffcov.study.kept_images import Pieces, drawn_on, told_apart
from diffcov.study.listener import Listener, Silent
from diffcov.study.wishes import Keeper, Nowhere

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

    def distances_of(self, images: Tensor) -> Distances:
        """How far (N, C, H, W) uint8 grey levels are from the data."""
        return distances(features_of(self.space, images), self.reference)

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
        forget: removes the images that were kept on the way; called by whoever has kept what they became.
    """

    pixels: Tensor
    distances: Distances | None
    norms: Tensor
    seconds: float
    forget: Callable[[], None] = field(compare=False, repr=False)


def draw(
    sampler: Sampler,
    count: int,
    against: Against | None,
    *,
    batch_size: int = 256,
    shown: int = 10,
    keeper: Keeper | None = None,
    say: Listener | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """Draw ``count`` images, keep ``shown`` of them and the features of all.

    One process alone goes on where an earlier try has stopped; several that work together begin anew.

    Args:
        sampler: how to step.
        count: number of samples; for distances at least as many as the space has dimensions.
        against: where distances are taken; None takes none.
        batch_size, on_batch: as for ``sampling.generate``.
        shown: samples to keep.
        keeper: of images while they are drawn; they stay until ``forget`` is called. None keeps none.
        say: told how many of them are there already.

    Raises:
        UsageError: fewer samples than dimensions.
        NonFiniteError: NaN or infinity in an image or a feature.
    """
    norms = NormMeter(sampler.grid.times)
    kept: list[Tensor] = []
    features: list[Tensor] = []
    drawing, have = 0.0, 0
    place = Nowhere() if keeper is None or current().size > 1 else keeper
    identity = {**told_apart(sampler), "count": count, "batch_size": batch_size}
    name = f"{UNFINISHED}{sampler.label}-{digest_of_values(identity)[:12]}"
    pieces = Pieces(place, name, identity, norms.sums())
    batches = drawn_on(
        pieces, sampler, count,
        batch_size=batch_size, say=say or Silent(), on_batch=on_batch, on_look=norms.hear,
    )  # fmt: skip
    started = time.monotonic()
    with closing(batches):
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
    return Drawn(torch.cat(kept), found, norms.mean(), drawing, pieces.drop)
