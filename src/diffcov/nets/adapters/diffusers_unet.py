"""diffusers' UNet2DModel as a network of ours; the library is an extra, imported when such a network is built."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from diffcov.errors import InputError

__all__ = ["DiffusersUNet", "build", "last_block"]


class DiffusersUNet(nn.Module):
    """(x (B, C, H, W), times (B,)[, labels (B,)]) -> the sample of the library's own model."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        self.counted = unet.config.get("time_embedding_type") == "learned"

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """The output, (B, C, H, W) or (B, 2C, H, W)."""
        out: Tensor = self.unet(x, times.long() if self.counted else times, class_labels=labels).sample
        return out


def build(**config: Any) -> DiffusersUNet:
    """The model of a ``config.json``, with fresh weights.

    Raises:
        InputError: the library is not installed, or cannot build such a model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the library warns of while it is imported is nothing of ours
            from diffusers import UNet2DModel
    except ImportError as error:
        raise InputError(
            f"this mean is a UNet2DModel of diffusers, which cannot be imported ({error}); install it with: "
            "pip install diffusers"
        ) from error
    known = inspect.signature(UNet2DModel.__init__).parameters
    try:
        return DiffusersUNet(UNet2DModel(**{name: value for name, value in config.items() if name in known}))
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError(f"diffusers cannot build a UNet2DModel of this configuration: {error}") from error


def last_block(config: Mapping[str, Any]) -> str:
    """The name of the submodule whose output goes into the output norm."""
    return f"unet.up_blocks.{len(config['up_block_types']) - 1}"
