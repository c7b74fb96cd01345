"""What real images have where samples are measured: the floor of every distance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffcov.engines.distances.manifold import LEAST
from diffcov.noise import generator
from diffcov.study.bench import Bench

__all__ = ["real_distances", "real_pixels"]


def real_distances(bench: Bench) -> dict[str, Any] | None:
    """The distances of as many held-out images as there are samples, or of all; None if there are too few of them."""
    if bench.against is None or bench.held_out is None:
        return None
    examples = bench.held_out.examples
    chosen = _chosen(bench, bench.count)
    if len(chosen) < max(bench.against.space.dims, LEAST):
        return None
    found = bench.against.distances_of(examples[chosen].images)
    return {**found.as_dict(), "split": bench.held_out.provenance.get("split")}


def real_pixels(bench: Bench, count: int) -> Tensor | None:
    """Some held-out images to show beside samples, (at most count, C, H, W) uint8; None where there are none."""
    return None if bench.held_out is None else bench.held_out.examples[_chosen(bench, count)].images


def _chosen(bench: Bench, count: int) -> Tensor:
    """Positions of some held-out images, the same for the same seed."""
    assert bench.held_out is not None
    return torch.randperm(len(bench.held_out.examples), generator=generator(bench.seed, "real"))[:count]
