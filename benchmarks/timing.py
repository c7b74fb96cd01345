"""How every benchmark takes its times, and what it says of the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

__all__ = ["asked", "machine", "pair", "report", "seconds"]


def asked(doc: str | None, repeats: int) -> argparse.Namespace:
    """What a benchmark of pairs is told on the command line: ``repeats`` and ``out``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def machine() -> dict[str, object]:
    """What a figure was taken on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def report(result: Mapping[str, object], out: Path | None) -> None:
    """Print what was measured, with the machine first, and keep it in ``out`` if that is asked for."""
    text = json.dumps({"machine": machine(), **result}, indent=2) + "\n"
    sys.stdout.write(text)
    if out:
        out.write_text(text, encoding="utf-8")


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
