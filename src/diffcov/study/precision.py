"""Whether a precision is worth its name on a processor: measured, because no flag says how fast something is."""

from __future__ import annotations

import time

import torch

from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.study.listener import Listener

__all__ = ["slowdown", "warn_of_slow_precision"]

SLOWER = 2.0
"""Above this time over that of float32 people are told. With instructions for it 0.4 was measured, without them 39."""
REPEATS = 3


@torch.no_grad()
def slowdown(dtype: torch.dtype) -> float:
    """Time of a convolution on this CPU under autocast to ``dtype`` over that in float32, each the least of three."""
    x, weight = torch.ones(4, 64, 32, 32), torch.ones(64, 64, 3, 3)

    def seconds(enabled: bool) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            torch.nn.functional.conv2d(x, weight, padding=1)
        return time.perf_counter() - started

    seconds(True), seconds(False)  # both are prepared by their first call
    taken = [(seconds(True), seconds(False)) for _ in range(REPEATS)]
    return min(half for half, _ in taken) / min(full for _, full in taken)


def warn_of_slow_precision(precision: str, device: torch.device, listener: Listener) -> None:
    """Say so if the network's inside is to be in half precision on a processor that only imitates it.

    Without instructions for bfloat16 a forward was 29 times slower, without a word.
    """
    dtype = PRECISIONS.get(precision)  # None for that of the weights themselves
    if dtype is None or device.type != "cpu":
        return
    found = slowdown(dtype)
    if found > SLOWER:
        listener.warn(
            f"{precision} is {found:.1f} times slower than fp32 on this processor (a convolution, measured just "
            "now); take --precision fp32"
        )
