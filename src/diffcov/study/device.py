"""The device a command runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcov.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """A name to a device; "auto" takes CUDA, else the CPU.

    Raises:
        UsageError: a device that torch does not know, this machine does not have, or that has no float64.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device, dtype=torch.float64)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used here ({reason}); use --device auto or cpu") from None
    return device
