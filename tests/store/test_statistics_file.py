"""Statistics on disk: the same numbers, bound to the mean they were measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.base import Statistic
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.registry import STATISTICS, load
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from diffcov.store import artifact
from diffcov.store.binding import Trunk
from diffcov.store.statistics import StatisticFile, load_statistic, save_statistic
from oracles.gaussian import GaussianWorld

SCHEDULE = NoiseSchedule.linear(50)
DATA = DataDescription(2, 4, 3, levels=17, low=-2.0, high=2.0)
READING = Reading(SCHEDULE, DATA, TimeConvention(1.0, 20.0))
TRUNK, OTHER = "a1b2c3d4e5f6" + "0" * 52, "f6e5d4c3b2a1" + "1" * 52
OWN = Trunk(TRUNK, None, SCHEDULE.spec, DATA.as_dict())
KNOTS = Knots((1, 20, 50))
CONFIG = {"samples": 4, "times": [1, 20, 50], "seed": 9, "flip": True, "data": {"source": "digits"}}
METADATA = {"schedule": SCHEDULE.spec, "data": DATA.as_dict(), "trunk": TRUNK, "config": CONFIG}
COLOUR = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
KINDS = {
    "table": "variance-table",
    "spectrum": "spectrum",
    "image-gaussian": "image-gaussian",
    "matrices": "residual-matrices",
}
AT_KNOTS = ["spectrum", "image-gaussian", "matrices"]
every = pytest.mark.parametrize("what", STATISTICS)


def measured(what: str) -> Statistic:
    if what == "table":
        return GaussianWorld(SCHEDULE, mean=0.1, var=0.3).table()
    draw = torch.Generator().manual_seed(0)
    spectrum, matrices = (kind.empty(KNOTS, DATA.shape, COLOUR) for kind in (Spectrum, ResidualMatrices))
    images = ImageGaussian.empty(KNOTS, DATA.shape, COLOUR)
    for knot in range(3):
        c = torch.randn(4, *DATA.shape, generator=draw, dtype=torch.float64)
        spectrum.add(knot, c.square())
        matrices.add(knot, c)
        images.add(knot, c)
    return {"spectrum": spectrum, "matrices": matrices, "image-gaussian": images}[what]


def saved(what: str, path: Path) -> tuple[Statistic, str]:
    found = measured(what)
    return found, save_statistic(path, found, READING, TRUNK, CONFIG)


def loaded(what: str, path: Path, trunk: Trunk | None = None) -> StatisticFile[Any]:
    return load_statistic(path, load(what), trunk)


def assert_computes_the_same(found: Statistic, expected: Statistic) -> None:
    times = torch.arange(1, 51)
    if isinstance(expected, VarianceTable):
        assert isinstance(found, VarianceTable)
        assert torch.equal(found.error_at_all_times(SCHEDULE), expected.error_at_all_times(SCHEDULE))
    elif isinstance(expected, Spectrum):
        assert isinstance(found, Spectrum)
        assert torch.equal(found.var_eps(SCHEDULE, times), expected.var_eps(SCHEDULE, times))
    elif isinstance(expected, ImageGaussian):
        assert isinstance(found, ImageGaussian)
        assert torch.equal(found.mean, expected.mean)
        assert torch.equal(found.var, expected.var)
    else:
        assert isinstance(found, ResidualMatrices)
        assert isinstance(expected, ResidualMatrices)
        mine, theirs = (one.diagonal(SCHEDULE, 33) for one in (found, expected))
        assert torch.equal(mine[0].matrix, theirs[0].matrix)
        assert torch.equal(mine[1], theirs[1])


def test_every_registered_statistic_is_met_here() -> None:
    assert {name: load(name).kind for name in STATISTICS} == KINDS


@every
def test_round_trip_is_exact(tmp_path: Path, what: str) -> None:
    """Bit for bit, types included, and so is all that is computed of it."""
    statistic, digest = saved(what, tmp_path / "a.safetensors")
    for trunk in (None, OWN):
        found = loaded(what, tmp_path / "a.safetensors", trunk)
        assert (found.schedule, found.trunk, found.config, found.digest) == (SCHEDULE, TRUNK, CONFIG, digest)
        assert found.data == DATA
        assert found.statistic.digest == statistic.digest == digest
        assert found.statistic.tensors().keys() == statistic.tensors().keys()
        for name, value in statistic.tensors().items():
            assert found.statistic.tensors()[name].dtype == value.dtype
            assert torch.equal(found.statistic.tensors()[name], value)
        assert_computes_the_same(found.statistic, statistic)


def test_a_table_is_in_double_precision(tmp_path: Path) -> None:
    saved("table", path := tmp_path / "a.safetensors")
    assert {value.dtype for value in loaded("table", path).statistic.tensors().values()} == {torch.float64}


@pytest.mark.parametrize("what", AT_KNOTS)
def test_any_safetensors_reads_it(tmp_path: Path, what: str) -> None:
    statistic, _ = saved(what, path := tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as opened:
        assert set(opened.keys()) == statistic.tensors().keys()
        assert opened.metadata()["kind"] == KINDS[what]
    assert path.stat().st_size < 8_000


@pytest.mark.parametrize(
    ("config", "guidance"),
    [
        ({}, 1.0),
        ({"view": {"clip_x0": True, "eps_scale": 1.0, "guidance": 1.0}}, 1.0),
        ({"view": {"clip_x0": False, "eps_scale": 1.0, "guidance": 2.5}}, 2.5),
    ],
    ids=["the version before", "without", "with"],
)
def test_it_says_at_which_guidance_it_was_measured(tmp_path: Path, config: dict[str, Any], guidance: float) -> None:
    save_statistic(path := tmp_path / "a.safetensors", measured("table"), READING, TRUNK, {**CONFIG, **config})
    assert loaded("table", path).guidance == guidance


# --- tables that know the norm alone


NORMS = torch.linspace(0.2, 0.99, 50, dtype=torch.float64)
ALONE = "this variance table knows E||eps_hat||^2 alone, as published ones do, and not the error of the mean"


def test_a_table_of_norms_comes_back_knowing_nothing_else(tmp_path: Path) -> None:
    """Saving must not make up an error that nobody measured: its file has no tensors for it, not even of zeros."""
    table = VarianceTable.of_norms(NORMS)
    digest = save_statistic(path := tmp_path / "variance.safetensors", table, READING, TRUNK, CONFIG)
    for trunk in (None, OWN):
        found = loaded("table", path, trunk)
        assert (found.digest, found.statistic.digest) == (digest, table.digest)
        assert found.statistic.tensors().keys() == {"count", "eps_hat_sq", "eps_hat_sq_sq"}
        assert not found.statistic.knows_error
        assert torch.equal(found.statistic.eps_hat_moments.mean()[1:], NORMS)
        assert found.statistic.times == list(range(1, 51))
        with pytest.raises(InputError) as caught:
            _ = found.statistic.error_moments
        assert str(caught.value).startswith(ALONE)
        assert "diffcov estimate-var --force" in str(caught.value)
    with safe_open(path, framework="pt") as opened:
        assert set(opened.keys()) == {"count", "eps_hat_sq", "eps_hat_sq_sq"}


def test_a_table_that_knows_both_comes_back_knowing_both(tmp_path: Path) -> None:
    saved("table", path := tmp_path / "variance.safetensors")
    assert loaded("table", path).statistic.knows_error


def test_a_table_of_norms_does_not_merge_with_a_measured_one_after_loading(tmp_path: Path) -> None:
    save_statistic(path := tmp_path / "a.safetensors", VarianceTable.of_norms(NORMS), READING, TRUNK, CONFIG)
    found = loaded("table", path).statistic
    with pytest.raises(InputError, match="variance tables that know different quantities cannot be merged"):
        found.merge(measured("table"))


# --- what is refused


@pytest.mark.parametrize(
    ("what", "called", "option"),
    [("table", "variance table", ""), ("spectrum", "spectrum", ""), ("matrices", "matrices", "--full ")],
)
def test_another_trunk_names_both_digests_and_the_remedy(tmp_path: Path, what: str, called: str, option: str) -> None:
    saved(what, path := tmp_path / "a.safetensors")
    with pytest.raises(InputError) as caught:
        loaded(what, path, Trunk(OTHER, None, SCHEDULE.spec, DATA.as_dict()))
    message = str(caught.value)
    assert str(path) in message
    assert called in message
    assert TRUNK[:12] in message
    assert OTHER[:12] in message
    assert f"diffcov estimate-var {option}--force" in message


@every
def test_another_kind(tmp_path: Path, what: str) -> None:
    """Each other's included."""
    path = tmp_path / "a.safetensors"
    for other in set(STATISTICS) - {what}:
        saved(other, path)
        with pytest.raises(InputError, match=f"is a '{KINDS[other]}' file, but a '{KINDS[what]}' file is needed"):
            loaded(what, path)
    artifact.write(path, "head", {"w": torch.ones(1)}, {})
    with pytest.raises(InputError, match=f"is a 'head' file, but a '{KINDS[what]}' file is needed"):
        loaded(what, path)


