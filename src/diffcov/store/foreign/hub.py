"""Models of the Hugging Face hub by their names, fetched by its own library into its own cache."""

from __future__ import annotations

import re
from pathlib import Path

from diffcov.errors import InputError

__all__ = ["fetched", "is_hub_name"]

WANTED = ("model_index.json", "*config.json", "unet/*", "unet_ema/*", "diffusion_pytorch_model*")
"""What a folder of diffusers is read from."""
FILES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".safetensors", ".zip")
"""Ends of names that are files and no models."""


def is_hub_name(text: str) -> bool:
    """Whether a text looks like "owner/name" and not like a file, and nothing of that name lies here."""
    looks = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text) is not None and Path(text).suffix not in FILES
    return looks and not Path(text).exists()


def fetched(name: str) -> Path:
    """The folder of a model.

    Raises:
        InputError: the library is not installed, or the model cannot be fetched: no network, no such model.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InputError(
            f"there is nothing at {name}, and to fetch a model of that name from the hub, install: "
            "pip install diffusers"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED), etag_timeout=10))
    except Exception as error:  # its library and those below it raise dozens of kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"there is nothing at {name}, and no model of that name could be fetched from the hub ({reason}); give a "
            "file or a folder, or try where there is a network"
        ) from error
