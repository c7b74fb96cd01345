"""How a network is called, apart from what it computes: the layout of its activations, and whether it is compiled.

Both change results by rounding alone, but for the dropout of a training: its numbers are drawn in the order of the
memory, so that another layout gives them to other pixels. Neither is part of what a mean is: the network stays as it
was built, so that weights keep their names.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcov.denoiser.taps import Submodule, Tap
from diffcov.errors import UsageError
from diffcov.nets.features import Features

__all__ = ["LAYOUTS", "PLAIN", "Caller", "Way", "bare"]

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
"""Memory formats of what a network is given; the activations inside follow."""


@dataclass(frozen=True)
class Way:
    """A way of calling.

    Args:
        layout: a name of ``LAYOUTS``.
        batch: number of images that the network is compiled for, at the first call; None does not compile it. Fewer
            are filled up to it if they are more than half, and all other numbers are not compiled: a second
            compilation takes longer than it saves.
        training: whether it is compiled with its gradient, else without; a call of the other kind is not compiled.

    Raises:
        UsageError: an unknown layout, or a batch of no images.
    """

    layout: str = "contiguous"
    batch: int | None = None
    training: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError(f"a layout is one of {', '.join(LAYOUTS)}, found {self.layout!r}")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a network is compiled for at least 1 image, found {self.batch}")

    @property
    def compiled(self) -> bool:
        """Whether the network is compiled."""
        return self.batch is not None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for what is written beside results."""
        return asdict(self)


PLAIN = Way()
"""The network as it is: to the last bit what it would be without any of this."""


def bare(network: nn.Module) -> nn.Module:
    """The network itself, out of what torch.compile and data parallelism put around it and into its weights' names."""
    while isinstance(inner := getattr(network, "_orig_mod", None) or _parallel(network), nn.Module):
        network = inner
    return network


def _parallel(network: nn.Module) -> nn.Module | None:
    return network.module if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel) else None


class Caller:
    """Calls one network in one way.

    Args:
        network: called, never changed but for the strides of its weights on a GPU.
        tap: takes features on the way.
        way: how.

    Raises:
        UsageError: a network that is to be compiled, and features that are taken at one of its submodules.
    """

    def __init__(self, network: nn.Module, tap: Tap, way: Way = PLAIN) -> None:
        if way.compiled and isinstance(tap, Submodule):
            raise UsageError(
                f"the features are taken at the submodule {tap.name!r}, which a compiled network does not show; use "
                "--compile off"
            )
        self.network, self.tap, self.way = network, tap, way
        self._compiled: Callable[..., Any] | None = None
        if self._on_gpu and (way.layout != PLAIN.layout or not all(p.is_contiguous() for p in network.parameters())):
            network.to(memory_format=LAYOUTS[way.layout])  # type: ignore[call-overload]  # a CPU's convolutions pack weights anew in any case

    def __deepcopy__(self, memo: dict[int, Any]) -> Caller:
        """A caller of the copied network, which is compiled anew."""
        return Caller(copy.deepcopy(self.network, memo), copy.deepcopy(self.tap, memo), self.way)

    def __call__(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features | None]:
        """The output at (x, times) or (x, times, labels), contiguous, and the features."""
        if self._fits(len(inputs[0])):
            return self._call_compiled(inputs)
        if self.way.layout == PLAIN.layout:
            return self.tap.call(self.network, inputs)
        x = inputs[0].contiguous(memory_format=LAYOUTS[self.way.layout])
        output, features = self.tap.call(self.network, (x, *inputs[1:]))
        return output.contiguous(), features

    def _fits(self, images: int) -> bool:
        batch = self.way.batch
        if batch is None or not batch < 2 * images <= 2 * batch:
            return False
        return torch.is_grad_enabled() == self.way.training == self.network.training

    def _call_compiled(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features | None]:
        images, batch = len(inputs[0]), self.way.batch
        assert batch is not None
        with self._ordinary_tensors():
            x = inputs[0].clone(memory_format=LAYOUTS[self.way.layout])  # of the same strides every time
            filled = [_filled(part, batch) for part in (x, *(part.clone() for part in inputs[1:]))]
            filled[0] = filled[0].contiguous(memory_format=LAYOUTS[self.way.layout])
            output, features = self.tap.call(self._network(), tuple(filled))  # type: ignore[arg-type]
            output = output[:images].contiguous()
            if features is not None:
                features = Features(*(part[:images] for part in features))
            if self._graphed:  # the graph's own memory, which its next call writes to
                output = output.clone()
                features = None if features is None else Features(*(part.clone() for part in features))
        return output, features

    def _ordinary_tensors(self) -> AbstractContextManager[Any]:
        """Without a graph, and not in inference mode: its tensors are of another kind, for which code is made anew."""
        return nullcontext() if self.way.training else _without_graph()

    @property
    def _graphed(self) -> bool:
        """Whether calls are one CUDA graph each."""
        return self._on_gpu and not self.way.training

    @property
    def _on_gpu(self) -> bool:
        return any(parameter.device.type == "cuda" for parameter in self.network.parameters())

    def _network(self) -> Callable[..., Any]:
        """The compiled network, which is never an attribute of a module: no name of a weight passes through it."""
        if self._compiled is None:
            if self._graphed:
                self._compiled = torch.compile(self.network, dynamic=False, mode="reduce-overhead")
            else:  # dropout draws what it would draw without a compiler
                self._compiled = torch.compile(self.network, dynamic=False, options={"fallback_random": True})
        if self._graphed:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._compiled


@contextmanager
def _without_graph() -> Iterator[None]:
    with torch.inference_mode(False), torch.no_grad():
        yield


def _filled(part: Tensor, batch: int) -> Tensor:
    """(n, ...) -> (batch, ...) by repeating the last."""
    missing = batch - len(part)
    return torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
