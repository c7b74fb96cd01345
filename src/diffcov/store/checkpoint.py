"""Mean models on disk: weights, everything needed to rebuild the model and, if it is known, where they came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.errors import InputError
from diffcov.nets.built_by import BuiltBy
from diffcov.store import artifact
from diffcov.store.binding import Trunk

__all__ = ["MeanCheckpoint", "StoredMean", "check_size", "load_mean", "load_weights", "read_mean", "save_mean"]

KIND = "mean"


@dataclass(frozen=True)
class MeanCheckpoint:
    """A mean model as read from disk.

    Attributes:
        model: frozen, in eval mode, on the CPU.
        spec: what it is.
        training: how it was trained: settings, iterations, data source. Empty for a mean that was not trained here.
        weights: digest of its weights alone.
    """

    model: MeanModel
    spec: MeanSpec
    training: dict[str, Any]
    weights: str

    @property
    def digest(self) -> str:
        """The model's: of its weights and how they are read."""
        return self.model.digest

    @property
    def trunk(self) -> Trunk:
        """What tables and heads are bound to."""
        reading = self.spec.reading
        of_before = Reading(reading.schedule, reading.data, TimeConvention.spanning_thousand(reading.schedule.T))
        earlier = self.weights if reading == of_before else None
        return Trunk(self.digest, earlier, reading.schedule.spec, reading.data.as_dict())

    @property
    def data(self) -> dict[str, Any] | None:
        """Where the images it was trained on came from; None if that is not known."""
        return self.training.get("data")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings it was trained with; empty if they are not known."""
        found: dict[str, Any] = self.training.get("settings", {})
        return found


def save_mean(path: Path, network: nn.Module, spec: MeanSpec, training: dict[str, Any] | None = None) -> str:
    """Write the weights of ``network``; returns their digest. OutputError if the file system refuses."""
    return artifact.write(path, KIND, network.state_dict(), {**spec.as_dict(), "training": training or {}})


@dataclass(frozen=True)
class StoredMean:
    """What a file says of a mean model; nothing has been built.

    Attributes:
        path: the file.
        spec: what the mean is.
        training: how it was trained; empty for a mean that was not trained here.
        tensors: the weights.
        weights: digest of them.
    """

    path: Path
    spec: MeanSpec
    training: dict[str, Any]
    tensors: dict[str, Tensor]
    weights: str

    @property
    def program(self) -> str | None:
        """What has to be trusted, see :attr:`BuiltBy.program`; None if the network is ours."""
        return self.spec.network.program if isinstance(self.spec.network, BuiltBy) else None

    def built(self, trusted: str | None = None) -> MeanCheckpoint:
        """The model itself.

        Args:
            trusted: the program that may be imported and called, where the network is one.

        Raises:
            InputError: weights that do not fit their configuration, or a network whose builder is not trusted.
        """
        self._check_trusted(trusted)
        if self.program is None:
            check_size(self.spec.network.build, self.tensors, self.path)
        network = self.spec.network.build()
        kinds = {tensor.dtype for tensor in self.tensors.values() if tensor.is_floating_point()}
        if len(kinds) == 1:
            network.to(kinds.pop())  # loading alone would round float64 weights
        load_weights(network, self.tensors, self.path)
        return MeanCheckpoint(self.spec.wrap(network).freeze(), self.spec, self.training, self.weights)

    def _check_trusted(self, trusted: str | None) -> None:
        builder = self.program
        if builder is not None and trusted is None:
            raise InputError(
                f"the network in {self.path} is built by {builder}, which is a program; if you trust it, say --module "
                f"{builder}"
            )
        if trusted is not None and trusted != builder:
            there = "needs no module: its network is ours" if builder is None else f"is built by {builder}"
            raise InputError(f"--module {trusted} was given, and the mean in {self.path} {there}")


def read_mean(path: Path) -> StoredMean:
    """Read what a file says of a mean model.

    Raises:
        InputError: missing, damaged, or not a mean model.
        NonFiniteError: NaN or infinity in the weights.
    """
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        spec = MeanSpec.from_dict(found.metadata)
        return StoredMean(path, spec, dict(found.metadata.get("training") or {}), found.tensors, found.digest)


def load_mean(path: Path, trusted: str | None = None) -> MeanCheckpoint:
    """Read a mean model and build it.

    Args:
        path: the file.
        trusted: the name of the function that may be imported and called to build the network, where the file says that
            such a one must: "package.module:function".

    Raises:
        InputError: missing, damaged, not a mean model, weights that do not fit their configuration, or a network whose
            builder is not trusted.
        NonFiniteError: NaN or infinity in the weights.
    """
    return read_mean(path).built(trusted)


def check_size(build: Callable[[], nn.Module], tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse what a header claims before memory is taken for it.

    Raises:
        InputError: a module of more than twice the numbers that the file has.
    """
    with artifact.understanding(path), torch.device("meta"):
        claimed = sum(tensor.numel() for tensor in build().state_dict().values())
    found = sum(tensor.numel() for tensor in tensors.values())
    if claimed > 2 * found:
        raise InputError(
            f"the weights in {path} do not fit their own configuration: it asks for {claimed:,} numbers, and there are "
            f"{found:,}"
        )


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
