"""Spectrum and matrices on disk: the same numbers, bound to the mean they were measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.network import TimeConvention
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.unet import UNetConfig
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.store import artifact
from diffcov.store.residuals import load_matrices, load_spectrum, save_matrices, save_spectrum

SCHEDULE = NoiseSchedule.linear(50)
DATA = DataDescription(2, 4, 3, levels=17, low=-2.0, high=2.0)
NETWORK = UNetConfig(2, 4, 3, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1)
SPEC = MeanSpec(NETWORK, SCHEDULE, DATA, TimeConvention(1.0, 20.0))
TRUNK, OTHER = "a1b2c3d4e5f6" + "0" * 52, "f6e5d4c3b2a1" + "1" * 52
KNOTS = Knots((1, 20, 50))
CONFIG = {"samples": 4, "times": [1, 20, 50], "seed": 9, "flip": True, "data": {"source": "digits"}}
METADATA = {"schedule": SCHEDULE.spec, "data": DATA.as_dict(), "trunk": TRUNK, "config": CONFIG}
COLOUR = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
EITHER = ["spectrum", "matrices"]
KINDS = {"spectrum": "spectrum", "matrices": "residual-matrices"}
LOAD: dict[str, Callable[..., Any]] = {"spectrum": load_spectrum, "matrices": load_matrices}


def measured(what: str) -> Spectrum | ResidualMatrices:
    draw = torch.Generator().manual_seed(0)
    spectrum, matrices = (kind.empty(KNOTS, DATA.shape, COLOUR) for kind in (Spectrum, ResidualMatrices))
    for knot in range(3):
        c = torch.randn(4, *DATA.shape, generator=draw, dtype=torch.float64)
        spectrum.add(knot, c.square())
        matrices.add(knot, c)
    return spectrum if what == "spectrum" else matrices


def saved(what: str, path: Path) -> tuple[Spectrum | ResidualMatrices, str]:
    found = measured(what)
    save: Callable[..., str] = {"spectrum": save_spectrum, "matrices": save_matrices}[what]
    return found, save(path, found, SPEC, TRUNK, CONFIG)


@pytest.mark.parametrize("what", EITHER)
def test_round_trip_is_exact(tmp_path: Path, what: str) -> None:
    """Bit for bit, types included, and so is all that is computed of it."""
    statistics, digest = saved(what, tmp_path / "a.safetensors")
    for trunk in (None, TRUNK):
        found = LOAD[what](tmp_path / "a.safetensors", trunk)
        assert (found.schedule, found.trunk, found.config, found.digest) == (SCHEDULE, TRUNK, CONFIG, digest)
        assert found.data == DATA
        for name, value in statistics.tensors().items():
            assert found.statistics.tensors()[name].dtype == value.dtype
            assert torch.equal(found.statistics.tensors()[name], value)
        if isinstance(statistics, Spectrum):
            times = torch.arange(1, 51)
            assert torch.equal(found.statistics.var_eps(SCHEDULE, times), statistics.var_eps(SCHEDULE, times))
        else:
            mine, theirs = (one.diagonal(SCHEDULE, 33) for one in (found.statistics, statistics))
            assert torch.equal(mine[0].matrix, theirs[0].matrix)
            assert torch.equal(mine[1], theirs[1])


@pytest.mark.parametrize("what", EITHER)
def test_any_safetensors_reads_it(tmp_path: Path, what: str) -> None:
    statistics, _ = saved(what, path := tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as opened:
        assert set(opened.keys()) == statistics.tensors().keys()
        assert opened.metadata()["kind"] == KINDS[what]
    assert path.stat().st_size < 8_000


@pytest.mark.parametrize(("what", "option"), [("spectrum", ""), ("matrices", "--full ")])
def test_another_trunk_names_both_digests_and_the_remedy(tmp_path: Path, what: str, option: str) -> None:
    saved(what, path := tmp_path / "a.safetensors")
    with pytest.raises(InputError) as caught:
        LOAD[what](path, OTHER)
    message = str(caught.value)
    assert str(path) in message
    assert what in message
    assert TRUNK[:12] in message
    assert OTHER[:12] in message
    assert f"diffcov estimate-var {option}--force" in message


@pytest.mark.parametrize("what", EITHER)
def test_another_kind(tmp_path: Path, what: str) -> None:
    """Each other's included."""
    (other,) = set(EITHER) - {what}
    saved(other, path := tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=f"is a '{KINDS[other]}' file, but a '{KINDS[what]}' file is needed"):
        LOAD[what](path)
    artifact.write(path, "head", {"w": torch.ones(1)}, {})
    with pytest.raises(InputError, match=f"is a 'head' file, but a '{KINDS[what]}' file is needed"):
        LOAD[what](path)


@pytest.mark.parametrize("what", EITHER)
def test_missing_damaged_and_truncated(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="no such file"):
        LOAD[what](path)
    saved(what, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(InputError, match="truncated"):
        LOAD[what](path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged"):
        LOAD[what](path)


@pytest.mark.parametrize("what", EITHER)
def test_missing_and_surplus_statistics(tmp_path: Path, what: str) -> None:
    statistics, _ = saved(what, path := tmp_path / "a.safetensors")
    without = {name: value for name, value in statistics.tensors().items() if name != "count"}
    for tensors in (without, {**statistics.tensors(), "kurtosis": torch.ones(51)}):
        artifact.write(path, KINDS[what], tensors, METADATA)
        with pytest.raises(InputError, match=r"lacks what this diffcov needs \(.*'(count|kurtosis)'\)"):
            LOAD[what](path)


@pytest.mark.parametrize(
    ("what", "name", "wrong"),
    [
        ("spectrum", "total", torch.ones(3, 2, 4, 4, dtype=torch.float64)),
        ("spectrum", "size", torch.tensor([3, 4])),
        ("spectrum", "knots", torch.tensor([1, 50])),
        ("matrices", "total", torch.ones(3, 299)),
        ("matrices", "size", torch.tensor([4, 4])),
        ("matrices", "knots", torch.tensor([1, 50])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_statistics_that_do_not_fit_one_another(tmp_path: Path, what: str, name: str, wrong: Tensor) -> None:
    statistics, _ = saved(what, path := tmp_path / "a.safetensors")
    artifact.write(path, KINDS[what], {**statistics.tensors(), name: wrong}, METADATA)
    with pytest.raises(InputError, match=r"a\.safetensors lacks what this diffcov needs"):
        LOAD[what](path)


@pytest.mark.parametrize("what", EITHER)
@pytest.mark.parametrize("missing", ["schedule", "data", "trunk", "config"])
def test_missing_header_entries(tmp_path: Path, what: str, missing: str) -> None:
    statistics, _ = saved(what, path := tmp_path / "a.safetensors")
    metadata = {name: value for name, value in METADATA.items() if name != missing}
    artifact.write(path, KINDS[what], statistics.tensors(), metadata)
    with pytest.raises(InputError, match=rf"a\.safetensors lacks .*\('{missing}'\)"):
        LOAD[what](path, TRUNK)
