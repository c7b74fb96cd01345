"""How every benchmark takes its times, and what it says of the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

__all__ = ["machine", "pair", "seconds"]


def machine() -> dict[str, object]:
    """What a figure was taken on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def pair(a: Callable[[], object], b: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median times of A and B, called in turn, and the median of the ratios A/B pair by pair."""
    a(), b()
    times = [(seconds(a), seconds(b)) for _ in range(repeats)]
    return {
        "a_seconds": statistics.median(x for x, _ in times),
        "b_seconds": statistics.median(y for _, y in times),
        "ratio": statistics.median(x / y for x, y in times),
    }
