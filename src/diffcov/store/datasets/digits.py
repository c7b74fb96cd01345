"""The embedded data set: handwritten digits, 8x8, 17 grey levels (see ``assets/README.md``)."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

import numpy as np
from safetensors import safe_open

from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.stored import Stored
from diffcov.store.datasets.subset import kept_indices

__all__ = ["open_digits"]

_TEST_COUNT = 297


def open_digits(split: str) -> Stored:
    """1500 digits to train on or the 297 others: uint8 (N, 1, 8, 8) in 0..16, and which digit each is.

    The source has no split of its own, so a fixed pseudo-random choice makes one; the order stays the source's.

    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi 10.24432/C50P49.
    """
    with as_file(files("diffcov") / "assets" / "digits.safetensors") as path, safe_open(path, "np") as asset:
        images, labels = asset.get_tensor("images"), asset.get_tensor("labels").astype(np.int64)
        levels = int(asset.metadata()["levels"])
    chosen = np.zeros(len(images), dtype=bool)
    chosen[kept_indices(len(images), _TEST_COUNT)] = True
    layout = Layout({"train": len(images) - _TEST_COUNT, "test": _TEST_COUNT}, "the package", format="embedded")
    if split == "train":
        chosen = ~chosen
    return replace(Stored.of_array(images[chosen], labels[chosen], layout), levels=levels)
