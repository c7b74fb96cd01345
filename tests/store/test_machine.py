"""What is kept with the machine: where, under which key, and that damage costs a measurement and no more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from diffcov.errors import OutputError
from diffcov.store import machine
from diffcov.store.machine import cache_folder, keep_compiled_code, processor_name, read_ratios, save_ratios

KEY = {"threads": 2, "network": "abc"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "diffcov"


def test_the_folder_is_the_platform_s(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    for platform, expected in {"linux": ".cache", "darwin": "Library/Caches"}.items():
        monkeypatch.setattr(machine.sys, "platform", platform)
        assert cache_folder() == Path.home() / expected / "diffcov"


def test_what_was_measured_is_read_under_its_own_key(cache: Path) -> None:
    assert read_ratios(KEY) == {}
    save_ratios(KEY, {"channels_last": 0.8})
    assert read_ratios(dict(reversed(KEY.items()))) == {"channels_last": 0.8}
    assert read_ratios({**KEY, "threads": 1}) == {}
    (file,) = (cache / "calls").iterdir()
    assert json.loads(file.read_text())["key"] == KEY, "in clear"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"measured": 3}', '{"measured": {"a": "b"}}'])
def test_a_damaged_file_is_as_none(cache: Path, text: str) -> None:
    save_ratios(KEY, {"channels_last": 0.8})
    next((cache / "calls").iterdir()).write_text(text)
    assert read_ratios(KEY) == {}


def test_a_folder_that_cannot_be_written_is_said(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(OutputError, match="could not write"):
        save_ratios(KEY, {})


def test_compiled_code_is_kept_where_the_user_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.COMPILED, "there")
    keep_compiled_code()
    assert os.environ[machine.COMPILED] == "there"
    monkeypatch.delenv(machine.COMPILED)
    keep_compiled_code()
    assert os.environ[machine.COMPILED] == str(cache / "compiled")


def test_the_processor_has_a_name() -> None:
    assert len(processor_name()) > 8
    assert processor_name() == processor_name()
