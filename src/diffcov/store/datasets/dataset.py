"""A set of images, in memory or on disk, and what they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffcov.data import DataDescription, Examples, ExampleSet, in_blocks
from diffcov.errors import InputError
from diffcov.store.datasets.large import LargeExamples, LargeImages, at_once
from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.resize import Resize

__all__ = ["ImageDataset"]


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images as stored grey levels. Compare two sets by :meth:`digest`.

    Args:
        images: uint8 (N, C, H, W), contiguous, N >= 1, values in 0..levels-1; those that stay on disk are read when
            they are indexed.
        description: shape and number of grey levels of one image.
        source: what the user named: ``digits``, or the absolute path.
        labels: class numbers int64 (N,) in 0..classes-1, None where the source has none.
        split: which part of the source this is, ``train``, ``val`` or ``test``.
        class_count: number of classes of the source, some of which may have no image here; None takes the
            largest label + 1.
        resize: what was done to every picture; None where they are as stored.
        layout: what the source says beside its images.

    Raises:
        InputError: no image, images that do not fit the description, a value above ``levels - 1``, or labels
            that are no class numbers of these images.
    """

    images: Tensor | LargeImages
    description: DataDescription
    source: str
    labels: Tensor | None = None
    split: str = "train"
    class_count: int | None = None
    resize: Resize | None = None
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        if isinstance(self.images, Tensor):
            _check_images(self.images)
        if self.count < 1:
            raise InputError(f"there is no image in {self.source}: a data set needs at least one")
        if tuple(self.images.shape[1:]) != self.description.shape:
            raise InputError(
                f"{self.source} holds images {tuple(self.images.shape[1:])}, "
                f"its description says {self.description.shape}"
            )
        brightest = int(self.images.max()) if isinstance(self.images, Tensor) else 0
        if brightest >= self.description.levels:
            raise InputError(
                f"{self.source} holds the grey level {brightest}, "
                f"and its {self.description.levels} levels end at {self.description.levels - 1}"
            )
        if self.labels is not None:
            self._check_labels(self.labels)

    def _check_labels(self, labels: Tensor) -> None:
        if labels.dtype != torch.int64 or tuple(labels.shape) != (self.count,):
            raise InputError(
                f"the labels of {self.count} images are int64 ({self.count},), "
                f"found {labels.dtype} of shape {tuple(labels.shape)}"
            )
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0:
            raise InputError(f"{self.source} holds the label {lowest}: number its classes from 0")
        if highest >= self.classes:
            raise InputError(
                f"{self.source} holds the label {highest}, and its {self.classes} classes end at {self.classes - 1}"
            )

    @property
    def count(self) -> int:
        """N, the number of images."""
        return self.images.shape[0]

    @property
    def examples(self) -> ExampleSet:
        """Images and labels, without what they are."""
        if isinstance(self.images, Tensor):
            return Examples(self.images, self.labels)
        return LargeExamples(self.images, self.labels)

    @property
    def bytes(self) -> int:
        """What all images take, decoded."""
        return self.count * self.description.dims

    @property
    def classes(self) -> int:
        """The number of classes; 0 without labels."""
        if self.labels is None:
            return 0
        return int(self.labels.max()) + 1 if self.class_count is None else self.class_count

    def provenance(self, limit: int | None, labelled: bool = False) -> dict[str, Any]:
        """Where the images came from, as artefacts record it.

        Args:
            limit: the one they were loaded with.
            labelled: whether their labels are used too, and so belong to the digest.
        """
        return {
            "source": self.source,
            "split": self.split,
            "limit": limit,
            "count": self.count,
            "digest": self.digest(labelled),
            **({"class_names": list(names)} if labelled and (names := self.layout.class_names) else {}),
            **({} if self.resize is None else self.resize.as_dict()),
        }

    def digest(self, labelled: bool = False) -> str:
        """SHA-256 (64 hex digits) of shape and bytes: equal for equal images, wherever they came from.

        Args:
            labelled: whether the labels count as well.
        """
        state = hashlib.sha256(str(tuple(self.images.shape)).encode())
        for block in in_blocks(self.examples, at_once(self.description.dims)):
            state.update(block.images.cpu().numpy().data)
        if labelled and self.labels is not None:
            state.update(self.labels.cpu().numpy().data)
        return state.hexdigest()


def _check_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or not images.is_contiguous():
        raise InputError(
            "a data set needs contiguous uint8 images (N, C, H, W), "
            f"found {images.dtype} of shape {tuple(images.shape)}"
        )
