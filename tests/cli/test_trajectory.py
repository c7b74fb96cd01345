"""``trajectory``: the best grids, the promise about their cost, what they are bound to, and what reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import FEW_KNOTS
from diffcov.covariance import registry
from diffcov.statistics.table import VarianceTable
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.grids import load_grids
from diffcov.store.statistics import load_statistic
from oracles.offered import OF_ANY_MEAN

Json = dict[str, Any]
NAME = "trajectory-corrected.safetensors"
SEARCH = ("trajectory", "--covariance", "corrected", "--images", 9, "--seed", 4)


@pytest.fixture(scope="module")
def searched(done: Callable[..., Json], finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """A finished run with optimal grids, and what the command said. Read only."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("searched") / "run")
    return run, done(*SEARCH, "--run", run)


@pytest.fixture
def searched_run(searched: tuple[Path, Json], tmp_path: Path) -> Path:
    """A copy, to change."""
    return shutil.copytree(searched[0], tmp_path / "run")


def rewrite(path: Path, **tensors: torch.Tensor) -> None:
    """Other tensors under the same header, with a digest that is right."""
    found = artifact.read(path, "optimal-trajectories", finite=False)
    artifact.write(path, found.kind, {**found.tensors, **tensors}, found.metadata)


# --- what it makes


def test_every_number_of_steps(searched: tuple[Path, Json]) -> None:
    run, report = searched
    file = load_grids(run / NAME)
    assert report["trajectories"] == str(run / NAME)
    assert (file.found.longest, report["longest"], len(report["bits_per_dim"])) == (50, 50, 50)
    for K in range(1, 51):
        times = file.found.grid(K).times
        assert len(times) == K
        assert all(1 <= t <= 50 for t in times)
        assert list(times) == sorted(set(times))
    assert [row["steps"] for row in report["shown"]] == [5, 10, 25, 50]
    for row in report["shown"]:
        assert row["times"] == list(file.found.grid(row["steps"]).times)
        assert row["bits_per_dim"] == report["bits_per_dim"][row["steps"] - 1]
        assert row["bits_per_dim"] <= row["even"] + 1e-12
    assert report["shown"][0]["bits_per_dim"] < report["shown"][0]["even"], "the search found something"
    assert report["shown"][-1]["bits_per_dim"] == pytest.approx(report["shown"][-1]["even"]), "one path has all times"


def test_the_file_says_what_it_was_made_for(searched: tuple[Path, Json]) -> None:
    run, report = searched
    file = load_grids(run / NAME)
    assert file.covariance == report["covariance"] == "corrected"
    assert file.trunk == report["mean"] == load_mean(run / "mean.safetensors").digest
    table = load_statistic(run / "variance.safetensors", VarianceTable)
    assert file.fitted == report["made_of"] == {"variance.safetensors": table.digest}
    assert file.digest == report["digest"]
    assert file.config["images"] == load_images("digits", 9).provenance(9)
    assert (file.config["seed"], file.config["clip_x0"]) == (4, True)


@pytest.mark.parametrize("name", OF_ANY_MEAN)
def test_the_cost_is_the_bound_that_evaluate_reports(
    done: Callable[..., Json], searched_run: Path, searched: tuple[Path, Json], name: str
) -> None:
    """The same images, seed and times: every term is the same term."""
    report = searched[1]
    if name != "corrected":
        report = done(
            "trajectory", "--run", searched_run, "--covariance", name, "--images", 9, "--seed", 4, "--batch-size", 5
        )
    file = load_grids(searched_run / f"trajectory-{name}.safetensors")
    for K in (1, 4, 13):
        found = done(
            "evaluate", "--run", searched_run, "--covariance", name, "--grid", "optimal", "--steps", K,
            "--split", "train", "--images", 9, "--seed", 4,
        )  # fmt: skip
        assert (found["grid"], found["times"]) == ("optimal", list(file.found.grid(K).times))
        assert found["images"] == report["images"]
        assert found["nll"][name]["bits_per_dim"] == pytest.approx(report["bits_per_dim"][K - 1], rel=1e-6)


