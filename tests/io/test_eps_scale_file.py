"""A kept scale is taken for exactly what it was fitted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffcov.errors import InputError
from diffcov.io.eps_scale import kept_eps_scale, load_eps_scale, save_eps_scale

SETTINGS: dict[str, Any] = {"fit": 1, "times": (1, 5), "fitted": {"spectrum": "abc"}, "clip_x0": True, "eta": 0.0}
TRIED = ((1.0, 0.3), (1.1, 1 / 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_eps_scale(tmp_path / "one.safetensors", 1 + 1 / 3, TRIED, SETTINGS)
    return tmp_path / "one.safetensors"


def test_round_trip_is_exact(path: Path) -> None:
    found = load_eps_scale(path)
    assert (found.scale, found.tried) == (1 + 1 / 3, TRIED)
    assert found.settings == json.loads(json.dumps(SETTINGS))


def test_the_same_settings_keep_it(path: Path) -> None:
    assert kept_eps_scale(path, SETTINGS) == 1 + 1 / 3
    assert kept_eps_scale(path.with_name("other.safetensors"), SETTINGS) is None


@pytest.mark.parametrize("key", SETTINGS)
def test_any_other_setting_does_not(path: Path, key: str) -> None:
    assert kept_eps_scale(path, {**SETTINGS, key: "other"}) is None
    assert kept_eps_scale(path, {other: value for other, value in SETTINGS.items() if other != key}) is None


def test_damage_is_told(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"one\.safetensors"):
        kept_eps_scale(path, SETTINGS)
