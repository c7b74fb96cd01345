"""Names of a run's files, and what a run can build from those that are there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from diffcov.store.run import RunFolder
from diffcov.store.statistics import save_statistic
from oracles.offered import OF_ANY_MEAN

READING = Reading(NoiseSchedule.linear(50), DataDescription(1, 8, 4), TimeConvention())


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_names_are_those_that_runs_have_on_disk(run: RunFolder) -> None:
    found = {
        "mean.safetensors": run.mean,
        "variance.safetensors": run.ingredient(VarianceTable),
        "spectrum.safetensors": run.ingredient(Spectrum, "full"),
        "matrices.safetensors": run.ingredient(ResidualMatrices, "full"),
        "head-npr.safetensors": run.head("npr"),
        "trajectory-npr.safetensors": run.grids("npr"),
        "eps-scale/name.safetensors": run.scale("name"),
        "classifier.safetensors": run.classifier,
        "state/mean.safetensors": run.state("mean"),
        "compare": run.comparison,
        "samples": run.samples,
        "log.jsonl": run.log,
    }
    assert {name: run.path / name for name in found} == found
    assert not run.path.exists(), "naming makes nothing"


def test_what_is_there_is_found(run: RunFolder) -> None:
    assert (run.heads(), run.all_grids(), run.all_scales(), run.all_states()) == ({}, [], [], [])
    heads = {name: touch(run.head(name)) for name in ("npr", "banded")}
    grids = [touch(run.grids(name)) for name in ("sn", "npr")]
    scales = [touch(run.scale(name)) for name in ("b", "a")]
    states = [touch(run.state(name)) for name in ("mean", "heads")]
    touch(run.path / "head.safetensors")
    touch(run.path / "head-npr.txt")
    assert run.heads() == dict(sorted(heads.items()))
    assert list(run.heads()) == ["banded", "npr"]
    assert (run.all_grids(), run.all_scales(), run.all_states()) == (sorted(grids), sorted(scales), sorted(states))


def test_a_run_without_a_mean_says_how_to_make_one(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"bring one with diffcov import SOURCE, or run: diffcov train-mean$"):
        run.require_mean()
    touch(run.mean)
    assert run.require_mean() == run.mean


def test_each_covariance_is_built_from_its_own_files(run: RunFolder) -> None:
    names = {name: [path.name for path in run.needed_by(name)] for name in registry.COVARIANCES}
    assert names["small"] == names["large"] == []
    assert names["analytic"] == names["corrected"] == ["variance.safetensors"]
    assert names["banded"] == ["spectrum.safetensors", "head-banded.safetensors"]
    assert names["full"] == ["matrices.safetensors"]


def test_what_lacks_is_named_with_its_command(run: RunFolder) -> None:
    """The first thing that lacks; a run of nothing can build what needs nothing."""
    found = run.available()
    assert list(found) == list(OF_ANY_MEAN)
    assert [name for name, lacking in found.items() if lacking is None] == ["small", "large"]
    assert found["analytic"] == found["corrected"] == found["spectral"] == "diffcov estimate-var"
    assert found["full"] == "diffcov estimate-var --full"
    assert found["npr"] == "diffcov fit-var-head --kind npr"
    assert found["banded"] == "diffcov estimate-var"
    touch(run.ingredient(Spectrum))
    assert run.available()["spectral"] is None
    assert run.available()["banded"] == "diffcov fit-var-head --kind banded"
    touch(run.head("banded"))
    assert run.available()["banded"] is None


def test_a_table_of_norms_alone_is_enough_for_analytic_and_not_for_corrected(run: RunFolder) -> None:
    """Only its file can say so; whoever opens a broken one is told what is wrong with it."""
    path = run.ingredient(VarianceTable)
    save_statistic(path, VarianceTable.of_norms(torch.linspace(0.1, 0.9, 50)), READING, "0" * 64, {})
    assert run.available()["analytic"] is None
    assert run.available()["corrected"] == "diffcov estimate-var --force"
    one = torch.ones(51, dtype=torch.float64)
    save_statistic(path, VarianceTable(one, one, one, one, one), READING, "0" * 64, {})
    assert run.available()["corrected"] is None
    path.write_bytes(b"broken")
    assert run.available()["corrected"] is None