def test_even_s_cost_is_the_bound_that_evaluate_reports(done: Callable[..., Json], searched: tuple[Path, Json]) -> None:
    run, report = searched
    row = report["shown"][1]
    words = ["--steps", row["steps"], "--split", "train", "--images", 9, "--seed", 4]
    found = done("evaluate", "--run", run, "--covariance", "corrected", *words)
    assert found["nll"]["corrected"]["bits_per_dim"] == pytest.approx(row["even"], rel=1e-6)


def test_samples_take_the_times_of_the_file(done: Callable[..., Json], searched_run: Path) -> None:
    times = list(load_grids(searched_run / NAME).found.grid(5).times)
    assert times != done("sample", "--run", searched_run, "--steps", 5, "--count", 1)["sampler"]["grid"]["times"]
    for solver in ("ddpm", "ddim"):
        found = done(
            "sample", "--run", searched_run, "--covariance", "corrected", "--grid", "optimal", "--steps", 5,
            "--count", 2, "--solver", solver,
        )  # fmt: skip
        manifest = json.loads((Path(found["out"]) / "manifest.json").read_text())
        assert (manifest["sampler"]["grid"], manifest["steps"]) == ({"name": "optimal", "times": times}, 5)
        assert Path(found["out"]).name == f"corrected-{solver}-optimal5-seed0"


def test_the_word_on_stdout_and_the_next_command(cli: Any, full_run: Path) -> None:
    result = cli("trajectory", "--run", full_run, "--images", 2, "--covariance", "small")
    assert result.exit_code == 0
    assert result.stdout == f"{full_run / 'trajectory-small.safetensors'}\n"
    command = f"next: diffcov sample --run {full_run} --covariance small --grid optimal --steps 10"
    assert command in result.stderr.splitlines()
    words = command.removeprefix("next: diffcov ").split()
    assert cli(*words, "--count", 1).exit_code == 0


def test_auto_searches_for_what_sample_takes(done: Callable[..., Json], full_run: Path) -> None:
    name = done("trajectory", "--run", full_run, "--images", 2)["covariance"]
    found = done("sample", "--run", full_run, "--grid", "optimal", "--steps", 3, "--count", 1)
    assert found["covariance"] == name == registry.preferred(OF_ANY_MEAN), "the run holds everything"


def test_candidates_limit_the_longest(
    cli: Any, done: Callable[..., Json], refused: Callable[..., str], full_run: Path
) -> None:
    report = done("trajectory", "--run", full_run, "--covariance", "corrected", "--images", 4, "--candidates", 10)
    assert (report["longest"], len(report["bits_per_dim"])) == (10, 10)
    assert all(row["even"] is None for row in report["shown"])
    candidates = {1, 6, 12, 17, 23, 28, 34, 39, 45, 50}
    assert set(report["shown"][0]["times"]) < candidates
    assert set(report["shown"][1]["times"]) == candidates
    words = ["--run", full_run, "--covariance", "corrected", "--grid", "optimal"]
    assert cli("evaluate", *words, "--steps", 10, "--images", 2).exit_code == 0
    for command in ("sample", "evaluate"):
        message = refused(2, command, *words, "--steps", 11)
        assert "searched among 10 times, and 11 steps were asked for" in message
        assert f"diffcov trajectory --run {full_run} --candidates" in message


def test_batches_change_nothing(done: Callable[..., Json], searched: tuple[Path, Json], full_run: Path) -> None:
    again = done(*SEARCH, "--run", full_run, "--batch-size", 2)
    assert again["bits_per_dim"] == pytest.approx(searched[1]["bits_per_dim"], rel=1e-5)


