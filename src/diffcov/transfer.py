"""From memory to a device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sent"]


def sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on a device.

    A plain copy from the CPU to a GPU waits until the GPU has done all that it was told before. One from pinned memory
    takes its turn there, and the program goes on.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
