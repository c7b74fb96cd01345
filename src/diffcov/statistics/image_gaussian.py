"""The Gaussian of the images: their mean, and the variance of each cosine coefficient.

Nothing of it depends on the network. It is measured beside the spectrum because the images pass there anyway, each
mirrored anew where training mirrors: the same ones at every knot, or others at each where curves go through the knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.denoiser.noised import Noised
from diffcov.statistics.at_knots import AtKnots
from diffcov.statistics.base import Setting
from diffcov.statistics.knots import Knots

__all__ = ["ImageGaussian"]


@dataclass(frozen=True, repr=False)
class ImageGaussian(AtKnots):
    """Sums of images and of the squares of their cosine coefficients.

    Args:
        knots: int64 (M,), the times at which images passed.
        count: float64 (M,), images at each.
        total: float64 (C, H, W), sum over all of them of x_0.
        total_sq: float64 (C, H, W), sum over all of them of (U x_0)^2.
        colour: float64 (C, C), the rotation of the channels.
        size: int64 (2,), H and W of the images.
        alpha_bar: float64 (M,), of the knots, where other images passed at each; else None.
    """

    name = "image-gaussian"
    title = "a Gaussian of the images"
    several = "Gaussians of images"
    kind = "image-gaussian"
    file = "image-gaussian.safetensors"
    overall = ("total", "total_sq")

    knots: Tensor
    count: Tensor
    total: Tensor
    total_sq: Tensor
    colour: Tensor
    size: Tensor
    alpha_bar: Tensor | None = None

    @classmethod
    def empty(cls, knots: Knots, shape: tuple[int, int, int], colour: Tensor, alpha_bar: Tensor | None = None) -> Self:
        """The sums of no image, for images of ``shape`` (C, H, W)."""
        zeros = torch.zeros(shape, dtype=torch.float64)
        count = torch.zeros(len(knots.times), dtype=torch.float64)
        return cls(torch.tensor(knots.times), count, zeros, zeros.clone(), colour, torch.tensor(shape[1:]), alpha_bar)

    @classmethod
    def begin(cls, setting: Setting) -> ImageMeter:
        return ImageMeter(cls.empty(Knots(setting.times), setting.data.shape, setting.colour, setting.alpha_bar))

    @cached_property
    def mean(self) -> Tensor:
        """(C, H, W) float64, the mean image, in units of x_0."""
        return self.total / self.count.sum()

    @cached_property
    def var(self) -> Tensor:
        """(C, H, W) float64 >= 0, the variance of each cosine coefficient."""
        return (self.total_sq / self.count.sum() - self.basis.forward(self.mean).square()).clamp(min=0)

    def add(self, knot: int, x_0: Tensor, *controls: Tensor) -> None:
        """Take (B, C, H, W) images that passed at knot number ``knot`` into account, in place."""
        images = x_0.double().cpu()
        self.count[knot] += len(images)
        self.total.add_(images.sum(0))
        self.total_sq.add_(self.basis.forward(images).square().sum(0))

    def summary(self) -> dict[str, Any]:
        return {"images": int(self.count.max() if self.alpha_bar is None else self.count.sum())}

    def details(self) -> dict[str, Any]:
        return {"rms": float(self.var.mean().sqrt())}


class ImageMeter:
    """Adds up the images of a sweep.

    Args:
        images: what is added to, in place.
    """

    def __init__(self, images: ImageGaussian) -> None:
        self._images = images

    def add(self, noised: Noised) -> None:
        """One batch, which is at a knot."""
        self._images.add(self._images.knot_number(noised.look.time), noised.x_0)

    def result(self) -> ImageGaussian:
        """The Gaussian."""
        return self._images
