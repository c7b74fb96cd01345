"""``estimate-var``: the table, extending it, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.covariance.table import VarianceTable
from diffcov.estimation import estimate
from diffcov.io.checkpoint import load_mean
from diffcov.io.datasets import load_images
from diffcov.io.table import load_table


def test_json_and_file(done: Callable[..., Any], mean_run: Path) -> None:
    found = done("estimate-var", "--run", mean_run, "--samples", 3)
    file = load_table(mean_run / "variance.safetensors", load_mean(mean_run / "mean.safetensors").digest)
    assert (found["table"], found["digest"]) == (str(mean_run / "variance.safetensors"), file.digest)
    assert (found["samples"], found["times"]) == (3, 50)
    assert file.table.measured == list(range(1, 51))
    assert file.table.count[1:].unique().tolist() == [3]
    for t in (1, 50):
        assert found["error_sq"][str(t)] == pytest.approx(float(file.table.error_moments.mean()[t]))
    assert file.config["data"]["source"] == "digits"
    assert found["median_relative_stderr"] > 0


def test_one_image_a_time_is_still_json(done: Callable[..., Any], mean_run: Path) -> None:
    """There is no standard error of one image; JSON has no NaN."""
    assert done("estimate-var", "--run", mean_run, "--samples", 1)["median_relative_stderr"] is None


def test_stdout_is_the_path_and_few_images_are_warned_of(cli: Any, mean_run: Path) -> None:
    result = cli("estimate-var", "--run", mean_run, "--samples", 2)
    assert result.exit_code == 0
    assert result.stdout == f"{mean_run / 'variance.safetensors'}\n"
    assert "warning: 2 images a time is few" in result.stderr
    assert f"next: diffcov fit-var-head --run {mean_run}" in result.stderr
    assert result.stderr.count("Traceback") == 0


def test_batch_size_changes_nothing(cli: Any, mean_run: Path) -> None:
    tables = []
    for batch_size in (7, 64):
        cli("estimate-var", "--run", mean_run, "--samples", 3, "--batch-size", batch_size, "--force")
        tables.append(load_table(mean_run / "variance.safetensors").table)
    for name, total in tables[0].tensors().items():
        torch.testing.assert_close(tables[1].tensors()[name], total, rtol=1e-5, atol=0)


def test_add_equals_one_pass(cli: Any, done: Callable[..., Any], mean_run: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(mean_run, tmp_path / "whole")
    cli("estimate-var", "--run", whole, "--samples", 5, "--seed", 4)
    cli("estimate-var", "--run", mean_run, "--samples", 2, "--seed", 4)
    assert done("estimate-var", "--run", mean_run, "--samples", 3, "--add")["samples"] == 5
    mine, theirs = (load_table(run / "variance.safetensors") for run in (mean_run, whole))
    assert torch.equal(mine.table.count, theirs.table.count)
    assert mine.config == theirs.config
    for name, total in theirs.table.tensors().items():
        torch.testing.assert_close(mine.table.tensors()[name], total, rtol=1e-5, atol=0)


Tables = Callable[..., VarianceTable]


@pytest.fixture
def measured(done: Callable[..., Any]) -> Tables:
    """``measured(run, *options)``: the table of three times, one image a network call."""

    def run(folder: Path, *options: object) -> VarianceTable:
        done("estimate-var", "--run", folder, "--batch-size", 1, "--force", "--steps", 3, *options)
        return load_table(folder / "variance.safetensors").table

    return run


def same(a: VarianceTable, b: VarianceTable) -> bool:
    return all(torch.equal(total, b.tensors()[name]) for name, total in a.tensors().items())


def test_the_table_depends_on_the_seed(measured: Tables, mean_run: Path) -> None:
    first, again, other = (measured(mean_run, "--samples", 2, "--seed", seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert not any(torch.equal(first.tensors()[name], other.tensors()[name]) for name in ("error_sq", "eps_hat_sq"))


def test_a_mean_that_saw_mirrored_images_is_measured_on_such(measured: Tables, cli: Any, tmp_path: Path) -> None:
    words = ["--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1, "--attention", "none"]
    options = [*words, "--timesteps", 50, "--batch-size", 8, "--iterations", 3, "--flip"]
    assert cli("train-mean", "--run", tmp_path / "run", *options).exit_code == 0
    found = measured(tmp_path / "run", "--samples", 4)
    assert load_table(tmp_path / "run" / "variance.safetensors").config["flip"] is True
    model = load_mean(tmp_path / "run" / "mean.safetensors").model
    images = load_images("digits").images
    mirrored, plain = (estimate(model, images, found.measured, 4, batch_size=1, flip=flip) for flip in (True, False))
    assert same(found, mirrored)
    assert not same(found, plain)


def test_precision_reaches_the_network(measured: Tables, mean_run: Path) -> None:
    own, full, half = (
        measured(mean_run, "--samples", 2, *options)
        for options in ([], ["--precision", "fp32"], ["--precision", "bf16"])
    )
    assert same(own, full)
    assert not torch.equal(full.error_sq, half.error_sq)
    torch.testing.assert_close(half.error_sq, full.error_sq, rtol=1e-2, atol=0)


def test_add_goes_on_in_the_table_s_precision(measured: Tables, cli: Any, mean_run: Path) -> None:
    """The same float64 terms in another order: fp32 images among them would be off by far more."""
    whole = measured(mean_run, "--samples", 5, "--precision", "bf16")
    measured(mean_run, "--samples", 2, "--precision", "bf16")
    result = cli("estimate-var", "--run", mean_run, "--samples", 3, "--add", "--batch-size", 1)
    assert result.exit_code == 0, result.stderr
    found = load_table(mean_run / "variance.safetensors")
    assert found.config["precision"] == "bf16"
    for name, total in whole.tensors().items():
        torch.testing.assert_close(found.table.tensors()[name], total, rtol=1e-12, atol=0)


def test_only_some_times(cli: Any, done: Callable[..., Any], mean_run: Path) -> None:
    assert done("estimate-var", "--run", mean_run, "--samples", 2, "--steps", 5)["times"] == 5
    assert load_table(mean_run / "variance.safetensors").table.measured == [1, 13, 26, 38, 50]
    assert cli("estimate-var", "--run", mean_run, "--samples", 2, "--add").exit_code == 0
    assert load_table(mean_run / "variance.safetensors").table.measured == [1, 13, 26, 38, 50]
    done("estimate-var", "--run", mean_run, "--samples", 2, "--trajectory", "3,9,27", "--force")
    assert load_table(mean_run / "variance.safetensors").table.measured == [3, 9, 27]


def test_limit(done: Callable[..., Any], mean_run: Path) -> None:
    done("estimate-var", "--run", mean_run, "--samples", 2, "--limit", 5)
    assert load_table(mean_run / "variance.safetensors").config["data"]["count"] == 5


# --- refusals


def test_no_run(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(3, "estimate-var", "--run", tmp_path / "absent")
    assert "no mean model" in message
    assert "diffcov train-mean" in message


def test_an_existing_table(refused: Callable[..., str], full_run: Path) -> None:
    message = refused(1, "estimate-var", "--run", full_run)
    assert "already exists" in message
    assert "--add" in message
    assert "--force" in message


def test_force_replaces_it(done: Callable[..., Any], full_run: Path) -> None:
    assert done("estimate-var", "--run", full_run, "--samples", 3, "--force")["samples"] == 3


def test_add_and_force(refused: Callable[..., str], full_run: Path) -> None:
    assert "--add keeps" in refused(2, "estimate-var", "--run", full_run, "--add", "--force")


def test_add_to_nothing(refused: Callable[..., str], mean_run: Path) -> None:
    assert "no such file" in refused(3, "estimate-var", "--run", mean_run, "--add")


def test_add_to_the_table_of_another_mean(refused: Callable[..., str], full_run: Path, stranger: Path) -> None:
    shutil.copy(stranger / "variance.safetensors", full_run)
    message = refused(3, "estimate-var", "--run", full_run, "--add")
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in message


def test_add_with_other_images(refused: Callable[..., str], full_run: Path) -> None:
    assert "--add needs the images" in refused(3, "estimate-var", "--run", full_run, "--add", "--limit", 5)


@pytest.mark.parametrize(
    "options",
    [["--steps", "5"], ["--trajectory", "1,50"], ["--trajectory", "even", "--steps", "5"], ["--seed", "0"],
     ["--seed", "4"], ["--precision", "fp32"], ["--precision", "bf16"]],
    ids=" ".join,
)  # fmt: skip
def test_add_goes_on_as_the_table_was_begun(refused: Callable[..., str], full_run: Path, options: list[str]) -> None:
    message = refused(2, "estimate-var", "--run", full_run, "--add", *options)
    assert "--add goes on with the table's own times, seed and precision; leave those options out" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "51"], "between 1 and T=50 (got 51)"),
        (["--trajectory", "quad"], "--trajectory quad needs --steps"),
        (["--trajectory", "fast", "--steps", "5"], "--trajectory must be one of even"),
        (["--trajectory", "1,60"], "must be in 1..T=50, found 60"),
        (["--trajectory", "5,5"], "strictly increase"),
        (["--trajectory", "1,2,3", "--steps", "5"], "leave one out"),
    ],
)
def test_times_that_cannot_be(refused: Callable[..., str], mean_run: Path, options: list[str], words: str) -> None:
    assert words in refused(2, "estimate-var", "--run", mean_run, *options)


@pytest.mark.parametrize("options", [["--steps", "0"], ["--samples", "0"], ["--batch-size", "0"], ["--gamma", "1"]])
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("estimate-var", "--run", mean_run, *options)


def test_images_of_another_kind(refused: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.pt")
    import numpy as np

    np.save(tmp_path / "colour.npy", np.zeros((4, 3, 8, 8), dtype=np.uint8))
    message = refused(3, "estimate-var", "--run", mean_run, "--data", tmp_path / "colour.npy")
    assert "3 channel(s)" in message
    assert "1 channel(s)" in message


def test_full_disk(cli: Any, full_disk: Any, full_run: Path) -> None:
    before = (full_run / "variance.safetensors").read_bytes()
    with full_disk(1_000):
        result = cli("estimate-var", "--run", full_run, "--samples", 2, "--force")
    assert result.exit_code == 1
    assert "could not write" in result.stderr
    assert (full_run / "variance.safetensors").read_bytes() == before
    assert not list(full_run.glob(".*"))
