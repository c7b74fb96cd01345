"""A network that somebody's function builds, named but not imported until its name is trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn

from diffcov.errors import InputError, UsageError
from diffcov.named import named
from diffcov.nets.adapters import ADAPTERS, PROGRAMS

__all__ = ["BuiltBy"]


@dataclass(frozen=True)
class BuiltBy:
    """``builder(**arguments)``, the network that weights in a file belong to.

    Attributes:
        builder: "package.module:function".
        arguments: JSON values by name.

    Raises:
        UsageError: a name of another form.
    """

    builder: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        module, colon, function = self.builder.partition(":")
        if not (module and colon and function):
            raise UsageError(f"a builder is named package.module:function, found {self.builder!r}")

    @property
    def program(self) -> str | None:
        """What has to be trusted before it is run: a function by its name, or a program's file by its digest.

        None for the networks of published families, whose builders are ours.
        """
        if self.builder in ADAPTERS:
            return None
        if self.builder in PROGRAMS:
            return f"{PROGRAMS[self.builder]}:{str(self.arguments.get('digest'))[:12]}"
        return self.builder

    def build(self) -> nn.Module:
        """Import the module and call the function: this runs foreign code, so whoever calls it trusts the name.

        Raises:
            InputError: no such module or function, or one that does not take the arguments or gives no network.
        """
        function = self._function()
        try:
            signature(function).bind(**self.arguments)
        except TypeError as error:
            raise InputError(
                f"{self.builder} does not take the arguments {dict(self.arguments)} ({error}); give those that the "
                "network was built with"
            ) from error
        network = function(**self.arguments)
        if not isinstance(network, nn.Module):
            raise InputError(f"{self.builder} gives {type(network).__name__}, and a network is a torch.nn.Module")
        return network

    def _function(self) -> Callable[..., Any]:
        try:
            found = named(self.builder)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"the network of this mean is built by {self.builder}, and that cannot be imported ({error}); run from "
                "where the package is, or install it"
            ) from error
        if not callable(found):
            raise InputError(f"{self.builder} is {type(found).__name__}, and a network is built by a function")
        function: Callable[..., Any] = found
        return function

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return {"builder": self.builder, "arguments": dict(self.arguments)}

    def decides(self) -> dict[str, Any]:
        """What decides the network's function beside its weights: not the builder's name, which may move."""
        return {"arguments": dict(self.arguments)} if self.arguments else {}

    @staticmethod
    def wrote(values: Mapping[str, Any]) -> bool:
        """Whether plain values are those of a named builder, and not those of a U-Net."""
        return "builder" in values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BuiltBy:
        """The inverse of :meth:`as_dict`."""
        return cls(**values)
