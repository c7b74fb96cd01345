"""Ways in which published models differ and which no file says, for the families to offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diffcov.denoiser.time import TimeConvention
from diffcov.store.foreign.facts import Meaning, Variation, scheduled

__all__ = ["Change", "as_it_is", "predictions", "ranges", "schedules", "times"]

Change = Callable[[Meaning], Meaning]


def as_it_is(meaning: Meaning) -> Meaning:
    """No change: what is assumed."""
    return meaning


def _timed(offset: float, spans_thousand: bool = False) -> Change:
    def change(meaning: Meaning) -> Meaning:
        reading = meaning.reading
        time = TimeConvention(offset, 1000 / reading.schedule.T if spans_thousand else 1.0)
        return replace(meaning, reading=replace(reading, time=time))

    return change


TIMES: dict[str, Change] = {
    "0..T-1": _timed(1.0),
    "1..T": _timed(0.0),
    "0..1000 for any T": _timed(1.0, spans_thousand=True),
    "1..T, then * 1000 / T": _timed(0.0, spans_thousand=True),
}
"""Where times begin, and whether they span a thousand whatever T is."""


def times(*words: str) -> Variation:
    """How times are counted: some of :data:`TIMES`, the assumed one first."""
    return Variation("times", {word: TIMES[word] for word in words})


def predictions(stated: str = "eps") -> Variation:
    """What the output is; the stated way first."""

    def predicting(name: str) -> Change:
        return lambda meaning: replace(meaning, reading=replace(meaning.reading, predicts=name))

    return Variation("prediction", {name: predicting(name) for name in dict.fromkeys((stated, "eps", "v", "x0"))})


def ranges() -> Variation:
    """What black and white are to the network; the first is what is assumed."""

    def from_zero(meaning: Meaning) -> Meaning:
        data = replace(meaning.reading.data, low=0.0, high=1.0)
        return replace(meaning, reading=replace(meaning.reading, data=data))

    return Variation("range", {"[-1, 1]": as_it_is, "[0, 1]": from_zero})


def schedules() -> Variation:
    """The usual noise schedules of a thousand steps; the first is what is assumed."""

    def scheduling(name: str) -> Change:
        return lambda meaning: scheduled(meaning, name, meaning.reading.schedule.T)

    return Variation("schedule", {name: scheduling(name) for name in ("linear", "cosine", "scaled_linear", "sigmoid")})
