"""Ways in which published models differ and which no file says, for the families to offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diffcov.denoiser.time import TimeConvention
from diffcov.store.foreign.facts import Meaning, Variation, scheduled

__all__ = ["Change", "as_it_is", "predictions", "schedules", "timed", "times"]

Change = Callable[[Meaning], Meaning]


def as_it_is(meaning: Meaning) -> Meaning:
    """No change: what is assumed."""
    return meaning


def timed(offset: float, scale: Callable[[int], float] = lambda T: 1.0) -> Change:
    """Another time convention; its scale may depend on T."""

    def change(meaning: Meaning) -> Meaning:
        reading = meaning.reading
        return replace(meaning, reading=replace(reading, time=TimeConvention(offset, scale(reading.schedule.T))))

    return change


def times() -> Variation:
    """Where times begin, and whether they always span a thousand."""
    ways = {"0..T-1": timed(1.0), "1..T": timed(0.0), "0..1000 for any T": timed(1.0, lambda T: 1000 / T)}
    return Variation("times", ways)


def predictions(stated: str = "eps") -> Variation:
    """What the output is; the stated way first."""

    def predicting(name: str) -> Change:
        return lambda meaning: replace(meaning, reading=replace(meaning.reading, predicts=name))

    return Variation("prediction", {name: predicting(name) for name in dict.fromkeys((stated, "eps", "v", "x0"))})


def schedules() -> Variation:
    """The usual noise schedules of a thousand steps; the first is what is assumed."""

    def scheduling(name: str) -> Change:
        return lambda meaning: replace(meaning, reading=scheduled(meaning.reading, name, meaning.reading.schedule.T))

    return Variation("schedule", {name: scheduling(name) for name in ("linear", "cosine", "scaled_linear", "sigmoid")})