def test_an_existing_file_is_kept_without_force(
    refused: Callable[..., str], done: Callable[..., Json], searched_run: Path, searched: tuple[Path, Json]
) -> None:
    message = refused(1, *SEARCH, "--run", searched_run)
    assert str(searched_run / NAME) in message
    assert "--force" in message
    assert done(*SEARCH, "--run", searched_run, "--force")["digest"] == searched[1]["digest"], "and it repeats itself"
    other = done("trajectory", "--run", searched_run, "--covariance", "corrected", "--images", 9, "--force")
    assert load_grids(searched_run / NAME).digest == other["digest"] != searched[1]["digest"]


# --- what it is bound to


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_the_grids_of_another_mean(
    done: Callable[..., Json], refused: Callable[..., str], full_run: Path, stranger: Path, tmp_path: Path, command: str
) -> None:
    other = shutil.copytree(stranger, tmp_path / "other")
    done("trajectory", "--run", other, "--covariance", "corrected", "--images", 2, "--candidates", 8)
    shutil.copy(other / NAME, full_run)
    words = ["--run", full_run, "--covariance", "corrected", "--grid", "optimal", "--steps", 3]
    message = refused(3, command, *words)
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in message
    assert f"diffcov trajectory --run {full_run} --covariance corrected --force" in message


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_the_grids_of_another_table(cli: Any, refused: Callable[..., str], searched_run: Path, command: str) -> None:
    words = ["--run", searched_run, "--covariance", "corrected", "--grid", "optimal", "--steps", 3]
    assert cli("estimate-var", "--run", searched_run, "--samples", 2, "--seed", 5, "--force", *FEW_KNOTS).exit_code == 0
    message = refused(3, command, *words)
    assert "another table or head than the run holds now" in message
    remedy = f"diffcov trajectory --run {searched_run} --covariance corrected --force"
    assert message.endswith(remedy)
    assert cli(*remedy.removeprefix("diffcov ").split(), "--images", 2).exit_code == 0
    assert cli(command, *words).exit_code == 0, "what the message says mends it"


def test_the_grids_of_another_head(cli: Any, refused: Callable[..., str], full_run: Path) -> None:
    words = ["--run", full_run, "--covariance", "npr"]
    assert cli("trajectory", *words, "--images", 2, "--candidates", 8).exit_code == 0
    fitted = cli(
        "fit-var-head", "--run", full_run, "--kind", "npr", "--iterations", 1, "--batch-size", 8, "--seed", 5, "--force"
    )
    assert fitted.exit_code == 0, fitted.stderr
    message = refused(3, "sample", *words, "--grid", "optimal", "--steps", 3)
    assert "another table or head" in message


def test_the_grids_of_another_covariance(refused: Callable[..., str], searched_run: Path) -> None:
    words = ["--covariance", "analytic", "--grid", "optimal", "--steps", 3]
    message = refused(3, "sample", "--run", searched_run, *words)
    assert "holds no optimal grids for analytic (trajectory-analytic.safetensors)" in message
    assert message.endswith(f"diffcov trajectory --run {searched_run} --covariance analytic")


def test_grids_under_another_s_name(refused: Callable[..., str], searched_run: Path) -> None:
    """Of one table, but the cost that was searched is another's."""
    shutil.copy(searched_run / NAME, searched_run / "trajectory-analytic.safetensors")
    words = ["--covariance", "analytic", "--grid", "optimal", "--steps", 3]
    message = refused(3, "sample", "--run", searched_run, *words)
    assert "trajectory-analytic.safetensors" in message
    assert "corrected" in message


# --- refusals


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_none_were_searched(refused: Callable[..., str], mean_run: Path, command: str) -> None:
    message = refused(3, command, "--run", mean_run, "--grid", "optimal", "--steps", 3)
    assert f"{mean_run} holds no optimal grids for small" in message
    assert f"diffcov trajectory --run {mean_run} --covariance small" in message


def test_a_table_is_not_measured_along_them(refused: Callable[..., str], searched_run: Path) -> None:
    """The search needs the table first."""
    words = ["--grid", "optimal", "--steps", 3, "--force"]
    message = refused(2, "estimate-var", "--run", searched_run, *words)
    assert "--grid optimal is for sample and evaluate" in message


