"""The variance table on disk: the same numbers, bound to the mean it was measured on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.denoiser.network import TimeConvention
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.unet import UNetConfig
from diffcov.statistics.table import VarianceTable
from diffcov.store import artifact
from diffcov.store.table import load_table, save_table
from oracles.gaussian import GaussianWorld

SCHEDULE = NoiseSchedule.linear(50)
DATA = DataDescription(1, 8, 4, levels=17, low=-2.0, high=2.0)
NETWORK = UNetConfig(1, 8, 4, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1)
SPEC = MeanSpec(NETWORK, SCHEDULE, DATA, TimeConvention(1.0, 20.0))
TRUNK, OTHER = "a1b2c3d4e5f6" + "0" * 52, "f6e5d4c3b2a1" + "1" * 52
CONFIG = {"samples": 3, "times": [1, 50], "seed": 9, "data": {"source": "digits"}}
METADATA = {"schedule": SCHEDULE.spec, "data": DATA.as_dict(), "trunk": TRUNK, "config": CONFIG}


def saved(path: Path) -> tuple[VarianceTable, str]:
    table = GaussianWorld(SCHEDULE, mean=0.1, var=0.3).table()
    return table, save_table(path, table, SPEC, TRUNK, CONFIG)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    table, digest = saved(tmp_path / "variance.safetensors")
    for trunk in (None, TRUNK):
        found = load_table(tmp_path / "variance.safetensors", trunk)
        assert (found.schedule, found.trunk, found.config, found.digest) == (SCHEDULE, TRUNK, CONFIG, digest)
        assert found.data == DATA
        for name, value in table.tensors().items():
            assert found.statistics.tensors()[name].dtype == torch.float64
            assert torch.equal(found.statistics.tensors()[name], value)


def test_another_trunk_names_both_digests_and_the_remedy(tmp_path: Path) -> None:
    saved(path := tmp_path / "variance.safetensors")
    with pytest.raises(InputError) as caught:
        load_table(path, OTHER)
    message = str(caught.value)
    assert str(path) in message
    assert TRUNK[:12] in message
    assert OTHER[:12] in message
    assert "diffcov estimate-var --force" in message


def test_another_kind(tmp_path: Path) -> None:
    artifact.write(tmp_path / "a.safetensors", "head", {"w": torch.ones(1)}, {})
    with pytest.raises(InputError, match="is a 'head' file, but a 'variance-table' file is needed"):
        load_table(tmp_path / "a.safetensors")


def test_missing_and_surplus_statistics(tmp_path: Path) -> None:
    table, _ = saved(path := tmp_path / "variance.safetensors")
    without = {name: value for name, value in table.tensors().items() if name != "error_sq"}
    for tensors in (without, {**table.tensors(), "kurtosis": torch.ones(51)}):
        artifact.write(path, "variance-table", tensors, METADATA)
        with pytest.raises(InputError, match=r"lacks what this diffcov needs \(.*'(error_sq|kurtosis)'\)"):
            load_table(path)


def test_another_length_than_its_schedule(tmp_path: Path) -> None:
    table, _ = saved(path := tmp_path / "variance.safetensors")
    metadata = {**METADATA, "schedule": NoiseSchedule.linear(60).spec}
    artifact.write(path, "variance-table", table.tensors(), metadata)
    with pytest.raises(InputError, match="holds 50 times, but its schedule has T=60"):
        load_table(path)


@pytest.mark.parametrize("missing", ["schedule", "data", "trunk", "config"])
def test_missing_header_entries(tmp_path: Path, missing: str) -> None:
    table, _ = saved(path := tmp_path / "variance.safetensors")
    metadata = {name: value for name, value in METADATA.items() if name != missing}
    artifact.write(path, "variance-table", table.tensors(), metadata)
    with pytest.raises(InputError, match=rf".*variance\.safetensors lacks .*\('{missing}'\)"):
        load_table(path, TRUNK)


def test_images_that_are_not_described(tmp_path: Path) -> None:
    table, _ = saved(path := tmp_path / "variance.safetensors")
    artifact.write(path, "variance-table", table.tensors(), {**METADATA, "data": {"channels": 1}})
    with pytest.raises(InputError, match=r".*variance\.safetensors lacks what this diffcov needs"):
        load_table(path)
