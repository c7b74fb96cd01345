"""How a network is called is chosen where the work is long, by trying, once a machine; short work is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.denoiser.call import PLAIN, Way
from diffcov.denoiser.mean_model import MeanModel
from diffcov.errors import UsageError
from diffcov.store.machine import cache_folder
from diffcov.study import quickest
from diffcov.study.listener import Silent
from diffcov.study.quickest import Work, choose_way, measured_precision
from oracles.tiny import tiny_model

LAST = Way("channels_last")
LAST_SAID = "the network runs with activations in channels_last order"
SHORT, MIDDLING, LONG = (Work(4, calls=10.0**n) for n in (4, 5, 8))
"""Of calls that are said to take a millisecond."""


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[Any, float]:
    """Seconds of a call by its way (layout, compiled or not, dtype): it is made, and said to have taken as long."""
    table: dict[Any, float] = {}
    real = quickest._Trial.__call__

    def timed(trial: Any) -> float:
        real(trial)
        way = trial.model.caller.way
        return table.get((way.layout, way.compiled, trial.model.autocast), 0.001)

    monkeypatch.setattr(quickest._Trial, "__call__", timed)
    monkeypatch.setattr(torch, "compile", lambda network, **how: network)
    return table


def chosen(mean: MeanModel, work: Work, asked: Any = "auto") -> tuple[Way, list[str]]:
    heard = Heard()
    way = choose_way(mean, work, asked, heard)
    assert mean.caller.way == way
    return way, heard.notes


def test_few_calls_are_not_even_timed(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.delattr(quickest, "_Trial")
    for work in (Work(64, calls=49), Work(64, seconds=19.0), Work(64)):
        assert chosen(tiny_model(10), work) == (PLAIN, [])
    assert chosen(tiny_model(10), Work(64, calls=1e9), "off") == (PLAIN, [])
    assert list(cache.iterdir()) == [], "and nothing is written"


def test_short_work_is_left_as_it_is(clock: dict[Any, float], cache: Path) -> None:
    clock["channels_last", False, None] = clock["channels_last", True, None] = 1e-9
    assert chosen(tiny_model(10), SHORT) == (PLAIN, [])
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("found", "expected"), [(0.0008, LAST), (0.00097, PLAIN), (0.002, PLAIN)])
def test_a_layout_is_taken_where_it_is_quicker(clock: dict[Any, float], found: float, expected: Way) -> None:
    clock["channels_last", False, None] = found
    way, notes = chosen(tiny_model(10), MIDDLING)
    said = (
        "the network runs with activations in channels_last order: a call of 4 images takes 0.80 of its time otherwise"
    )
    assert (way, notes) == (expected, [said] if expected == LAST else [])


def test_long_work_is_compiled_where_that_is_quicker(clock: dict[Any, float]) -> None:
    clock["channels_last", True, None] = 0.0007
    way, notes = chosen(tiny_model(10), LONG)
    assert way == Way("channels_last", batch=4)
    assert notes == [
        "compiling the network for 4 images a call: a minute or two, and kept for the next time",
        f"{LAST_SAID}, compiled: a call of 4 images takes 0.70 of its time otherwise",
    ]


def test_long_work_is_not_compiled_where_that_is_slower(clock: dict[Any, float]) -> None:
    clock["channels_last", False, None], clock["channels_last", True, None] = 0.0008, 0.00079
    assert chosen(tiny_model(10), LONG)[0] == LAST


def test_what_was_measured_is_not_measured_again(clock: dict[Any, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same network, number of images and precision."""
    clock["channels_last", False, None] = 0.0008
    first, notes = chosen(tiny_model(10), MIDDLING)
    monkeypatch.setattr(quickest, "_paired", lambda one, other: pytest.fail("measured again"))
    assert chosen(tiny_model(10), MIDDLING) == (first, notes)
    with pytest.raises(pytest.fail.Exception):
        chosen(tiny_model(10), Work(5, calls=MIDDLING.calls))


def test_compiling_that_takes_longer_than_it_saves_is_left_out(
    clock: dict[Any, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is known from the first time."""
    clock["channels_last", True, None] = 0.0007
    chosen(tiny_model(10), LONG)
    known = next((cache_folder() / "calls").iterdir())
    text = known.read_text()
    started = text.index('"seconds to compile"')
    known.write_text(text[:started] + '"seconds to compile": 1e9, ' + text[started:].partition(",")[2])
    assert chosen(tiny_model(10), LONG)[0] == PLAIN


def broken(network: Any, **how: Any) -> Callable[..., Any]:
    raise RuntimeError("No working C++ compiler found\nin a long trace")


def test_a_machine_without_a_compiler_goes_on_with_a_note(
    clock: dict[Any, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", broken)
    clock["channels_last", False, None] = 0.0008
    way, notes = chosen(tiny_model(10), LONG)
    assert way == LAST
    assert notes[1] == (
        "the network is not compiled: the network cannot be compiled here (RuntimeError: No working C++ compiler "
        "found); install a C++ compiler such as g++, or use --compile off"
    )


def test_a_machine_without_a_compiler_cannot_be_told_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UsageError) as caught:
        choose_way(tiny_model(10), Work(4, calls=1), "on", Silent())
    assert str(caught.value) == (
        "--compile on: the network cannot be compiled here (RuntimeError: No working C++ compiler found); install a "
        "C++ compiler such as g++, or use --compile off"
    )


@pytest.mark.parametrize("training", [False, True])
def test_trying_leaves_weights_gradients_and_random_numbers_alone(clock: dict[Any, float], training: bool) -> None:
    mean = tiny_model(10)
    mean.autocast = torch.bfloat16
    if training:
        mean.train().requires_grad_(True)
    weights = {name: value.clone() for name, value in mean.network.state_dict().items()}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    clock["channels_last", True, torch.bfloat16] = 0.0007
    way, _ = chosen(mean, Work(4, calls=1e8, training=training))
    assert (way.compiled, way.training) == (True, training)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(weights[name], value) for name, value in mean.network.state_dict().items())
    assert all(parameter.grad is None for parameter in mean.network.parameters())


def test_training_in_float32_on_a_cpu_is_not_compiled_unasked(clock: dict[Any, float]) -> None:
    """Measured: it is no quicker than another layout (benchmarks/the_call.py)."""
    clock["channels_last", True, None] = 0.0007
    mean = tiny_model(10).train().requires_grad_(True)
    work = Work(4, calls=1e8, training=True)
    assert chosen(mean, work) == (PLAIN, [])
    assert chosen(mean, work, "on")[0].compiled


@pytest.mark.parametrize(("seconds", "expected"), [(0.0005, "bf16"), (0.00099, "fp32"), (0.029, "fp32")])
def test_the_quicker_precision_is_taken(clock: dict[Any, float], seconds: float, expected: str) -> None:
    clock["contiguous", False, torch.bfloat16] = seconds
    heard, mean = Heard(), tiny_model(10)
    assert measured_precision(mean, 4, heard) == expected
    assert mean.precision == "fp32", "it is left to whoever asked"
    assert heard.notes == [
        f"precision {expected}: in bf16 a call of 4 images takes {seconds / 0.001:.2f} of the time in fp32 here"
    ]


def test_a_cache_that_cannot_be_written_is_said(clock: dict[Any, float], cache: Path) -> None:
    (cache / "diffcov").write_text("a file")
    clock["channels_last", False, None] = 0.0008
    way, notes = chosen(tiny_model(10), MIDDLING)
    assert way == LAST
    assert notes[0].startswith("measured again the next time: could not write ")
