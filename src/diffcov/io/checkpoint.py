"""Mean models on disk: EMA weights with everything needed to rebuild the model and to know where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.io import artifact
from diffcov.mean_model import PRECISIONS, MeanModel, TimeConvention
from diffcov.models.unet import UNet, UNetConfig
from diffcov.schedule import NoiseSchedule

__all__ = ["MeanCheckpoint", "MeanSpec", "load_mean", "save_mean"]

KIND = "mean"


@dataclass(frozen=True)
class MeanSpec:
    """What a mean model is, apart from its weights; equal specs build the same model.

    Attributes:
        network: the U-Net.
        schedule: the noise schedule.
        data: the images.
        time: the network's time convention.
        precision: name of the network's inner precision.
    """

    network: UNetConfig
    schedule: NoiseSchedule
    data: DataDescription
    time: TimeConvention
    precision: str = "fp32"

    def build(self) -> MeanModel:
        """A model with freshly initialised weights."""
        return MeanModel(UNet(self.network), self.schedule, self.data, self.time, PRECISIONS[self.precision])

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for metadata."""
        return {
            "network": self.network.as_dict(),
            "schedule": self.schedule.spec,
            "data": self.data.as_dict(),
            "time": self.time.as_dict(),
            "precision": self.precision,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MeanSpec:
        """The inverse of :meth:`as_dict`; InputError if it is not one."""
        try:
            return cls(
                UNetConfig.from_dict(values["network"]),
                NoiseSchedule.from_spec(values["schedule"]),
                DataDescription.from_dict(values["data"]),
                TimeConvention(**values["time"]),
                values["precision"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"this header does not describe a mean model ({error})") from error


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
    spec = MeanSpec.from_dict(found.metadata)
    model = spec.build()
    load_weights(model.trunk, found.tensors, path)
    return MeanCheckpoint(model.freeze(), spec, found.metadata["training"], found.digest)


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
