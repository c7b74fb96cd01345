"""Our trained network as somebody would hand it over: its output alone, in a program of either kind."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from diffcov.store.checkpoint import load_mean

__all__ = ["FLOAT", "TOLD", "TRAINED", "Alone", "X", "exported", "scripted"]

TRAINED = Path(__file__).parents[1] / "assets" / "run-of-before" / "mean.safetensors"
TOLD = ("--data", "digits", "--schedule", "linear", "--timesteps", 50, "--time-scale", 20)
"""What no program says, as options of the import."""
X, FLOAT = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 40.0])


class Alone(nn.Module):
    """The trained network's output and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_mean(TRAINED).model.network

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        out: Tensor = self.network(x, times)[0]
        return out


def exported(path: Path, module: nn.Module, *inputs: Tensor, batch: bool = True) -> Path:
    """A file as ``torch.export.save`` writes it, of any number of images or of that of the inputs."""
    free = tuple({0: torch.export.Dim("batch")} for _ in inputs) if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, inputs, dynamic_shapes=free), path)
    return path


def scripted(path: Path, module: nn.Module, *inputs: Tensor) -> Path:
    """A file as ``torch.jit.save`` writes what was traced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, inputs), path)
    return path
