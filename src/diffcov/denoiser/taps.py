"""Where the features that heads read come from: the network itself, a submodule by its name, or input and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.errors import InputError
from diffcov.nets.blocks import timestep_embedding
from diffcov.nets.features import Features

__all__ = ["Inputs", "Own", "Submodule", "Tap", "tap_for"]

EMBEDDING = 64
"""Width of the sinusoids that stand in for a time embedding."""


class Tap(Protocol):
    """Calls a network and takes features on the way."""

    @property
    def feature_channels(self) -> int:
        """F of the activations."""

    @property
    def embedding_width(self) -> int:
        """E of the embedding."""

    def call(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features | None]:
        """The output at (x, times) or (x, times, labels), and the features; None: they are x_t and eps_hat."""


class Own:
    """Features that the network returns beside its output; it says their sizes by attributes of these names."""

    def __init__(self, network: nn.Module) -> None:
        self.feature_channels = int(network.feature_channels)  # type: ignore[arg-type]
        self.embedding_width = int(network.embedding_width)  # type: ignore[arg-type]

    def call(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features | None]:
        """(output, features) as returned."""
        output, features = network(*inputs)
        return output, features


class Submodule:
    """The output of a submodule by its name, at the image's size, beside sinusoids of the time.

    Args:
        network: the network.
        name: of the submodule, as ``named_modules`` gives it.
        shape: (C, H, W) of the images.
        example: inputs of one image to try it with.

    Raises:
        InputError: no such submodule, or one whose output is no activation (B, F, h, w).
    """

    embedding_width = EMBEDDING

    def __init__(self, network: nn.Module, name: str, shape: tuple[int, int, int], example: tuple[Tensor, ...]) -> None:
        self.name, self.size = name, shape[1:]
        known = dict(network.named_modules())
        if name not in known:
            raise InputError(f"the network has no submodule {name!r}; it has {', '.join(n for n in known if n)}")
        modes = {module: module.training for module in network.modules()}
        network.eval()  # a trial must not enter the running averages of batch norms
        try:
            with torch.no_grad():
                _, features = self.call(network, example)
        finally:
            for module, mode in modes.items():
                module.training = mode
        self.feature_channels = features.activations.shape[1]

    def call(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features]:
        """The output, and what the submodule gave on the way."""
        caught: list[Any] = []
        hook = network.get_submodule(self.name).register_forward_hook(lambda module, given, out: caught.append(out))
        try:
            output = first(network(*inputs))
        finally:
            hook.remove()
        activations = caught[-1] if caught else None
        if isinstance(activations, tuple | list) and activations:
            activations = activations[0]
        if not isinstance(activations, Tensor) or activations.ndim != 4:
            raise InputError(f"the submodule {self.name!r} gives no activations (B, F, h, w); name another, or none")
        if activations.shape[2:] != self.size:
            activations = F.interpolate(activations, self.size, mode="nearest")
        return output, Features(activations, timestep_embedding(inputs[1], EMBEDDING))


class Inputs:
    """x_t and eps_hat as they are, beside sinusoids of the time: what any network has."""

    embedding_width = EMBEDDING

    def __init__(self, channels: int) -> None:
        self.feature_channels = 2 * channels

    def call(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features | None]:
        """The output, and no features yet."""
        return first(network(*inputs)), None


def tap_for(
    network: nn.Module, name: str | None, shape: tuple[int, int, int], example: tuple[Tensor, ...]
) -> Own | Submodule | Inputs:
    """A named submodule's features if one is named, else the network's own if it offers them, else its inputs."""
    if name is not None:
        return Submodule(network, name, shape, example)
    if hasattr(network, "feature_channels") and hasattr(network, "embedding_width"):
        return Own(network)
    return Inputs(shape[0])


def first(output: Any) -> Tensor:
    """What a network returned, or the first of several things that it returned.

    Raises:
        InputError: that is no tensor.
    """
    if isinstance(output, Mapping):
        output = next(iter(output.values()), None)
    elif isinstance(output, tuple | list):
        output = output[0] if output else None
    if not isinstance(output, Tensor):
        raise InputError(
            "a network gives a tensor, or several things of which the first is one; this one gave "
            f"{type(output).__name__}"
        )
    return output
