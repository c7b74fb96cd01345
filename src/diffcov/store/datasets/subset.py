"""Which images ``limit`` keeps."""

from __future__ import annotations

import numpy as np
import torch

from diffcov.store.datasets.stored import Positions

__all__ = ["kept_indices"]

_SEED = 20220117
"""Part of what a limit means: another seed would keep other images."""


def kept_indices(count: int, limit: int | None) -> Positions:
    """The images to keep out of ``count``: all, or a fixed pseudo-random ``limit`` of them.

    The first ``limit`` would hold a single class wherever files are sorted by class. The same ``count`` and
    ``limit`` always keep the same images, and a smaller limit keeps some of those that a larger one keeps.

    Args:
        count: number of images in the source.
        limit: how many to keep, at least 1; None or more than ``count`` keeps all.

    Returns:
        int64 (min(count, limit),), strictly increasing, in 0..count-1.
    """
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(_SEED))
    kept: Positions = shuffled[:limit].sort().values.numpy()
    return kept
