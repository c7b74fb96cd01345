"""A program of ``torch.export`` as a network; it runs whatever it says, so whoever loads one has to be asked first."""

from __future__ import annotations

import torch
from torch import nn

from diffcov.nets.adapters.bytes_of_program import ProgramInBytes
from diffcov.nets.programs import load_exported

__all__ = ["build"]


class ExportedNetwork(ProgramInBytes):
    """(x (B, C, H, W), times (B,)) -> whatever the program says."""

    def load(self, content: bytes, device: torch.device) -> nn.Module:
        """The program. InputError if this torch cannot load it, or if it takes other inputs or one number of images."""
        return load_exported(content, device)


build = ExportedNetwork
"""The name by which files call it."""
