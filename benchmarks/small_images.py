"""A set of images made small by averaging blocks of pixels: what the covariance benchmarks train on in minutes.

python benchmarks/small_images.py cifar10-train.zip cifar10-test.zip data/cifar10-16.npz --factor 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from diffcov.store.datasets import load_images


def shrink(source: str, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 (N, H/factor, W/factor, C), int64 (N,) labels)."""
    found = load_images(source)
    labels = found.examples.labels
    assert labels is not None
    pixels = found.images.numpy().astype(np.float32)
    n, c, h, w = pixels.shape
    means = pixels.reshape(n, c, h // factor, factor, w // factor, factor).mean((3, 5))
    return np.rint(means).astype(np.uint8).transpose(0, 2, 3, 1), labels.numpy()


def main() -> None:
    """Write x_train, y_train, x_test, y_test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("out", type=Path)
    parser.add_argument("--factor", type=int, default=2)
    given = parser.parse_args()
    parts = {}
    for split, source in (("train", given.train), ("test", given.test)):
        parts[f"x_{split}"], parts[f"y_{split}"] = shrink(source, given.factor)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(given.out, **parts)


if __name__ == "__main__":
    main()
