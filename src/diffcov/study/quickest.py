"""The quickest way of calling a network, by trying each on the network itself where the work is long enough to pay."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from diffcov.denoiser.call import PLAIN, Way
from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.denoiser.taps import Submodule
from diffcov.digest import digest_of_values
from diffcov.errors import OutputError, UsageError
from diffcov.processes.base import current
from diffcov.store.machine import keep_compiled_code, processor_name, read_ratios, save_ratios
from diffcov.study.listener import Listener

__all__ = ["Work", "choose_way", "measured_precision"]

FEW = 50
"""Calls below which nothing is timed: two more would be felt."""
SHORT, LONG = 20.0, 600.0
"""Seconds of work above which layouts are compared, for seconds, and above which compiling is tried, for a minute."""
WORTH = 0.95
"""A ratio above this is no reason to call a network otherwise."""
PAIRS, PATIENCE = 5, 10.0
"""Calls of each that are timed, and seconds after which no further are."""
LAYOUT, COMPILED, SECONDS = "channels_last", "compiled", "seconds to compile"
"""Names under which measurements are kept."""


@dataclass(frozen=True)
class Work:
    """What a network is about to be called for.

    Args:
        batch: images a call.
        calls: how many, as far as that is known; None where only the time is.
        seconds: a budget of time, where there is one; the lesser of the two counts.
        training: whether each is followed by a pass backward.
    """

    batch: int
    calls: float | None = None
    seconds: float | None = None
    training: bool = False


def measured_precision(model: MeanModel, batch: int, say: Listener) -> str:
    """ "bf16" where the network is quicker in it, else "fp32": measured now, or before on this machine."""
    half = PRECISIONS["bf16"]

    def measured() -> float:
        known = _Measured(model, Work(batch))
        return known.ratio("bf16", lambda: _ratio(model, (PLAIN, half), (PLAIN, None), batch, False), say)

    ratio = current().from_first(measured)
    chosen = "bf16" if ratio < WORTH else "fp32"
    say.note(f"precision {chosen}: in bf16 a call of {batch} images takes {ratio:.2f} of the time in fp32 here")
    return chosen


def choose_way(model: MeanModel, work: Work, asked: Literal["auto", "on", "off"], say: Listener) -> Way:
    """Choose how a model's network is called, and let the model call it so.

    Args:
        model: its autocast is as it will be; its weights and the state of its random numbers are left alone.
        work: that is ahead. Little of it is done with the network as it is, to the last bit as without a choice.
        asked: "off" calls the network as it is, "on" compiles it, "auto" measures where the work is long.
        say: told what was chosen, and why not if nothing could be compiled.

    Raises:
        UsageError: "on", and the network cannot be compiled here.
    """
    if asked != "off":
        keep_compiled_code()  # in every process
    choose = {"on": _compiled_now, "auto": _quickest, "off": _plain}[asked]
    way = current().from_first(lambda: choose(model, work, say))  # the same in all processes
    if model.caller.way != way:
        model.call_by(way)
    return way


def _plain(model: MeanModel, work: Work, say: Listener) -> Way:
    return PLAIN


def _quickest(model: MeanModel, work: Work, say: Listener) -> Way:
    ahead = _seconds_ahead(model, work)
    if ahead < SHORT:
        return PLAIN
    known, layout = _Measured(model, work), Way(LAYOUT)
    ratio = known.ratio(LAYOUT, lambda: _ratio_of(model, layout, work), say)
    best, way = (ratio, layout) if ratio < WORTH else (1.0, PLAIN)
    if ahead < LONG or isinstance(model.tap, Submodule) or _gains_nothing(model, work):
        return _told(way, best, work, say)
    saved = ahead * (best - known.values.get(COMPILED, 0.0)) - known.values.get(SECONDS, 0.0)
    if known.values.get(COMPILED, 0.0) < WORTH * best and saved > 0:
        try:
            compiled = _compile(model, work, known, say)
        except UsageError as error:
            say.note(f"the network is not compiled: {error}")
            return _told(way, best, work, say)
        if known.values[COMPILED] < WORTH * best:
            return _told(compiled, known.values[COMPILED], work, say)
    return _told(way, best, work, say)


def _gains_nothing(model: MeanModel, work: Work) -> bool:
    """Where nothing is compiled unasked: a step of training in float32 on a CPU gained nothing over channels_last."""
    return work.training and model.device.type == "cpu" and model.autocast is None


def _compiled_now(model: MeanModel, work: Work, say: Listener) -> Way:
    known = _Measured(model, work)
    try:
        way = _compile(model, work, known, say)
    except UsageError as error:
        raise UsageError(f"--compile on: {error}") from error
    return _told(way, known.values[COMPILED], work, say)


def _compile(model: MeanModel, work: Work, known: _Measured, say: Listener) -> Way:
    """A way whose code has been made, and its ratio among what is known. UsageError if it cannot be made here."""
    way, started = Way(LAYOUT, work.batch, work.training), time.monotonic()
    say.note(f"compiling the network for {work.batch} images a call: a minute or two, and kept for the next time")
    try:
        trial = _Trial(model, way, model.autocast, work.batch, work.training)
        trial()
    except UsageError:  # features of a submodule
        raise
    except Exception as error:  # whatever a compiler and what it calls raise
        why = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(
            f"the network cannot be compiled here ({type(error).__name__}: {why}); install a C++ compiler such as g++, "
            "or use --compile off"
        ) from error
    known.values[SECONDS] = time.monotonic() - started
    known.ratio(COMPILED, lambda: _paired(trial, _Trial(model, PLAIN, model.autocast, work.batch, work.training)), say)
    known.save(say)
    model.caller = trial.model.caller  # its code has been made
    return way


def _told(way: Way, ratio: float, work: Work, say: Listener) -> Way:
    if way != PLAIN:
        how = f"with activations in {way.layout} order" + (", compiled" if way.compiled else "")
        what = "a pass forward and backward" if work.training else "a call"
        say.note(f"the network runs {how}: {what} of {work.batch} images takes {ratio:.2f} of its time otherwise")
    return way


def _seconds_ahead(model: MeanModel, work: Work) -> float:
    """How long the work takes with the network as it is."""
    if work.seconds is not None and (work.calls is None or work.seconds < SHORT):
        return work.seconds
    if work.calls is None or work.calls < FEW:
        return 0.0
    trial = _Trial(model, PLAIN, model.autocast, work.batch, work.training)
    trial()
    ahead = work.calls * trial()
    return ahead if work.seconds is None else min(ahead, work.seconds)


class _Measured:
    """What is known of a network on this machine, by name, and what is measured now beside it."""

    def __init__(self, model: MeanModel, work: Work) -> None:
        device = model.device
        shapes = {name: [*tensor.shape, str(tensor.dtype)] for name, tensor in model.network.state_dict().items()}
        self.key: dict[str, Any] = {
            "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
            "threads": torch.get_num_threads(), "torch": torch.__version__,
            "network": digest_of_values([shapes, model.decides]), "images": [work.batch, *model.data.shape],
            "precision": model.precision, "training": work.training,
        }  # fmt: skip
        self.values: dict[str, float] = read_ratios(self.key)

    def ratio(self, name: str, measure: Callable[[], float], say: Listener) -> float:
        """What is known under a name, else what is measured now."""
        if name not in self.values:
            self.values[name] = measure()
            self.save(say)
        return self.values[name]

    def save(self, say: Listener) -> None:
        """Keep everything for the next time."""
        try:
            save_ratios(self.key, self.values)
        except OutputError as error:
            say.note(f"measured again the next time: {error}")


class _Trial:
    """One call of a network (and, in a training, the pass backward, whose gradients are dropped), timed.

    Args:
        model: of whose network.
        way, dtype: how it is called, and its autocast.
        batch: images.
        training: whether a pass backward follows.
    """

    def __init__(self, model: MeanModel, way: Way, dtype: torch.dtype | None, batch: int, training: bool) -> None:
        self.model = copy.copy(model)  # of the same network
        self.model.autocast, self.training = dtype, training
        self.model.call_by(way)
        images = torch.linspace(model.data.low, model.data.high, batch * model.data.dims)
        self.x_t = images.reshape(batch, *model.data.shape).to(model.device)
        self.t = torch.full((batch,), (1 + model.schedule.T) // 2, device=model.device)
        self.cond = torch.zeros(batch, dtype=torch.int64, device=model.device) if model.classes else None

    def __call__(self) -> float:
        """Seconds that it took; the random numbers of the process are as they were."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.set_grad_enabled(self.training):
            started = time.perf_counter()
            output = self.model.output(self.x_t, self.t, self.cond)
            if self.training:
                output.square().mean().backward()  # type: ignore[no-untyped-call]
                self.model.zero_grad(set_to_none=True)
            output.sum().item()  # a GPU has finished
            return time.perf_counter() - started


def _paired(one: Callable[[], float], other: Callable[[], float]) -> float:
    """The median ratio of times, taken in turn."""
    one(), other()
    started, found = time.monotonic(), list[float]()
    while len(found) < PAIRS and (not found or time.monotonic() - started < PATIENCE):
        found.append(one() / other())
    return statistics.median(found)


def _ratio_of(model: MeanModel, way: Way, work: Work) -> float:
    return _ratio(model, (way, model.autocast), (PLAIN, model.autocast), work.batch, work.training)


Called = tuple[Way, torch.dtype | None]


def _ratio(model: MeanModel, one: Called, other: Called, batch: int, training: bool) -> float:
    return _paired(_Trial(model, *one, batch, training), _Trial(model, *other, batch, training))
