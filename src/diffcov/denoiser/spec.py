"""What a mean model is, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from diffcov.data import DataDescription
from diffcov.denoiser.network import PRECISIONS, MeanModel, TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.unet import UNet, UNetConfig

__all__ = ["MeanSpec"]


@dataclass(frozen=True)
class MeanSpec:
    """Equal specs build the same model.

    Attributes:
        network: the U-Net.
        schedule: the noise schedule.
        data: the images.
        time: the network's time convention.
        precision: name of the network's inner precision.

    Raises:
        KeyError: a precision that is not in :data:`diffcov.denoiser.network.PRECISIONS`.
    """

    network: UNetConfig
    schedule: NoiseSchedule
    data: DataDescription
    time: TimeConvention
    precision: str = "fp32"

    def __post_init__(self) -> None:
        PRECISIONS[self.precision]

    def build(self) -> MeanModel:
        """A model with freshly initialised weights."""
        return self.wrap(UNet(self.network))

    def wrap(self, trunk: nn.Module) -> MeanModel:
        """A model around a trunk that exists."""
        return MeanModel(trunk, self.schedule, self.data, self.time, PRECISIONS[self.precision])

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
        """The inverse of :meth:`as_dict`; a KeyError, TypeError or UsageError if it is not one."""
        return cls(
            UNetConfig.from_dict(values["network"]),
            NoiseSchedule.from_spec(values["schedule"]),
            DataDescription.from_dict(values["data"]),
            TimeConvention(**values["time"]),
            values["precision"],
        )
