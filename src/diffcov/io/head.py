"""Variance heads on disk: the head alone (kilobytes), bound to its trunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from diffcov.errors import InputError
from diffcov.io import artifact
from diffcov.io.binding import check_trunk
from diffcov.io.checkpoint import load_weights
from diffcov.models.head import HEADS

__all__ = ["HeadFile", "HeadSpec", "load_head", "save_head"]

KIND = "head"


@dataclass(frozen=True)
class HeadSpec:
    """What a head is, apart from its weights.

    Attributes:
        kind: name of its covariance ("npr", "sn", ...).
        architecture: name in :data:`diffcov.models.head.HEADS`.
        feature_channels: F of the trunk's activations.
        embedding_width: E of the trunk's embedding.
        image_channels: C of the images.
    """

    kind: str
    architecture: str
    feature_channels: int
    embedding_width: int
    image_channels: int

    def build(self) -> nn.Module:
        """A head whose last layer is zero."""
        return HEADS[self.architecture](self.feature_channels, self.embedding_width, self.image_channels)


@dataclass(frozen=True)
class HeadFile:
    """A head as read from disk: frozen, in eval mode, on the CPU.

    Attributes:
        head: (features) -> (B, C, H, W).
        spec: what it is.
        trunk: digest of the mean model it was fitted on.
        training: how it was fitted.
        digest: of its weights.
    """

    head: nn.Module
    spec: HeadSpec
    trunk: str
    training: dict[str, Any]
    digest: str


def save_head(path: Path, head: nn.Module, spec: HeadSpec, trunk: str, training: dict[str, Any]) -> str:
    """Write the head's weights; returns their digest. OutputError if the file system refuses."""
    metadata = {"head": vars(spec), "trunk": trunk, "training": training}
    return artifact.write(path, KIND, head.state_dict(), metadata)


def load_head(path: Path, trunk: str | None = None) -> HeadFile:
    """Read a head.

    Args:
        path: the file.
        trunk: digest of the mean model it will be used with; None reads it without a check.

    Raises:
        InputError: missing, damaged, not a head, or fitted on another trunk (both digests are named).
        NonFiniteError: NaN or infinity in the weights.
    """
    found = artifact.read(path, KIND)
    try:
        spec = HeadSpec(**found.metadata["head"])
        head = spec.build()
    except (KeyError, TypeError) as error:
        raise InputError(f"the header of {path} does not describe a variance head ({error})") from error
    if trunk is not None:
        remedy = f"diffcov fit-var-head --kind {spec.kind} --force"
        check_trunk(path, f"{spec.kind} head", found.metadata["trunk"], trunk, remedy)
    load_weights(head, found.tensors, path)
    return HeadFile(
        head.eval().requires_grad_(False), spec, found.metadata["trunk"], found.metadata["training"], found.digest
    )
