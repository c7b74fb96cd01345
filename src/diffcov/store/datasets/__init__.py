"""Images in: one call that reads every format the field stores its data sets in, one file per format."""

from __future__ import annotations

from diffcov.store.datasets.dataset import ImageDataset
from diffcov.store.datasets.layout import HELD_OUT, SPLITS, Layout
from diffcov.store.datasets.load import EMBEDDED, canonical_source, has_test_split, load_images
from diffcov.store.datasets.resize import CROPS, Resize
from diffcov.store.datasets.room import Room

__all__ = [
    "CROPS",
    "EMBEDDED",
    "HELD_OUT",
    "SPLITS",
    "ImageDataset",
    "Layout",
    "Resize",
    "Room",
    "canonical_source",
    "has_test_split",
    "load_images",
]
