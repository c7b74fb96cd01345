"""Homes in paths, and names that a line of text cannot hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffcov.errors import InputError
from diffcov.store.inception import INCEPTION, VARIABLE, find_weights
from diffcov.store.paths import expanded, expanded_text, shown
from diffcov.study.asked import asked
from diffcov.study.requests.judge import CompareRequest


def test_a_home_stands_for_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/x") == Path("/home/me/x")
    assert expanded(Path("~")) == Path("/home/me")
    assert (expanded("x/~"), expanded("./~/x")) == (Path("x/~"), Path("~/x"))
    kept = ["./~a", "./digits", "digits", ""]
    assert [expanded_text(text) for text in ("~/a", *kept)] == ["/home/me/a", *kept]
    monkeypatch.setenv(VARIABLE, "~/weights.pt")
    assert find_weights(INCEPTION) == Path("/home/me/weights.pt")


def test_an_unknown_home_is_one_sentence() -> None:
    for expand in (expanded, expanded_text):
        with pytest.raises(InputError) as refusal:
            expand("~nosuchuser/images")
        assert str(refusal.value) == (
            "~nosuchuser/images begins with the home ~nosuchuser, which is not known here; write the whole path"
        )
        assert refusal.value.exit_code == 3


def test_every_option_that_is_a_path_has_its_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = {name: f"~/{name}" for name in ("run", "data", "out", "reference", "features", "samplers", "cache")}
    request = asked(CompareRequest, words)
    assert request.place.run == Path("/home/me/run")
    assert request.data == "/home/me/data"
    assert request.out == Path("/home/me/out")
    assert (request.features.reference, request.features.features) == (Path("/home/me/reference"), "/home/me/features")
    assert request.samplers == ("/home/me/samplers",)
    assert request.pictures.cache == Path("/home/me/cache")
    assert asked(CompareRequest, {"run": Path("~/run")}).place.run == Path("/home/me/run")


def test_names_are_shown_on_one_line() -> None:
    assert shown("plain 'é' \"猫\"") == "plain 'é' \"猫\""
    assert shown("a\nb\tc\x1b[31m") == "a\\nb\\tc\\x1b[31m"
    assert shown(Path(os.fsdecode(b"caf\xe9/x"))) == "caf\\xe9/x"
    assert shown("\ud800") == "\\ud800"
