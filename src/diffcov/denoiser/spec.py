"""What a mean model is, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.errors import UsageError
from diffcov.nets.built_by import BuiltBy
from diffcov.nets.unet import UNetConfig

__all__ = ["MeanSpec"]


class NetworkSpec(Protocol):
    """How a network is built."""

    def build(self) -> nn.Module:
        """The network with fresh weights."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for metadata."""

    def decides(self) -> dict[str, Any]:
        """What decides the network's function beside its weights; part of the mean's digest."""


@dataclass(frozen=True)
class MeanSpec:
    """Equal specs build the same model.

    Attributes:
        network: our U-Net, or a network that a function of somebody's builds.
        reading: how it is read.
        precision: name of the network's inner precision.
        features: name of the submodule whose output heads read; None takes what the network offers.

    Raises:
        KeyError: a precision that is not in ``PRECISIONS``.
        UsageError: a U-Net of other classes than its reading's.
    """

    network: NetworkSpec
    reading: Reading
    precision: str = "fp32"
    features: str | None = None

    def __post_init__(self) -> None:
        PRECISIONS[self.precision]
        if isinstance(self.network, UNetConfig) and self.network.classes != self.reading.classes:
            raise UsageError(
                f"the network knows {self.network.classes} classes and is to be read with {self.reading.classes}"
            )

    def build(self) -> MeanModel:
        """A model with freshly initialised weights."""
        return self.wrap(self.network.build())

    def wrap(self, network: nn.Module) -> MeanModel:
        """A model around a network that exists."""
        return MeanModel(network, self.reading, self.features, PRECISIONS[self.precision], self.network.decides())

    @classmethod
    def of(cls, model: MeanModel, builder: str, arguments: dict[str, Any]) -> MeanSpec:
        """The spec of a model whose network ``builder(**arguments)`` builds; see :class:`BuiltBy`."""
        precision = "fp32" if model.autocast is None else model.precision
        return cls(BuiltBy(builder, arguments), model.reading, precision, model.tapped_at)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for metadata."""
        return {
            "network": self.network.as_dict(),
            **self.reading.as_dict(),
            "precision": self.precision,
            "features": self.features,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MeanSpec:
        """The inverse of :meth:`as_dict`; a KeyError, TypeError or UsageError if it is not one."""
        network = values["network"]
        return cls(
            BuiltBy.from_dict(network) if BuiltBy.wrote(network) else UNetConfig.from_dict(network),
            Reading.from_dict(values),
            values["precision"],
            values.get("features"),
        )
