"""Arrays as JSON, exactly: what the configuration of a scheduler holds."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch

__all__ = ["packed", "unpacked"]


def packed(numbers: Any) -> dict[str, Any]:
    """An array as JSON: its shape, and its float64 numbers in base64."""
    array = np.asarray(numbers, dtype="<f8")
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode("ascii")}


def unpacked(value: dict[str, Any]) -> torch.Tensor:
    """The inverse of :func:`packed`."""
    array = np.frombuffer(base64.b64decode(value["data"]), dtype="<f8")
    return torch.from_numpy(array.reshape(value["shape"]).copy())
