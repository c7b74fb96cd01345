"""Feature extractors in TorchScript: any scripted or traced module that takes images and returns vectors.

The module is called with float32 (B, C, H, W), whole numbers in 0..255, and with ``return_features=True`` if it has
such an argument: the convention of the FID Inception that the field exchanges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.nets.programs import load_program, reason
from diffcov.store.images import stretch
from diffcov.store.seal import file_digest

__all__ = ["ScriptedFeatures", "load_torchscript"]

COLOUR = 3


@dataclass(frozen=True)
class ScriptedFeatures:
    """A module that was tried on images of the data's shape.

    Attributes:
        extract: uint8 (B, C, H, W) grey levels -> (B, F) float32, on the module's device.
        dims: F.
        channels: that the module sees: the data's, or 3 where grey is repeated.
        digest: sha256 of the file.
    """

    extract: Callable[[Tensor], Tensor]
    dims: int
    channels: int
    digest: str


def load_torchscript(path: Path, data: DataDescription, device: torch.device) -> ScriptedFeatures:
    """Load a module and find out, with two images, how many channels it takes.

    Args:
        path: the file, as ``torch.jit.save`` writes it.
        data: the images. Grey ones are repeated to three channels if the module refuses one.
        device: where it runs.

    Raises:
        InputError: unreadable, no TorchScript, or a module that fails on such images.
    """
    digest = file_digest(path)
    module = _load(path).to(device).eval()
    named = any(argument.name == "return_features" for argument in module.forward.schema.arguments)  # type: ignore[attr-defined]
    draw = torch.Generator().manual_seed(0)
    two = torch.randint(data.levels, (2, *data.shape), generator=draw, dtype=torch.uint8)
    refusal = ""
    for channels in dict.fromkeys((data.channels, COLOUR) if data.channels == 1 else (data.channels,)):
        extract = _extractor(module, data, channels, device, {"return_features": True} if named else {})
        try:
            with torch.no_grad():
                dims = extract(two).shape[1]
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            refusal = refusal or reason(error)
            continue
        return ScriptedFeatures(extract, dims, channels, digest)
    raise InputError(
        f"the module in {path} takes no images of {data} ({refusal}); "
        "it is called with float32 (B, C, H, W) in 0..255 and must return (B, F)"
    )


def _load(path: Path) -> torch.jit.ScriptModule:
    try:
        return load_program(path)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is no TorchScript file ({reason(error)}); write one with torch.jit.save") from error


def _extractor(
    module: torch.jit.ScriptModule, data: DataDescription, channels: int, device: torch.device, options: dict[str, bool]
) -> Callable[[Tensor], Tensor]:
    def extract(images: Tensor) -> Tensor:
        x = stretch(images.to(device), data.levels).float()
        if channels != data.channels:
            x = x.repeat(1, channels, 1, 1)
        found = module(x, **options)
        found = found[0] if isinstance(found, tuple) else found
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(images):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{len(images)} images gave {shape}")
        return found.flatten(1).float()

    return extract
