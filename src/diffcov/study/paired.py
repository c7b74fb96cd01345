"""How far bounds lie apart that were measured on the same images and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diffcov.engines.meters.likelihood import Estimate
from diffcov.store.parts import Part

__all__ = ["PAIRED", "paired"]

PAIRED = ("difference_to", "difference", "difference_stderr")
"""What :func:`paired` says."""


def paired(bounds: Mapping[str, Part], name: str, dims: int) -> dict[str, Any]:
    """How far the bound of one covariance lies above the lowest, in bits/dim, and that difference's standard error.

    All see the same images and noise, so this is far sharper than the bounds themselves. None for the lowest, which
    "difference_to" names.

    Args:
        bounds: of :meth:`Bench.bounds`, by covariance: each with a tensor "nats" (N,).
        name: which of them.
        dims: values an image.
    """
    best = min(bounds, key=lambda other: bounds[other].values["bits_per_dim"])
    nats = bounds[name].tensors["nats"] - bounds[best].tensors["nats"]
    found = Estimate.of(nats / (dims * math.log(2)))
    own = (None, None) if name == best else (found.mean, None if math.isnan(found.stderr) else found.stderr)
    return dict(zip(PAIRED, (best, *own), strict=True))
