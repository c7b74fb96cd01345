"""What files of a run are bound to: weights and how they are read; and what the version before bound its files to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.meters.decomposition import Decomposition, shortest_paths
from diffcov.errors import InputError
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.nets.variance_head import HeadSpec
from diffcov.statistics.table import VarianceTable
from diffcov.store.binding import Trunk
from diffcov.store.checkpoint import MeanCheckpoint, load_mean, save_mean
from diffcov.store.grids import load_grids, save_grids
from diffcov.store.head import load_head, save_head
from diffcov.store.statistics import load_statistic, save_statistic
from oracles.gaussian import GaussianWorld

T = 40
DATA = DataDescription(1, 8, 4, levels=17)
NETWORK = UNetConfig(1, 8, 4, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.5)
PLAIN = Reading(NoiseSchedule.cosine(T), DATA, TimeConvention.spanning_thousand(T))
"""How every mean of the version before was read: eps, no classes, times over 0..1000."""
OTHERS: dict[str, dict[str, Any]] = {
    "schedule": {"schedule": NoiseSchedule.linear(T)},
    "schedule of other numbers": {"schedule": NoiseSchedule.cosine(T, offset=0.01)},
    "offset of the time": {"time": TimeConvention(0.0, 1000 / T)},
    "scale of the time": {"time": TimeConvention(1.0, 1.0)},
    "v": {"predicts": "v"},
    "x0": {"predicts": "x0"},
    "low end": {"data": replace(DATA, low=0.0)},
    "high end": {"data": replace(DATA, high=2.0)},
    "grey levels": {"data": replace(DATA, levels=256)},
    "labels are needed": {"needs_labels": True},
}
"""Every other reading of the same weights."""
OTHERWISE_PLAIN = {"schedule", "schedule of other numbers", "low end", "high end", "grey levels"}
"""The version before knew schedules and data too: it read these weights so, and bound files to their digest alone."""


def network(config: UNetConfig = NETWORK) -> UNet:
    torch.manual_seed(0)
    found = UNet(config)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0, 0.1)
    return found


def mean(path: Path, config: UNetConfig = NETWORK, **changed: Any) -> MeanCheckpoint:
    """A mean of always the same weights, as it comes back from disk."""
    save_mean(path, network(config), MeanSpec(config, replace(PLAIN, **changed)), {})
    return load_mean(path)


@pytest.fixture
def plain(tmp_path: Path) -> MeanCheckpoint:
    return mean(tmp_path / "plain.safetensors")


# --- the digest of a mean


@pytest.mark.parametrize("what", OTHERS)
def test_another_reading_of_the_same_weights_is_another_mean(plain: MeanCheckpoint, tmp_path: Path, what: str) -> None:
    other = mean(tmp_path / "other.safetensors", **OTHERS[what])
    assert other.weights == plain.weights
    assert other.digest != plain.digest
    assert other.trunk.digest == other.digest


def test_readings_are_told_from_one_another(tmp_path: Path) -> None:
    """Not only from the plain one."""
    digests = [mean(tmp_path / "other.safetensors", **changed).digest for changed in OTHERS.values()]
    assert len(set(digests)) == len(OTHERS)


def test_classes_are_part_of_the_reading(plain: MeanCheckpoint, tmp_path: Path) -> None:
    config = replace(NETWORK, classes=3)
    found = [
        mean(tmp_path / "other.safetensors", config, classes=3, needs_labels=needs).digest for needs in (False, True)
    ]
    assert len({plain.digest, *found}) == 3


def test_the_digest_also_covers_weights_and_what_the_network_makes_of_them(
    plain: MeanCheckpoint, tmp_path: Path
) -> None:
    """More attention heads split the same weights otherwise."""
    model = load_mean(tmp_path / "plain.safetensors").model
    with torch.no_grad():
        next(model.network.parameters()).view(-1)[0] += 1e-3
    assert model.digest != plain.digest
    split = [mean(tmp_path / "a.safetensors", replace(NETWORK, heads=heads)) for heads in (1, 2)]
    assert split[0].weights == split[1].weights
    assert split[0].digest != split[1].digest


def test_the_same_mean_has_the_same_digest_wherever_it_comes_from(plain: MeanCheckpoint, tmp_path: Path) -> None:
    """Built or loaded, with another precision inside, whatever its training was."""
    assert MeanSpec(NETWORK, PLAIN).wrap(network().eval()).digest == plain.digest
    save_mean(tmp_path / "b.safetensors", network(), MeanSpec(NETWORK, PLAIN, "bf16"), {"iterations": 8})
    assert load_mean(tmp_path / "b.safetensors").digest == plain.digest
    assert len(plain.digest) == len(plain.weights) == 64
    assert plain.digest != plain.weights


# --- files that are bound to it


def bind_statistic(path: Path, made_for: str, reading: Reading) -> None:
    table = GaussianWorld(reading.schedule, 0.1, 0.3).table()
    save_statistic(path, table, reading, made_for, {"seed": 0})


def bind_head(path: Path, made_for: str, reading: Reading) -> None:
    spec = HeadSpec("npr", "simple", "log", 8.0, 8, 32, reading.data.shape, reading.schedule.T)
    save_head(path, spec.build(), spec, reading, made_for, {})


def bind_grids(path: Path, made_for: str, reading: Reading) -> None:
    allowed = torch.ones(3, 3, dtype=torch.bool).triu(1)
    terms = torch.ones(3, 3, dtype=torch.float64).masked_fill(~allowed, torch.inf)
    prior = torch.tensor([torch.inf, 1.0, 1.0], dtype=torch.float64)
    found = Decomposition(T, DATA.dims, torch.tensor([2, T]), terms, prior)
    save_grids(path, shortest_paths(found), terms, prior, found.candidates, "corrected", made_for, {}, {})


Bind = Callable[[Path, str, Reading], None]
Load = Callable[[Path, Trunk], object]
FILES: dict[str, tuple[Bind, Load, str]] = {
    "variance table": (bind_statistic, lambda path, trunk: load_statistic(path, VarianceTable, trunk), "estimate-var"),
    "npr head": (bind_head, load_head, "fit-var-head --kind npr"),
    "set of optimal grids": (bind_grids, load_grids, "trajectory --covariance corrected"),
}
every_file = pytest.mark.parametrize("what", FILES)


@every_file
def test_files_of_the_mean_are_accepted(plain: MeanCheckpoint, tmp_path: Path, what: str) -> None:
    bind, load, _ = FILES[what]
    bind(path := tmp_path / "file.safetensors", plain.digest, PLAIN)
    load(path, plain.trunk)


@every_file
@pytest.mark.parametrize("reading", OTHERS)
def test_files_of_another_reading_are_refused(plain: MeanCheckpoint, tmp_path: Path, what: str, reading: str) -> None:
    """Both ways; both digests and the command that makes it anew are named."""
    bind, load, command = FILES[what]
    other = mean(tmp_path / "other.safetensors", **OTHERS[reading])
    path = tmp_path / "file.safetensors"
    for maker, user in ((plain, other), (other, plain)):
        bind(path, maker.digest, maker.spec.reading)
        with pytest.raises(InputError) as caught:
            load(path, user.trunk)
        assert str(caught.value) == (
            f"the {what} {path} was made for another mean (trunk {maker.digest[:12]}, this model is "
            f"{user.digest[:12]}); make it again with: diffcov {command} --force"
        )


# --- files of the version before


@every_file
def test_files_that_are_bound_to_the_weights_alone_are_accepted_for_the_plain_reading(
    plain: MeanCheckpoint, tmp_path: Path, what: str
) -> None:
    bind, load, _ = FILES[what]
    bind(path := tmp_path / "file.safetensors", plain.weights, PLAIN)
    assert plain.trunk.earlier == plain.weights
    load(path, plain.trunk)


@every_file
@pytest.mark.parametrize("reading", [name for name in OTHERS if name not in OTHERWISE_PLAIN])
def test_files_that_are_bound_to_the_weights_alone_are_accepted_for_no_other_reading(
    tmp_path: Path, what: str, reading: str
) -> None:
    """No file of the version before can have been made for it."""
    bind, load, _ = FILES[what]
    other = mean(tmp_path / "other.safetensors", **OTHERS[reading])
    assert other.trunk.earlier is None
    for told in (PLAIN, other.spec.reading):
        bind(path := tmp_path / "file.safetensors", other.weights, told)
        with pytest.raises(InputError, match=f"was made for another mean .trunk {other.weights[:12]}"):
            load(path, other.trunk)


@pytest.mark.parametrize("needs_labels", [False, True])
def test_a_mean_with_classes_is_not_plain(tmp_path: Path, needs_labels: bool) -> None:
    found = mean(tmp_path / "a.safetensors", replace(NETWORK, classes=3), classes=3, needs_labels=needs_labels)
    assert found.trunk.earlier is None
    assert not found.trunk.owns(found.weights)
    assert found.trunk.owns(found.digest)


@pytest.mark.parametrize("what", ["variance table", "npr head"])
@pytest.mark.parametrize("reading", sorted(OTHERWISE_PLAIN))
def test_of_the_version_before_files_must_say_the_mean_s_own_schedule_and_data(
    plain: MeanCheckpoint, tmp_path: Path, what: str, reading: str
) -> None:
    """The digest of the weights does not say them, but the file does."""
    bind, load, _ = FILES[what]
    other = mean(tmp_path / "other.safetensors", **OTHERS[reading])
    path = tmp_path / "file.safetensors"
    bind(path, plain.weights, other.spec.reading)
    load(path, other.trunk)
    with pytest.raises(InputError, match="was made for another mean"):
        load(path, plain.trunk)


@every_file
def test_other_weights_are_refused_whatever_they_are_bound_by(plain: MeanCheckpoint, tmp_path: Path, what: str) -> None:
    bind, load, _ = FILES[what]
    for made_for in ("0" * 64, plain.digest[::-1], plain.weights[:-1], ""):
        bind(path := tmp_path / "file.safetensors", made_for, PLAIN)
        with pytest.raises(InputError, match="was made for another mean"):
            load(path, plain.trunk)


def test_a_trunk_owns_its_two_digests_and_nothing_else() -> None:
    trunk = Trunk("a" * 64, "b" * 64, PLAIN.schedule.spec, DATA.as_dict())
    assert trunk.owns("a" * 64)
    assert trunk.owns("b" * 64)
    assert not trunk.owns("c" * 64)
    alone = replace(trunk, earlier=None)
    assert alone.owns("a" * 64)
    assert not alone.owns("b" * 64)
    assert not alone.owns("None")
