"""The mean model: a network, and how it is read.

Any ``torch.nn.Module`` that predicts the noise, v or the image from (x_t, time) becomes one, and looks the same from
here on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.call import Caller, Way, bare
from diffcov.denoiser.look import Look
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.taps import Inputs, tap_for
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.digest import digest_of_tensors, digest_of_values
from diffcov.errors import DiffcovError, InputError
from diffcov.nets.blocks import single_or_double, timestep_embedding
from diffcov.nets.features import Features

__all__ = ["PRECISIONS", "MeanModel"]

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}
"""Precision of the network's inside by the command line's name; everything outside it is float32 or better."""
NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Names of precisions, also of those that only the weights themselves can have."""


class MeanModel(Denoiser):
    """A network with its reading; see :meth:`of` for networks that others made.

    Args:
        network: (x (B, C, H, W), times (B,) in its convention[, labels (B,)]) -> its output (B, C, H, W), or (B, 2C, H,
            W) if it learned a variance too; alone or as the first of several things. Labels are given if the reading
            has classes.
        reading: what that means.
        features: name of the submodule whose output heads read; None takes what the network offers (it then returns
            (output, ``Features``) and has the attributes ``feature_channels`` and ``embedding_width``), else x_t and
            eps_hat themselves.
        autocast: dtype of the network's inside, or None for that of its weights.
        decides: what decides the network's function beside its weights, such as the arguments of its builder; plain
            values. They are part of the digest.

    Raises:
        InputError: a submodule that is not there.
    """

    def __init__(
        self,
        network: nn.Module,
        reading: Reading,
        features: str | None = None,
        autocast: torch.dtype | None = None,
        decides: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network = bare(network)
        self.reading = reading
        self.tapped_at = features
        self.autocast = autocast
        self.decides = dict(decides or {})
        self._digest: str | None = None
        self.tap = tap_for(network, features, reading.data.shape, reading.inputs(*self._example(), self.dtype))
        self.caller = Caller(network, self.tap)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        *,
        predicts: str,
        schedule: NoiseSchedule | Sequence[float] | Tensor,
        data: DataDescription,
        time: TimeConvention | None = None,
        classes: int = 0,
        needs_labels: bool = False,
        learned_range: bool = False,
        features: str | None = None,
    ) -> Self:
        """A trained network of anybody's; frozen and in eval mode from here on.

        Args:
            network, features: as for the class.
            predicts: "eps", "v" or "x0".
            schedule: the noise schedule, or its betas.
            data: the images: shape, range and number of grey levels.
            time: how it counts; from 0 by default.
            classes, needs_labels, learned_range: as for :class:`Reading`.

        Raises:
            UsageError: a reading that contradicts itself.
            InputError: a network that cannot be called as its reading says; it is tried once.
        """
        known = schedule if isinstance(schedule, NoiseSchedule) else NoiseSchedule.from_betas(schedule)
        reading = Reading(known, data, time or TimeConvention(), predicts, classes, needs_labels, learned_range)
        try:
            mean = cls(network.eval(), reading, features).freeze()
            with torch.no_grad():
                mean.look(*mean._example())
        except DiffcovError:
            raise
        except Exception as error:  # whatever a stranger's forward raises
            called = f"x (1, {', '.join(str(size) for size in data.shape)}), times (1,)"
            labels = " and labels (1,)" if classes else ""
            why = str(error).strip().splitlines() or [""]
            raise InputError(
                f"the network was tried with {called}{labels}, as its reading says, and raised "
                f"{type(error).__name__}: {why[0]}"
            ) from error
        return mean

    def _example(self) -> tuple[Tensor, int, Tensor | None]:
        """What a look can be tried with: one image at t = 1, of the first class."""
        label = torch.zeros(1, dtype=torch.int64, device=self.device) if self.reading.classes else None
        return torch.zeros(1, *self.data.shape, device=self.device), 1, label

    def freeze(self) -> Self:
        """Eval mode for good and no gradients: what measuring, fitting and sampling need of a network."""
        self.eval().requires_grad_(False)
        self._digest = None
        return self

    def call_by(self, way: Way) -> Self:
        """Call the network in this way from here on: the same numbers up to rounding, and the same digest."""
        self.caller = Caller(self.network, self.tap, way)
        return self

    def output(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Tensor:
        """What the network predicts (eps, v or x_0), (B, C, H, W), dtype of ``x_t``; arguments as for :meth:`look`."""
        raw, _ = self._call(self.reading.inputs(x_t, t, cond, self.dtype))
        return self.reading.halves(raw.to(x_t.dtype), len(x_t))[0]

    def look(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Look:
        """One call of the network; see :meth:`Denoiser.look`.

        Raises:
            InputError: an output of another shape than the images.
        """
        self.reading.check_time(t)
        inputs = self.reading.inputs(x_t, t, cond, self.dtype)
        raw, features = self._call(inputs)
        output, learned = self.reading.halves(raw.to(x_t.dtype), len(x_t))
        seen, level = inputs[0].to(x_t.dtype), Level.at(self.schedule, t, x_t)
        eps_hat = self.reading.parametrisation.eps(seen, output, level)
        if features is None:
            features = Features(torch.cat([seen, eps_hat], 1), timestep_embedding(inputs[1], self.embedding_width))
        return Look(
            x_t=x_t,
            t=t,
            x0_hat=self.reading.parametrisation.x0(seen, output, level),
            eps_hat=eps_hat,
            predicted=eps_hat,
            features=Features(*(single_or_double(part) for part in features)),
            learned=learned,
        )

    def _call(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Features | None]:
        with torch.autocast(inputs[0].device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.caller(inputs)

    @property
    def schedule(self) -> NoiseSchedule:
        return self.reading.schedule

    @property
    def data(self) -> DataDescription:
        return self.reading.data

    @property
    def device(self) -> torch.device:
        tensor = self._some_tensor()
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of what the network is given."""
        tensor = self._some_tensor()
        return torch.float32 if tensor is None else tensor.dtype

    def _some_tensor(self) -> Tensor | None:
        every = chain(self.network.parameters(), self.network.buffers())
        return next((tensor for tensor in every if tensor.is_floating_point()), None)

    @property
    def classes(self) -> int:
        return self.reading.classes

    @property
    def needs_labels(self) -> bool:
        return self.reading.needs_labels

    @property
    def feature_channels(self) -> int:
        return self.tap.feature_channels

    @property
    def embedding_width(self) -> int:
        return self.tap.embedding_width

    @property
    def plain_features(self) -> bool:
        return isinstance(self.tap, Inputs)

    @property
    def calls(self) -> int:
        return 1

    @property
    def view(self) -> View:
        return View()

    @property
    def precision(self) -> str:
        inside = self.autocast or self.dtype
        return NAMES.get(inside, str(inside).removeprefix("torch."))

    @property
    def digest(self) -> str:
        """sha256 (hex) of weights, what decides the network beside them, reading, and where features are taken.

        Kept from one time to the next in eval mode; weights that are changed by hand need :meth:`freeze` again.
        """
        if self._digest is not None and not self.training:
            return self._digest
        values: dict[str, Any] = {
            "weights": digest_of_tensors(self.network.state_dict()),
            "network": self.decides or None,
            **self.reading.as_dict(),
        }
        if self.tapped_at is not None:
            values["features"] = self.tapped_at
        found = digest_of_values(values)
        self._digest = None if self.training else found
        return found

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Every move to another device or dtype comes by here."""
        self._digest = None
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved
