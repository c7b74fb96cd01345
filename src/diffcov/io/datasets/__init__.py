"""Images in: one call that reads every format the field stores its data sets in, one file per format."""

from __future__ import annotations

from diffcov.io.datasets.dataset import ImageDataset
from diffcov.io.datasets.load import EMBEDDED, canonical_source, load_images

__all__ = ["EMBEDDED", "ImageDataset", "canonical_source", "load_images"]
