"""Mean models on disk: EMA weights with everything needed to rebuild the model and to know where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from diffcov.denoiser.network import MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.errors import InputError
from diffcov.store import artifact

__all__ = ["MeanCheckpoint", "load_mean", "load_weights", "save_mean"]

KIND = "mean"


@dataclass(frozen=True)
class MeanCheckpoint:
    """A mean model as read from disk.

    Attributes:
        model: frozen, in eval mode, on the CPU.
        spec: what it is.
        training: how it was trained: settings, iterations, data source.
        digest: of its weights; what tables and heads are bound to.
    """

    model: MeanModel
    spec: MeanSpec
    training: dict[str, Any]
    digest: str


def save_mean(path: Path, trunk: nn.Module, spec: MeanSpec, training: dict[str, Any]) -> str:
    """Write the weights of ``trunk``; returns their digest. OutputError if the file system refuses."""
    return artifact.write(path, KIND, trunk.state_dict(), {**spec.as_dict(), "training": training})


def load_mean(path: Path) -> MeanCheckpoint:
    """Read a mean model.

    Raises:
        InputError: missing, damaged, not a mean model, or weights that do not fit its configuration.
        NonFiniteError: NaN or infinity in the weights.
    """
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        spec = MeanSpec.from_dict(found.metadata)
        training = found.metadata["training"]
    model = spec.build()
    load_weights(model.trunk, found.tensors, path)
    return MeanCheckpoint(model.freeze(), spec, training, found.digest)


def load_weights(module: nn.Module, tensors: dict[str, Any], path: Path) -> None:
    """Put tensors into a module, every name and shape exactly.

    Raises:
        InputError: a name missing or too many, or another shape.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise InputError(f"the weights in {path} do not fit their own configuration: {detail}") from error
