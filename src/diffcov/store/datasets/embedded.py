"""The embedded data sets (see ``assets/README.md``): handwritten digits, and photographs of clothes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import as_file, files

import numpy as np
from safetensors import safe_open

from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.stored import Stored
from diffcov.store.datasets.subset import kept_indices

__all__ = ["EMBEDDED"]

HELD_OUT = "held_out"
"""Which images are the test split, one byte each, where the source says so."""


def _open(asset: str, test_count: int, split: str) -> Stored:
    """Images to train on or the others: uint8 (N, C, H, W), and the class of each, in the source's order.

    A source without a split of its own gets a fixed pseudo-random one.
    """
    with as_file(files("diffcov") / "assets" / asset) as path, safe_open(path, "np") as opened:
        images, labels = opened.get_tensor("images"), opened.get_tensor("labels").astype(np.int64)
        levels = int(opened.metadata()["levels"])
        if HELD_OUT in opened.keys():  # noqa: SIM118 (no mapping)
            chosen = opened.get_tensor(HELD_OUT).astype(bool)
        else:
            chosen = np.zeros(len(images), dtype=bool)
            chosen[kept_indices(len(images), test_count)] = True
    layout = Layout({"train": len(images) - test_count, "test": test_count}, "the package", format="embedded")
    if split == "train":
        chosen = ~chosen
    return replace(Stored.of_array(images[chosen], labels[chosen], layout), levels=levels)


EMBEDDED: Mapping[str, Callable[[str], Stored]] = {
    "digits": partial(_open, "digits.safetensors", 297),
    "clothes": partial(_open, "clothes/images.safetensors", 512),
}
"""Data sets inside the package, all with both splits, by their words; ``./digits`` is a folder of that name.

``digits``: 1500 to train on and 297 others, (N, 1, 8, 8) in 0..16; E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, 1998, doi 10.24432/C50P49. ``clothes``: 3000 and 512 photographs of Fashion-MNIST, (N, 1, 16, 16) in 0..255;
H. Xiao, K. Rasul and R. Vollgraf, arXiv 1708.07747.
"""
