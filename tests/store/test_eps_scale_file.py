"""A kept scale comes back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcov.engines.scale.search import FittedScale
from diffcov.errors import InputError
from diffcov.store import artifact
from diffcov.store.eps_scale import EpsScaleFile, load_eps_scale, save_eps_scale

FOUND = FittedScale(1 + 1 / 3, ((1.0, 0.3), (1.1, 1 / 3)))


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.safetensors"
    save_eps_scale(path, FOUND, "trunk", {"spectrum.safetensors": "abc"}, {"times": [1, 5], "eta": 0.0})
    expected = EpsScaleFile(FOUND, "trunk", {"spectrum.safetensors": "abc"}, {"times": [1, 5], "eta": 0.0})
    assert load_eps_scale(path) == expected


def test_damage_and_gaps_are_told(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_eps_scale(path, FOUND, "trunk", {}, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"one\.safetensors"):
        load_eps_scale(path)
    artifact.write(path, "eps-scale", {"scale": torch.ones(())}, {"trunk": "t"})
    with pytest.raises(InputError, match=r"one\.safetensors lacks what this diffcov needs"):
        load_eps_scale(path)
