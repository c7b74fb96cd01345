"""The embedded data set: handwritten digits, 8x8, 17 grey levels (see ``assets/README.md``)."""

from __future__ import annotations

from importlib.resources import as_file, files

import torch
from safetensors import safe_open

from diffcov.data import DataDescription
from diffcov.io.datasets.dataset import ImageDataset
from diffcov.io.datasets.subset import kept_indices

__all__ = ["read_digits"]


def read_digits(limit: int | None = None) -> ImageDataset:
    """The 1797 digits, uint8 (N, 1, 8, 8) in 0..16, or a fixed ``limit`` of them.

    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi 10.24432/C50P49.
    """
    with as_file(files("diffcov") / "assets" / "digits.safetensors") as path, safe_open(path, "pt") as asset:
        images = asset.get_tensor("images")
        levels = int(asset.metadata()["levels"])
    kept = torch.from_numpy(kept_indices(len(images), limit))
    _, channels, height, width = images.shape
    return ImageDataset(images[kept], DataDescription(channels, height, width, levels), "digits")
