"""A kept scale comes back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcov.engines.scale.search import FittedScale
from diffcov.errors import InputError, NonFiniteError
from diffcov.store import artifact
from diffcov.store.scale import ScaleFile, load_scale, save_scale

FOUND = FittedScale(1 + 1 / 3, ((1.0, 0.3), (1.1, 1 / 3)))
SAMPLER = {
    "solver": {"name": "ddim", "eta": 0.0},
    "grid": {"times": [1, 5]},
    "covariance": {"name": "spectral", "made_of": {"spectrum.safetensors": "abc"}},
    "classes": None,
}
TENSORS = {
    "scale": torch.tensor(FOUND.scale, dtype=torch.float64),
    "tried": torch.tensor(FOUND.tried, dtype=torch.float64),
}


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.safetensors"
    save_scale(path, FOUND, "trunk", SAMPLER)
    assert load_scale(path) == ScaleFile(FOUND, "trunk", SAMPLER)


def test_damage_and_gaps_are_told(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_scale(path, FOUND, "trunk", SAMPLER)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"one\.safetensors"):
        load_scale(path)
    artifact.write(path, "eps-scale", {"scale": torch.ones(())}, {"trunk": "t", "sampler": SAMPLER})
    with pytest.raises(InputError, match=r"one\.safetensors lacks what this diffcov needs"):
        load_scale(path)


@pytest.mark.parametrize("missing", ["trunk", "sampler"])
def test_a_header_that_lacks_something(tmp_path: Path, missing: str) -> None:
    metadata = {name: value for name, value in (("trunk", "t"), ("sampler", SAMPLER)) if name != missing}
    artifact.write(path := tmp_path / "one.safetensors", "eps-scale", TENSORS, metadata)
    with pytest.raises(InputError, match=r"one\.safetensors lacks what this diffcov needs"):
        load_scale(path)


def test_a_file_of_the_version_before_tells_its_settings_instead_of_a_sampler(tmp_path: Path) -> None:
    """``inspect`` can still show it; no sampler takes it for its own."""
    metadata = {"trunk": "t", "fitted": {"spectrum.safetensors": "abc"}, "config": {"times": [1, 5], "eta": 0.0}}
    artifact.write(path := tmp_path / "one.safetensors", "eps-scale", TENSORS, metadata)
    assert load_scale(path) == ScaleFile(FOUND, "t", {"times": [1, 5], "eta": 0.0})


@pytest.mark.parametrize("name", ["scale", "tried"])
def test_numbers_that_are_none(tmp_path: Path, name: str) -> None:
    broken = {**TENSORS, name: torch.full_like(TENSORS[name], torch.nan)}
    artifact.write(path := tmp_path / "one.safetensors", "eps-scale", broken, {"trunk": "t", "sampler": SAMPLER})
    with pytest.raises(NonFiniteError, match=f"holds NaN or infinity in {name}"):
        load_scale(path)
