"""A TorchScript program as a network: its file travels as bytes among the weights, and is loaded at the first call.

A program runs whatever it says, so whoever loads one has to be asked first; see ``BuiltBy.program``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffcov.errors import InputError
from diffcov.nets.torchscript import load_program, reason

__all__ = ["as_weights", "build"]


def build(digest: str, size: int) -> Scripted:
    """The network, empty until its bytes are loaded.

    Args:
        digest: sha256 (hex) of the file.
        size: of the file in bytes.
    """
    return Scripted(digest, size)


def as_weights(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(arguments of :func:`build`, weights) of a file's bytes."""
    program = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}, {"program": program}


class Scripted(nn.Module):
    """(x (B, C, H, W), times (B,)[, labels (B,)]) -> whatever the program says."""

    program: Tensor

    def __init__(self, digest: str, size: int) -> None:
        super().__init__()
        self.digest = digest
        self.register_buffer("program", torch.zeros(size, dtype=torch.uint8))
        self.register_buffer("place", torch.zeros(0), persistent=False)  # says device and dtype to whoever calls
        self._loaded: list[Any] = []  # a list, so that its weights are not saved beside its bytes

    def forward(self, x: Tensor, times: Tensor, *labels: Tensor) -> Any:
        """The program's output."""
        if not self._loaded:
            self._loaded.append(self._load())
        return self._loaded[0](x, times, *labels)

    def _load(self) -> Any:
        content = bytes(self.program.cpu().numpy().tobytes())
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise InputError("the program among the weights is not the one that was trusted; import it again")
        try:
            loaded = load_program(io.BytesIO(content), self.program.device)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"it is no TorchScript program that this torch can load ({reason(error)})") from error
        for parameter in loaded.parameters():
            parameter.requires_grad_(False)
        return loaded.eval()

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Take the bytes; what was loaded before is forgotten."""
        self._loaded.clear()
        return super().load_state_dict(state_dict, *args, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Another device: the program is loaded there anew; bytes have no other dtype."""
        self._loaded.clear()
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved
