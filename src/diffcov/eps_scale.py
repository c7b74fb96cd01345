"""The number that eps_hat is divided by, such that samples have the contrast of the data.

With few steps samples look washed out: a long step takes for noise what a finer path would have kept as detail, and
the cap on the last noise leaves that detail to the mean alone. Dividing eps_hat by a little more than 1 keeps more of
it. By how much is measured: samples are drawn at some scales, always from the same noise, and the scale is taken at
which their distribution of contrast (``evaluation/contrast.py``) is nearest that of the data. No feature space is
looked at, nor any distance that covariances are judged by.

Source: scaling eps_hat is that of arXiv 2308.15321, where the scale is searched by the distance of samples; the bias it
answers was named in arXiv 2301.11706. That contrast finds the scale is ours; ``benchmarks/README.md`` has the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, reduce

import torch
from torch import Tensor

from diffcov.errors import UsageError
from diffcov.evaluation.contrast import Contrast
from diffcov.mean_model import MeanModel
from diffcov.noise import ImageNoise, generator
from diffcov.sampling import Sampler, sample

__all__ = ["FittedScale", "fit_eps_scale"]

IMAGES = 4096
"""Images of the data that contrast is measured on, at most."""
STEP = 0.005
"""The first step upwards from 1, in log scale; the next ones double. The first one downwards is twice that."""
LIMIT = 0.5
"""The search ends here, in log scale: a mean that is off by more than e^0.5 = 1.6 is not to be mended by a number."""
GAIN = 0.02
"""A scale that brings contrast nearer to the data's by less than this share of the mismatch is not worth having: where
the mismatch hardly depends on the scale, its lowest place means nothing."""
HALVINGS = 3
"""Probes once the lowest place is enclosed."""


@dataclass(frozen=True)
class FittedScale:
    """A scale and what led to it.

    Attributes:
        scale: what eps_hat is divided by.
        tried: (scale, mismatch of contrast) of every probe, by scale.
    """

    scale: float
    tried: tuple[tuple[float, float], ...]

    @property
    def plain(self) -> float:
        """Mismatch of contrast at scale 1."""
        return dict(self.tried)[1.0]

    @property
    def best(self) -> float:
        """The lowest mismatch that was met."""
        return min(mismatch for _, mismatch in self.tried)

    @property
    def at_limit(self) -> bool:
        """Whether the search ended at its limit, so that no scale within it is the best."""
        return math.isclose(abs(math.log(self.scale)), LIMIT)


def fit_eps_scale(
    model: MeanModel,
    sampler: Sampler,
    images: Tensor,
    *,
    count: int,
    seed: int = 0,
    batch_size: int = 256,
    on_batch: Callable[[int], None] = lambda done: None,
) -> FittedScale:
    """The scale for one sampler: about eight times ``count`` samples are drawn.

    Args:
        model: the mean model, frozen.
        sampler: how samples are drawn; its own scale is not used.
        images: (N, C, H, W) uint8, of the data.
        count: samples at each scale.
        seed: of the choice of images and of the noise, which is not that of samples under the same seed.
        batch_size: images a network call.
        on_batch: told the number of samples drawn so far, over all scales.

    Raises:
        UsageError: a count or a batch size below 1.
        InputError: data without contrast, or of fewer than 2x2 pixels.
        NonFiniteError: NaN or infinity while sampling.
    """
    if count < 1 or batch_size < 1:
        raise UsageError(f"a scale of eps_hat is fitted on at least one sample, found {count} in {batch_size} a batch")
    levels = model.data.levels
    chosen = torch.randperm(len(images), generator=generator(seed, "eps-scale-images"))[:IMAGES]
    parts = torch.split(chosen.to(images.device), batch_size)
    data = reduce(Contrast.merge, (Contrast.of(images[part], levels) for part in parts))
    tried: dict[float, float] = {}
    drawn = 0

    def mismatch(log_scale: float) -> float:
        nonlocal drawn
        scaled = replace(sampler, eps_scale=math.exp(log_scale))
        seen: list[Contrast] = []
        for first in range(0, count, batch_size):
            numbers = range(first, min(first + batch_size, count))
            noise = ImageNoise(seed, numbers, model.data.shape, model.device, purpose="eps-scale")
            seen.append(Contrast.of(model.data.decode(sample(model, scaled, noise)), levels))
            drawn += len(numbers)
            on_batch(drawn)
        tried[log_scale] = reduce(Contrast.merge, seen).mismatch(data)
        return tried[log_scale]

    found = _lowest(mismatch)
    if min(tried.values()) > (1 - GAIN) * tried[0.0]:
        found = 0.0
    return FittedScale(math.exp(found), tuple((math.exp(x), tried[x]) for x in sorted(tried)))


def _lowest(f: Callable[[float], float]) -> float:
    """Where f is lowest: from 0 downhill in steps that double, then by halving.

    Ends in the vertex of the parabola through the squares of three values that enclose the lowest, since f is like
    |x - x_0| far from its minimum and like a hyperbola near it; or at the limit, if f falls all the way.
    """
    at = cache(f)
    low, mid = sorted((STEP, 0.0), key=at, reverse=True)
    high = mid + 2 * (mid - low)
    while at(high) < at(mid):
        if abs(high) == LIMIT:
            return high
        low, mid, high = mid, high, max(-LIMIT, min(LIMIT, high + 2 * (high - mid)))
    for _ in range(HALVINGS):
        near, far = sorted((low, high), key=lambda x: abs(x - mid))
        between = (mid + far) / 2
        low, mid, high = (mid, between, far) if at(between) < at(mid) else (between, mid, near)
    return _vertex(*((x, at(x) ** 2) for x in (low, mid, high)))


def _vertex(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Of the parabola through three points, the middle one the lowest."""
    left, right = (b[0] - a[0]) * (b[1] - c[1]), (b[0] - c[0]) * (b[1] - a[1])
    if left == right:
        return b[0]
    return b[0] - ((b[0] - a[0]) * left - (b[0] - c[0]) * right) / (2 * (left - right))