@every
def test_missing_damaged_and_truncated(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="no such file"):
        loaded(what, path)
    saved(what, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(InputError, match="truncated"):
        loaded(what, path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged"):
        loaded(what, path)


@pytest.mark.parametrize(
    ("what", "dropped"),
    [
        ("table", "eps_hat_sq"),
        ("table", "error_sq"),
        ("table", "error_sq_sq"),
        ("spectrum", "count"),
        ("matrices", "count"),
    ],
)
def test_missing_and_surplus_tensors(tmp_path: Path, what: str, dropped: str) -> None:
    """Of the error a table knows all or nothing."""
    statistic, _ = saved(what, path := tmp_path / "a.safetensors")
    without = {name: value for name, value in statistic.tensors().items() if name != dropped}
    for tensors, name in ((without, dropped), ({**statistic.tensors(), "kurtosis": torch.ones(51)}, "kurtosis")):
        artifact.write(path, KINDS[what], tensors, METADATA)
        with pytest.raises(InputError, match=rf"a\.safetensors lacks what this diffcov needs \(.*\b{name}\b.*\)"):
            loaded(what, path)


@pytest.mark.parametrize(
    ("what", "name", "wrong"),
    [
        ("table", "eps_hat_sq", torch.ones(40, dtype=torch.float64)),
        ("table", "error_sq", torch.ones(52, dtype=torch.float64)),
        ("table", "error_sq_sq", torch.ones(51, 2, dtype=torch.float64)),
        ("spectrum", "total", torch.ones(3, 2, 4, 4, dtype=torch.float64)),
        ("spectrum", "size", torch.tensor([3, 4])),
        ("spectrum", "knots", torch.tensor([1, 50])),
        ("matrices", "total", torch.ones(3, 299)),
        ("matrices", "size", torch.tensor([4, 4])),
        ("matrices", "knots", torch.tensor([1, 50])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_do_not_fit_one_another(tmp_path: Path, what: str, name: str, wrong: Tensor) -> None:
    statistic, _ = saved(what, path := tmp_path / "a.safetensors")
    artifact.write(path, KINDS[what], {**statistic.tensors(), name: wrong}, METADATA)
    with pytest.raises(InputError, match=r"a\.safetensors lacks what this diffcov needs"):
        loaded(what, path)


def test_a_table_of_another_length_than_its_schedule(tmp_path: Path) -> None:
    table, _ = saved("table", path := tmp_path / "variance.safetensors")
    metadata = {**METADATA, "schedule": NoiseSchedule.linear(60).spec}
    artifact.write(path, "variance-table", table.tensors(), metadata)
    with pytest.raises(InputError, match="holds 50 times, but its schedule has T=60"):
        loaded("table", path)


@pytest.mark.parametrize("what", AT_KNOTS)
@pytest.mark.parametrize("knots", [[1, 20, 51], [0, 20, 50], [1, 20, 20], [20, 1, 50]], ids=str)
def test_knots_that_are_no_times_of_its_schedule(tmp_path: Path, what: str, knots: list[int]) -> None:
    statistic, _ = saved(what, path := tmp_path / "a.safetensors")
    artifact.write(path, KINDS[what], {**statistic.tensors(), "knots": torch.tensor(knots)}, METADATA)
    with pytest.raises(InputError, match=r"a\.safetensors holds knots .*, which are no times of its schedule \(T=50\)"):
        loaded(what, path)


@every
@pytest.mark.parametrize("missing", ["schedule", "data", "trunk", "config"])
def test_missing_header_entries(tmp_path: Path, what: str, missing: str) -> None:
    statistic, _ = saved(what, path := tmp_path / "a.safetensors")
    metadata = {name: value for name, value in METADATA.items() if name != missing}
    artifact.write(path, KINDS[what], statistic.tensors(), metadata)
    with pytest.raises(InputError, match=rf"a\.safetensors lacks .*\('{missing}'\)"):
        loaded(what, path, OWN)


@every
def test_images_that_are_not_described(tmp_path: Path, what: str) -> None:
    statistic, _ = saved(what, path := tmp_path / "a.safetensors")
    artifact.write(path, KINDS[what], statistic.tensors(), {**METADATA, "data": {"channels": 1}})
    with pytest.raises(InputError, match=r".*a\.safetensors lacks what this diffcov needs"):
        loaded(what, path)
