"""A small classifier of images, trained for its last features: a space in which images of one class lie together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.data import DataDescription, ExampleSet
from diffcov.errors import UsageError

__all__ = ["FEATURES", "Classifier", "ClassifierSpec"]

FEATURES = 64
"""Width of the penultimate layer."""

SMALLEST = 4
"""Pixels a side that two halvings need."""


@dataclass(frozen=True)
class ClassifierSpec:
    """What a classifier is, apart from its weights.

    Attributes:
        data: the images it sees.
        classes: number of classes, at least 2.
        width: channels of the first convolution.

    Raises:
        UsageError: images below 4x4, fewer than two classes, or no width.
    """

    data: DataDescription
    classes: int
    width: int = 32

    def __post_init__(self) -> None:
        if min(self.data.height, self.data.width) < SMALLEST:
            raise UsageError(f"a classifier needs images of at least {SMALLEST}x{SMALLEST} pixels, found {self.data}")
        if self.classes < 2 or self.width < 1:
            raise UsageError(
                f"a classifier needs at least 2 classes and a width of 1, found {self.classes} and {self.width}"
            )

    def build(self) -> Classifier:
        """A classifier with freshly drawn weights."""
        return Classifier(self)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ClassifierSpec:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**fields, "data": DataDescription.from_dict(fields["data"])})


class Classifier(nn.Module):
    """Three convolutions, each with batch norm and ReLU, at full, half and quarter size; the mean over the pixels.

    In eval mode an image's features do not depend on the other images of its batch.

    Args:
        spec: its shape.
    """

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = (spec.data.channels, spec.width, 2 * spec.width, FEATURES)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.out = nn.Linear(FEATURES, spec.classes)

    def features(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) grey levels -> (B, 64) float32, >= 0."""
        h = images.float() * (2 / (self.spec.data.levels - 1)) - 1
        for stage, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = F.relu(norm(conv(F.max_pool2d(h, 2) if stage else h)))
        return h.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) grey levels -> (B, classes) logits."""
        logits: Tensor = self.out(self.features(images))
        return logits

    @torch.no_grad()
    def accuracy(self, examples: ExampleSet, batch_size: int = 512) -> float:
        """The share of labelled images whose class is found, in [0, 1]."""
        right = 0
        for start in range(0, len(examples), batch_size):
            part = examples[start : start + batch_size].to(self.out.weight.device)
            right += int((self(part.images).argmax(1) == part.labels).sum())
        return right / len(examples)