def test_no_run(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(3, "trajectory", "--run", tmp_path / "absent")
    assert f"diffcov train-mean --run {tmp_path / 'absent'}" in message


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--covariance", "best"], 2, "unknown covariance 'best'"),
        (["--covariance", "corrected"], 3, "the corrected covariance needs a variance table"),
        (["--covariance", "npr"], 3, "the npr covariance needs a fitted head"),
        (["--candidates", "51"], 2, "--candidates must be at most T=50"),
        (["--data", "nowhere.npz"], 3, "nowhere.npz"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_cannot_be(
    refused: Callable[..., str], mean_run: Path, options: list[str], code: int, words: str
) -> None:
    assert words in refused(code, "trajectory", "--run", mean_run, *options)


@pytest.mark.parametrize("options", [["--images", "0"], ["--candidates", "0"], ["--batch-size", "0"]], ids=" ".join)
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("trajectory", "--run", mean_run, *options)


def test_a_table_that_lacks_candidates(cli: Any, refused: Callable[..., str], mean_run: Path) -> None:
    """All T times are candidates unless said otherwise; a table along 5 steps holds those of --candidates 5."""
    assert cli("estimate-var", "--run", mean_run, "--samples", 2, "--steps", 5, *FEW_KNOTS).exit_code == 0
    words = ["trajectory", "--run", mean_run, "--covariance", "corrected", "--images", 2]
    assert "no entry for t=" in refused(3, *words)
    assert cli(*words, "--candidates", 5).exit_code == 0


@pytest.mark.parametrize("name", ["terms", "prior", "cost"])
def test_a_file_with_nan(refused: Callable[..., str], searched_run: Path, name: str) -> None:
    tensor = artifact.read(searched_run / NAME, "optimal-trajectories", finite=False).tensors[name].clone()
    tensor.view(-1)[3] = torch.nan
    rewrite(searched_run / NAME, **{name: tensor})
    words = ["--covariance", "corrected", "--grid", "optimal", "--steps", 3]
    assert f"holds NaN in {name}" in refused(4, "sample", "--run", searched_run, *words)


def test_a_file_cut_short(refused: Callable[..., str], searched_run: Path) -> None:
    whole = (searched_run / NAME).read_bytes()
    words = ["--covariance", "corrected", "--grid", "optimal", "--steps", 3]
    for size in (0, 40, len(whole) // 2, len(whole) - 1):
        (searched_run / NAME).write_bytes(whole[:size])
        assert "truncated or something else" in refused(3, "sample", "--run", searched_run, *words)


def test_full_disk(cli: Any, full_disk: Any, full_run: Path) -> None:
    with full_disk(300):
        result = cli("trajectory", "--run", full_run, "--images", 2, "--covariance", "small")
    assert result.exit_code == 1
    assert "could not write" in result.stderr
    assert not list(full_run.glob("*trajectory*"))


# --- inspect


def test_inspect_shows_them(done: Callable[..., Json], cli: Any, searched: tuple[Path, Json]) -> None:
    run, report = searched
    found = done("inspect", run)
    assert found["problems"] == []
    (part,) = [part for part in found["parts"] if part["kind"] == "optimal-trajectories"]
    assert part["path"] == str(run / NAME)
    assert (part["digest"], part["trunk"], part["covariance"]) == (report["digest"], report["mean"], "corrected")
    assert part["lengths"] == "1 to 50 of 50"
    assert part["images"] == report["images"]
    assert done("inspect", run / NAME)["parts"] == [part]
    assert NAME in cli("inspect", run, "--all").stdout


def test_inspect_names_a_stranger_s(
    done: Callable[..., Json], cli: Any, full_run: Path, stranger: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(stranger, tmp_path / "other")
    done("trajectory", "--run", other, "--covariance", "corrected", "--images", 2, "--candidates", 8)
    shutil.copy(other / NAME, full_run)
    result = cli("inspect", full_run)
    assert result.exit_code == 3
    for run in (full_run, other):
        assert load_mean(run / "mean.safetensors").digest[:12] in result.stderr
    assert NAME in result.stderr
