"""``estimate-var``: the table, the spectrum and the matrices, extending them, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import FEW_KNOTS
from diffcov.engines.sweep import estimate
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.statistics import StatisticFile, load_statistic
from diffcov.study.planned_sweep import KNOT_SAMPLES, KNOTS, SAMPLES
from diffcov.study.requests.demo import DemoRequest
from diffcov.study.requests.measure import EstimateRequest

EVERY = ("variance", "spectrum", "image-gaussian", "matrices")
"""Names of the files, in the order in which they are measured."""
FEW_IMAGES = ("--knot-samples", 4)
"""Of each knot, where the knots are there already."""


def test_json_and_file(done: Callable[..., Any], mean_run: Path) -> None:
    found = done("estimate-var", "--run", mean_run, "--samples", 3, *FEW_KNOTS)["table"]
    trunk = load_mean(mean_run / "mean.safetensors").trunk
    file = load_statistic(mean_run / "variance.safetensors", VarianceTable, trunk)
    assert (found["path"], found["digest"]) == (str(mean_run / "variance.safetensors"), file.digest)
    assert (found["samples"], found["times"]) == (3, list(range(1, 51)))
    assert file.statistic.times == list(range(1, 51))
    assert file.statistic.count[1:].unique().tolist() == [3]
    for t in (1, 50):
        assert found["error_sq"][str(t)] == pytest.approx(float(file.statistic.error_moments.mean()[t]))
    assert file.config["data"]["source"] == "digits"
    assert found["median_relative_stderr"] > 0


def test_one_image_a_time_is_still_json(done: Callable[..., Any], mean_run: Path) -> None:
    """There is no standard error of one image; JSON has no NaN."""
    found = done("estimate-var", "--run", mean_run, "--samples", 1, *FEW_KNOTS)
    assert found["table"]["median_relative_stderr"] is None


def test_stdout_is_the_paths_and_few_images_are_warned_of(cli: Any, mean_run: Path) -> None:
    result = cli("estimate-var", "--run", mean_run, "--samples", 2, *FEW_KNOTS)
    assert result.exit_code == 0
    written = [str(mean_run / f"{name}.safetensors") for name in EVERY]
    assert result.stdout.splitlines() == written
    assert "warning: 2 images a time is few" in result.stderr
    assert f"next: diffcov fit-var-head --run {mean_run}" in result.stderr
    assert result.stderr.count("Traceback") == 0


def test_batch_size_changes_nothing(cli: Any, mean_run: Path) -> None:
    found = []
    for batch_size in (7, 64):
        words = ["--samples", 3, "--batch-size", batch_size, "--force", "--knots", 4, "--knot-samples", 9]
        assert cli("estimate-var", "--run", mean_run, *words).exit_code == 0
        found.append(loaded(mean_run))
    for a, b in zip(*found, strict=True):
        close(a, b)


def test_add_equals_one_pass(cli: Any, done: Callable[..., Any], mean_run: Path, tmp_path: Path) -> None:
    """Spectrum and matrices as well, whose number of samples is their own."""
    whole = shutil.copytree(mean_run, tmp_path / "whole")
    cli("estimate-var", "--run", whole, "--samples", 5, "--seed", 4, "--knots", 4, "--knot-samples", 9)
    cli("estimate-var", "--run", mean_run, "--samples", 2, "--seed", 4, "--knots", 4, "--knot-samples", 5)
    found = done("estimate-var", "--run", mean_run, "--samples", 3, "--knot-samples", 4, "--add")
    assert (found["table"]["samples"], found["spectrum"]["samples"], found["spectrum"]["knots"]) == (5, 9, 4)
    for mine, theirs in zip(loaded(mean_run), loaded(whole), strict=True):
        assert mine.config == theirs.config
        close(mine, theirs, pairs=5e-2)


def loaded(run: Path) -> tuple[StatisticFile[Any], ...]:
    """Table, spectrum and matrices of a run."""
    return tuple(load_statistic(run / kind.file, kind) for kind in (VarianceTable, Spectrum, ResidualMatrices))


def table_of(run: Path) -> StatisticFile[VarianceTable]:
    """The variance table of a run."""
    return load_statistic(run / "variance.safetensors", VarianceTable)


def close(mine: StatisticFile[Any], theirs: StatisticFile[Any], pairs: float = 1e-4) -> None:
    """The same numbers but for float32: of the network in other batches, and of sums of products near 0.

    ``pairs`` are in units of a standard deviation, which each part of a measurement estimates for itself.
    """
    for name, total in theirs.statistic.tensors().items():
        found = mine.statistic.tensors()[name]
        if name in ("count", "knots", "colour", "size"):
            assert torch.equal(found, total), name
        elif name == "pairs":
            torch.testing.assert_close(found, total, rtol=pairs, atol=0)
        else:
            torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-5 * float(total.abs().max()))


Tables = Callable[..., VarianceTable]


@pytest.fixture
def measured(done: Callable[..., Any]) -> Tables:
    """``measured(run, *options)``: the table of three times, one image a network call."""

    def run(folder: Path, *options: object) -> VarianceTable:
        done("estimate-var", "--run", folder, "--batch-size", 1, "--force", "--steps", 3, *FEW_KNOTS, *options)
        return table_of(folder).statistic

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
    assert table_of(tmp_path / "run").config["flip"] is True
    model = load_mean(tmp_path / "run" / "mean.safetensors").model
    images = load_images("digits").examples.unlabelled()
    mirrored, plain = (
        estimate(model, images, [VarianceTable], found.times, 4, batch_size=1, flip=flip)[VarianceTable]
        for flip in (True, False)
    )
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
    result = cli("estimate-var", "--run", mean_run, "--samples", 3, "--add", "--batch-size", 1, *FEW_IMAGES)
    assert result.exit_code == 0, result.stderr
    found = table_of(mean_run)
    assert found.config["precision"] == "bf16"
    for name, total in whole.tensors().items():
        torch.testing.assert_close(found.statistic.tensors()[name], total, rtol=1e-12, atol=0)


def test_only_some_times(cli: Any, done: Callable[..., Any], mean_run: Path) -> None:
    found = done("estimate-var", "--run", mean_run, "--samples", 2, "--steps", 5, *FEW_KNOTS)
    assert found["table"]["times"] == [1, 13, 26, 38, 50]
    assert table_of(mean_run).statistic.times == [1, 13, 26, 38, 50]
    assert cli("estimate-var", "--run", mean_run, "--samples", 2, "--add", *FEW_IMAGES).exit_code == 0
    assert table_of(mean_run).statistic.times == [1, 13, 26, 38, 50]
    done("estimate-var", "--run", mean_run, "--samples", 2, "--grid", "3,9,27", "--force", *FEW_KNOTS)
    assert table_of(mean_run).statistic.times == [3, 9, 27]


def test_limit(done: Callable[..., Any], mean_run: Path) -> None:
    done("estimate-var", "--run", mean_run, "--samples", 2, "--limit", 5, *FEW_KNOTS)
    assert [file.config["data"]["count"] for file in loaded(mean_run)] == [5, 5, 5]


# --- spectrum and matrices


def test_what_is_measured_at_the_knots_is_the_engine_s(done: Callable[..., Any], mean_run: Path) -> None:
    found = done("estimate-var", "--run", mean_run, "--samples", 2, "--knots", 5, "--knot-samples", 6, "--seed", 3)
    mean = load_mean(mean_run / "mean.safetensors")
    _, spectrum, matrices = loaded(mean_run)
    knots = Knots.spread(mean.spec.reading.schedule, 5)
    images, kinds = load_images("digits").examples.unlabelled(), [Spectrum, ResidualMatrices]
    expected = estimate(mean.model, images, kinds, knots.times, 6, seed=3)
    for kind, file in zip(kinds, (spectrum, matrices), strict=True):
        told, truth = found[kind.name], expected[kind]
        assert (told["path"], told["digest"]) == (str(mean_run / f"{kind.name}.safetensors"), file.digest)
        assert (told["samples"], told["knots"], told["times"]) == (6, len(knots.times), list(knots.times))
        assert file.trunk == mean.digest
        assert file.schedule == mean.spec.reading.schedule
        assert (file.config["samples"], file.config["times"], file.config["seed"]) == (6, list(knots.times), 3)
        assert (file.config["flip"], file.config["precision"]) == (False, "fp32")
        assert file.config["data"]["source"] == "digits"
        for name, tensor in truth.tensors().items():
            assert torch.equal(file.statistic.tensors()[name], tensor), name


def test_by_default_one_sweep_chooses_its_times() -> None:
    """Numbers for single times are written once; the demo measures as the command does."""
    default = EstimateRequest()
    assert not default.single_times
    assert (default.samples, default.knots, default.knot_samples, default.full) == (None, None, None, None)
    assert (SAMPLES, KNOTS, KNOT_SAMPLES) == (25, 32, 1000)
    assert (DemoRequest().samples, DemoRequest().knot_samples) == (None, None)


def test_a_spectrum_of_mirrored_images(done: Callable[..., Any], cli: Any, tmp_path: Path) -> None:
    words = ["--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1, "--attention", "none"]
    options = [*words, "--timesteps", 50, "--batch-size", 8, "--iterations", 3, "--flip"]
    assert cli("train-mean", "--run", tmp_path / "run", *options).exit_code == 0
    done("estimate-var", "--run", tmp_path / "run", "--samples", 2, *FEW_KNOTS)
    _, spectrum, _ = loaded(tmp_path / "run")
    assert spectrum.config["flip"] is True
    model = load_mean(tmp_path / "run" / "mean.safetensors").model
    images, knots = load_images("digits").examples.unlabelled(), Knots.spread(model.schedule, 4)
    mirrored, plain = (
        estimate(model, images, [Spectrum], knots.times, 4, flip=flip)[Spectrum] for flip in (True, False)
    )
    assert torch.equal(spectrum.statistic.total, mirrored.total)
    assert not torch.equal(spectrum.statistic.total, plain.total)


def test_no_full_leaves_the_matrices_out(done: Callable[..., Any], mean_run: Path) -> None:
    found = done("estimate-var", "--run", mean_run, "--samples", 2, *FEW_KNOTS, "--no-full")
    assert "matrices" not in found
    assert not (mean_run / "matrices.safetensors").exists()
    assert (mean_run / "spectrum.safetensors").is_file()


def test_no_images_at_the_knots_leave_the_spectrum_out(done: Callable[..., Any], mean_run: Path) -> None:
    """Whatever the size of the images: nobody asked for matrices."""
    found = done("estimate-var", "--run", mean_run, "--samples", 2, "--knot-samples", 0)
    assert found.keys() == {"table"}
    assert sorted(path.name for path in mean_run.glob("*.safetensors")) == ["mean.safetensors", "variance.safetensors"]
    added = done("estimate-var", "--run", mean_run, "--samples", 2, "--knot-samples", 0, "--add")
    assert added["table"]["samples"] == 4
    begun = done("estimate-var", "--run", mean_run, "--samples", 2, *FEW_IMAGES, "--add")
    assert (begun["table"]["samples"], begun["spectrum"]["samples"]) == (6, 4)


def test_adding_to_the_table_alone_leaves_the_rest_as_it_is(done: Callable[..., Any], full_run: Path) -> None:
    before = [(full_run / f"{name}.safetensors").read_bytes() for name in ("spectrum", "matrices")]
    found = done("estimate-var", "--run", full_run, "--samples", 2, "--knot-samples", 0, "--add")
    assert found["table"]["samples"] == 4
    assert [(full_run / f"{name}.safetensors").read_bytes() for name in ("spectrum", "matrices")] == before


def test_adding_extends_the_matrices_that_are_there(done: Callable[..., Any], full_run: Path) -> None:
    """Unasked, and at their own knots."""
    found = done("estimate-var", "--run", full_run, "--samples", 2, "--knot-samples", 3, "--add")
    _, spectrum, matrices = loaded(full_run)
    assert spectrum.statistic.count.tolist() == matrices.statistic.count.tolist() == [7.0] * 4
    assert spectrum.config["times"] == matrices.config["times"] == found["spectrum"]["times"]


@pytest.fixture
def larger(cli: Any, tmp_path: Path) -> Callable[[int], Path]:
    """``larger(size)``: a run on square grey images."""

    def make(size: int) -> Path:
        images = np.random.default_rng(0).integers(0, 256, (9, 1, size, size)).astype(np.uint8)
        np.save(tmp_path / f"{size}.npy", images)
        words = ["--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1, "--attention", "none"]
        words += ["--timesteps", 30, "--batch-size", 2, "--iterations", 1, "--data", tmp_path / f"{size}.npy"]
        run = tmp_path / f"run-{size}"
        result = cli("train-mean", "--run", run, *words)
        assert result.exit_code == 0, result.stderr
        return run

    return make


ONE_IMAGE = ("--samples", 1, "--steps", 2, "--knots", 2, "--knot-samples", 1)


@pytest.mark.parametrize(("size", "matrices"), [(16, True), (17, False)])
def test_matrices_unasked_up_to_256_values(
    done: Callable[..., Any], larger: Callable[[int], Path], size: int, matrices: bool
) -> None:
    run = larger(size)
    assert ("matrices" in done("estimate-var", "--run", run, *ONE_IMAGE)) == matrices
    assert (run / "matrices.safetensors").is_file() == matrices
    if not matrices:
        assert "matrices" in done("estimate-var", "--run", run, *ONE_IMAGE, "--full", "--force")


def test_matrices_of_too_many_values(
    refused: Callable[..., str], done: Callable[..., Any], larger: Callable[[int], Path]
) -> None:
    """Refused before anything is measured."""
    run = larger(33)
    message = refused(3, "estimate-var", "--run", run, *ONE_IMAGE, "--full")
    assert "at most 1024 values, and these have 1089" in message
    assert "leave --full out" in message
    assert done("estimate-var", "--run", run, *ONE_IMAGE)["spectrum"]["samples"] == 1


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


@pytest.mark.parametrize("name", EVERY)
def test_typed_again_it_measures_what_is_missing(cli: Any, done: Callable[..., Any], mean_run: Path, name: str) -> None:
    """To the same numbers as if it had never been stopped."""
    words = ("estimate-var", "--run", mean_run, "--samples", 2, *FEW_KNOTS)
    done(*words)
    paths = {one: mean_run / f"{one}.safetensors" for one in EVERY}
    before = {one: (path.stat().st_mtime_ns, load_file(path)) for one, path in paths.items()}
    paths[name].unlink()
    result = cli(*words)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(paths[name])]
    kept = ", ".join(path.name for one, path in paths.items() if one != name)
    assert f"{kept} stays as it is; measuring what is missing" in result.stderr
    for one, path in paths.items():
        written, tensors = before[one]
        found = load_file(path)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors), one
        assert (path.stat().st_mtime_ns == written) == (one != name)


def test_what_is_missing_is_not_measured_beside_another_guidance_or_mean(
    refused: Callable[..., str], full_run: Path, stranger: Path
) -> None:
    (full_run / "matrices.safetensors").unlink()
    message = refused(1, "estimate-var", "--run", full_run, *FEW_KNOTS, "--guidance", 2)
    assert f"{full_run / 'variance.safetensors'} already exists; add images to it with --add" in message
    shutil.copy(stranger / "mean.safetensors", full_run / "mean.safetensors")
    assert "another mean" in refused(3, "estimate-var", "--run", full_run, *FEW_KNOTS)


def test_add_goes_on_together_only_with_what_was_measured_together(
    refused: Callable[..., str], done: Callable[..., Any], mean_run: Path
) -> None:
    """Matrices of other seeds or knots than the spectrum hold other samples: adding would lie about both."""
    words = ("estimate-var", "--run", mean_run, "--samples", 2, *FEW_KNOTS)
    done(*words, "--no-full", "--seed", 1)
    done(*words, "--full", "--seed", 2)
    message = refused(3, "estimate-var", "--run", mean_run, "--add", "--samples", 1, *FEW_IMAGES)
    assert (
        "spectrum.safetensors and image-gaussian.safetensors and matrices.safetensors together, and they have"
        in message
    )
    done(*words, "--no-full", "--seed", 1, "--force")
    (mean_run / "matrices.safetensors").unlink()
    done("estimate-var", "--run", mean_run, "--knots", 5, "--knot-samples", 4, "--full", "--seed", 1)
    message = refused(3, "estimate-var", "--run", mean_run, "--add", "--samples", 1, *FEW_IMAGES)
    assert "times" in message


def test_force_replaces_all_of_it(done: Callable[..., Any], full_run: Path) -> None:
    words = ["--samples", 3, "--knots", 3, "--knot-samples", 5, "--force"]
    assert done("estimate-var", "--run", full_run, *words)["table"]["samples"] == 3
    table, spectrum, matrices = loaded(full_run)
    assert float(table.statistic.count[1]) == 3
    assert spectrum.statistic.count.tolist() == matrices.statistic.count.tolist() == [5.0] * 3


def test_add_and_force(refused: Callable[..., str], full_run: Path) -> None:
    assert "--add keeps" in refused(2, "estimate-var", "--run", full_run, "--add", "--force")


def test_add_to_nothing(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(3, "estimate-var", "--run", mean_run, "--add")
    assert message.endswith(f"no statistics to add to; measure them with: diffcov estimate-var --run {mean_run}")


def test_add_to_the_table_of_another_mean(refused: Callable[..., str], full_run: Path, stranger: Path) -> None:
    shutil.copy(stranger / "variance.safetensors", full_run)
    message = refused(3, "estimate-var", "--run", full_run, "--add")
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in message


@pytest.mark.parametrize("name", ["spectrum", "matrices"])
def test_add_to_what_is_another_mean_s(refused: Callable[..., str], full_run: Path, stranger: Path, name: str) -> None:
    shutil.copy(stranger / f"{name}.safetensors", full_run)
    message = refused(3, "estimate-var", "--run", full_run, "--add", *FEW_IMAGES)
    assert f"{name}.safetensors" in message
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in message


@pytest.mark.parametrize("how", ["gone", "behind"])
def test_add_full_to_matrices_that_lack_images(
    refused: Callable[..., str], done: Callable[..., Any], full_run: Path, how: str
) -> None:
    """Both are measured in one sweep, so they can go on from the same sample only."""
    if how == "gone":
        (full_run / "matrices.safetensors").unlink()
    else:
        done("estimate-var", "--run", full_run, "--samples", 2, "--knot-samples", 3, "--add", "--no-full")
    message = refused(3, "estimate-var", "--run", full_run, "--samples", 2, *FEW_IMAGES, "--add", "--full")
    found = {"gone": "matrices.safetensors does not exist", "behind": "they have different numbers of images"}
    assert found[how] in message
    assert "--no-full" in message
    assert "--full --force" in message


def test_full_without_images(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(2, "estimate-var", "--run", mean_run, "--knot-samples", 0, "--full")
    assert "--full measures at the knots, and --knot-samples 0 leaves them out" in message


def test_add_with_other_images(refused: Callable[..., str], full_run: Path) -> None:
    assert "--add needs the images" in refused(3, "estimate-var", "--run", full_run, "--add", "--limit", 5)


@pytest.mark.parametrize(
    "options",
    [["--steps", "5"], ["--grid", "1,50"], ["--trajectory", "even", "--steps", "5"], ["--seed", "0"],
     ["--seed", "4"], ["--precision", "fp32"], ["--precision", "bf16"], ["--knots", "4"], ["--guidance", "2"]],
    ids=" ".join,
)  # fmt: skip
def test_add_goes_on_as_the_table_was_begun(refused: Callable[..., str], full_run: Path, options: list[str]) -> None:
    message = refused(2, "estimate-var", "--run", full_run, "--add", *options)
    told = "--add goes on with the table's own times, knots, seed, precision and guidance; leave those options out"
    assert message == told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "51"], "between 1 and T=50 (got 51)"),
        (["--grid", "quad"], "--grid quad needs --steps"),
        (["--grid", "fast", "--steps", "5"], "--grid must be one of even"),
        (["--grid", "1,60"], "must be in 1..T=50, found 60"),
        (["--trajectory", "5,5"], "strictly increase"),
        (["--grid", "1,2,3", "--steps", "5"], "leave one out"),
    ],
)
def test_times_that_cannot_be(refused: Callable[..., str], mean_run: Path, options: list[str], words: str) -> None:
    assert words in refused(2, "estimate-var", "--run", mean_run, *options)


@pytest.mark.parametrize(
    "options",
    [
        ["--steps", "0"],
        ["--samples", "0"],
        ["--batch-size", "0"],
        ["--gamma", "1"],
        ["--knots", "0"],
        ["--knots", "1"],
        ["--knot-samples", "-1"],
    ],
)
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("estimate-var", "--run", mean_run, *options)


def test_images_of_another_kind(refused: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "colour.npy", np.zeros((4, 3, 8, 8), dtype=np.uint8))
    message = refused(3, "estimate-var", "--run", mean_run, "--data", tmp_path / "colour.npy")
    assert "3 channel(s)" in message
    assert "1 channel(s)" in message


def test_full_disk(cli: Any, full_disk: Any, full_run: Path) -> None:
    before = [(full_run / f"{name}.safetensors").read_bytes() for name in EVERY]
    with full_disk(1_000):
        result = cli("estimate-var", "--run", full_run, "--samples", 2, *FEW_KNOTS, "--force")
    assert result.exit_code == 1
    assert "could not write" in result.stderr
    assert [(full_run / f"{name}.safetensors").read_bytes() for name in EVERY] == before
    assert not list(full_run.glob(".*"))


# --- one sweep for all, at times that it chooses


BUDGET = ("--calls", 200)


def test_by_default_one_sweep_says_all_of_all_times(done: Callable[..., Any], cli: Any, mean_run: Path) -> None:
    result = cli("estimate-var", "--run", mean_run, *BUDGET)
    assert result.exit_code == 0, result.stderr
    assert "at most 200 images through the network, about" in result.stderr
    assert "standard error of the squared error" in result.stderr
    table, spectrum, matrices = loaded(mean_run)
    assert table.statistic.times == list(range(1, 51))
    assert table.statistic.counts() == spectrum.statistic.counts() == matrices.statistic.counts()
    for file in (table, spectrum, matrices):
        assert (file.config["samples"], file.config["times"]) == (200, table.statistic.knots)
    found = done("estimate-var", "--run", mean_run, *BUDGET, "--force")
    assert (found["table"]["samples"], found["table"]["times"]) == (200, list(range(1, 51)))
    assert found["table"]["digest"] == table.digest, "the same seed, the same numbers"
    for t in (1, 50):
        assert found["table"]["error_sq"][str(t)] == pytest.approx(table.statistic.error_at(t))


def test_everything_reads_curves(done: Callable[..., Any], cli: Any, mean_run: Path) -> None:
    done("estimate-var", "--run", mean_run, *BUDGET)
    for covariance in ("analytic", "corrected", "spectral", "full"):
        words = ("--run", mean_run, "--covariance", covariance, "--steps", 3, "--count", 2)
        done("sample", *words, "--out", mean_run / covariance)
    done("inspect", mean_run)
    assert cli("inspect", mean_run, "--plot", mean_run / "table.png").exit_code == 0
    assert done("fit-var-head", "--run", mean_run, "--kind", "npr,banded", "--iterations", 2)


def test_it_goes_on_with_more_images(done: Callable[..., Any], mean_run: Path) -> None:
    done("estimate-var", "--run", mean_run, *BUDGET, "--seed", 5)
    before = table_of(mean_run).statistic
    found = done("estimate-var", "--run", mean_run, "--add", "--calls", 100)
    assert {found[name]["samples"] for name in ("table", "spectrum", "matrices")} == {300}
    after = table_of(mean_run)
    assert after.config["seed"] == 5
    assert (after.statistic.count >= before.count).all()
    assert float(after.statistic.count.sum()) == 300


@pytest.mark.parametrize("name", ["variance", "spectrum", "matrices"])
def test_what_is_missing_is_measured_on_the_same_images(done: Callable[..., Any], mean_run: Path, name: str) -> None:
    done("estimate-var", "--run", mean_run, *BUDGET, "--seed", 5)
    path = mean_run / f"{name}.safetensors"
    before = load_file(path)
    path.unlink()
    done("estimate-var", "--run", mean_run)
    found = load_file(path)
    assert found.keys() == before.keys()
    for key in before.keys() - {"pairs"}:
        scale = float(before[key].double().abs().max())
        torch.testing.assert_close(found[key], before[key], rtol=1e-4, atol=1e-5 * scale)


def test_a_wanted_error_ends_it(cli: Any, mean_run: Path) -> None:
    result = cli("estimate-var", "--run", mean_run, "--rtol", 0.2, "--no-full")
    assert result.exit_code == 0, result.stderr
    assert "as many images through the network as 20.0% needs" in result.stderr
    assert float(table_of(mean_run).statistic.relative_stderr().max()) < 0.21
    assert "budget" not in result.stderr


def test_a_budget_that_does_not_reach_what_is_wanted_says_so(cli: Any, mean_run: Path) -> None:
    result = cli("estimate-var", "--run", mean_run, "--rtol", 0.0001, *BUDGET)
    assert "warning: the budget ended at standard error of the squared error" in result.stderr
    assert "go on with --add --calls 10000" in result.stderr


@pytest.mark.parametrize("options", [["--calls", 100], ["--rtol", 0.5], ["--minutes", 1]], ids=str)
def test_a_goal_and_single_times(refused: Callable[..., str], mean_run: Path, options: list[object]) -> None:
    message = refused(2, "estimate-var", "--run", mean_run, *options, "--samples", 3)
    assert message.startswith("--rtol, --calls and --minutes end a sweep that chooses its own times; leave them out")


def test_a_goal_is_not_for_single_times_that_are_there(refused: Callable[..., str], full_run: Path) -> None:
    message = refused(2, "estimate-var", "--run", full_run, "--add", "--calls", 100)
    assert message.startswith("--add goes on with single times, which have no common goal")


def test_single_times_are_not_for_curves_that_are_there(
    refused: Callable[..., str], done: Callable[..., Any], mean_run: Path
) -> None:
    done("estimate-var", "--run", mean_run, *BUDGET)
    message = refused(2, "estimate-var", "--run", mean_run, "--add", "--samples", 3)
    assert message.startswith("--add goes on with curves over log-SNR, which have no single times")


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--rtol", 0], "between 0 and 1, found 0"), (["--rtol", 1.5], "found 1.5"), (["--minutes", 0], "above 0")],
)
def test_goals_that_cannot_be(refused: Callable[..., str], mean_run: Path, options: list[object], words: str) -> None:
    assert words in refused(2, "estimate-var", "--run", mean_run, *options)


@pytest.mark.parametrize("missing", ["image-gaussian", "matrices"])
def test_what_follows_others_is_measured_on_their_images(
    done: Callable[..., Any], refused: Callable[..., str], mean_run: Path, missing: str
) -> None:
    """A Gaussian of images and matrices do not say where more is to be measured: what is there does."""
    full = ["--full"] if missing == "matrices" else []
    done("estimate-var", "--run", mean_run, "--calls", 400, *full)
    (mean_run / f"{missing}.safetensors").unlink()
    told = refused(3, "estimate-var", "--run", mean_run, "--calls", 400, "--limit", 50, *full)
    assert "was measured on other images" in told
    assert "say the same images with --data and --limit, or measure all anew with --force" in told
    again = done("estimate-var", "--run", mean_run, "--calls", 400, *full)
    assert missing in {name.replace("_", "-") for name in again}
