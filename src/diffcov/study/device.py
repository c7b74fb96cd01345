"""The device a command runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcov.errors import UsageError
from diffcov.processes.base import current

if TYPE_CHECKING:
    import torch

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """A name to a device; "auto" takes CUDA, else the CPU. Of several processes on a machine each takes its own GPU.

    Raises:
        UsageError: a device that torch does not know, this machine does not have, or that has no float64; more
            processes than GPUs, or one GPU for several processes.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and torch.cuda.is_available() and current().size > 1:
        name = _own_gpu(name, torch.cuda.device_count())
    try:
        device = torch.device(name)
        torch.zeros(1, device=device, dtype=torch.float64)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used here ({reason}); use --device auto or cpu") from None
    return device


def _own_gpu(name: str, gpus: int) -> str:
    """The GPU of this process, of those on its machine."""
    ours = current()
    if name != "cuda" and ours.local_size > 1:
        raise UsageError(
            f"--device {name} is one GPU, and {ours.local_size} processes run on this machine; say --device cuda, and "
            "each takes its own"
        )
    if ours.local_size > gpus:
        raise UsageError(
            f"{ours.local_size} processes run on this machine, which has {gpus} GPUs; start fewer with torchrun "
            f"--nproc-per-node {gpus}, or say --device cpu"
        )
    return name if name != "cuda" else f"cuda:{ours.local_rank}"
