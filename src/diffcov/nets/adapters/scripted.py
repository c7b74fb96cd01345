"""A TorchScript program as a network; a program runs whatever it says, so whoever loads one has to be asked first."""

from __future__ import annotations

import io

import torch
from torch import nn

from diffcov.errors import InputError
from diffcov.nets.adapters.bytes_of_program import ProgramInBytes
from diffcov.nets.programs import load_program, reason

__all__ = ["build"]


class Scripted(ProgramInBytes):
    """(x (B, C, H, W), times (B,)[, labels (B,)]) -> whatever the program says."""

    def load(self, content: bytes, device: torch.device) -> nn.Module:
        """The program, in eval mode. InputError if it is none that this torch can load."""
        try:
            loaded = load_program(io.BytesIO(content), device)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"it is no TorchScript program that this torch can load ({reason(error)})") from error
        for parameter in loaded.parameters():
            parameter.requires_grad_(False)
        return loaded.eval()


build = Scripted
"""The name by which files call it."""
