"""A program as a network: its file travels as bytes among the weights, and is loaded at the first call."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffcov.errors import InputError

__all__ = ["ProgramInBytes", "as_weights"]


def as_weights(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(arguments of a :class:`ProgramInBytes`, weights) of a file's bytes."""
    program = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}, {"program": program}


class ProgramInBytes(nn.Module):
    """(x (B, C, H, W), times (B,)[, labels (B,)]) -> whatever the program says; empty until its bytes are loaded.

    Args:
        digest: sha256 (hex) of the file.
        size: of the file in bytes.
    """

    program: Tensor

    def __init__(self, digest: str, size: int) -> None:
        super().__init__()
        self.digest = digest
        self.register_buffer("program", torch.zeros(size, dtype=torch.uint8))
        self.register_buffer("place", torch.zeros(0), persistent=False)  # says device and dtype to whoever calls
        self._loaded: list[nn.Module] = []  # a list, so that its weights are not saved beside its bytes

    @abstractmethod
    def load(self, content: bytes, device: torch.device) -> nn.Module:
        """The program of a file's bytes, on a device. InputError if it cannot be loaded."""

    def forward(self, x: Tensor, times: Tensor, *labels: Tensor) -> Any:
        """The program's output.

        Raises:
            InputError: other bytes than were trusted, or a program that cannot be loaded.
        """
        if not self._loaded:
            content = bytes(self.program.cpu().numpy().tobytes())
            if hashlib.sha256(content).hexdigest() != self.digest:
                raise InputError("the program among the weights is not the one that was trusted; import it again")
            self._loaded.append(self.load(content, self.program.device))
        return self._loaded[0](x, times, *labels)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Take the bytes; what was loaded before is forgotten."""
        self._loaded.clear()
        return super().load_state_dict(state_dict, *args, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Another device: the program is loaded there anew; bytes have no other dtype."""
        self._loaded.clear()
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved
