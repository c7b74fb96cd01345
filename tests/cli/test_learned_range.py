"""A mean with a learned range, from the import on: compared with ``corrected``, told, taken by ``auto`` if it won."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import FEW_KNOTS, Cli
from diffcov.engines.range_check import RangeCheck
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.range_check import load_range_check, save_range_check
from diffcov.store.run import RunFolder
from diffcov.study.choice import choose
from diffcov.study.listener import Silent
from diffcov.study.range_check import lacks_range_check, range_earned
from diffcov.study.requests.words import AUTO
from diffcov.study.samplers import Samplers
from diffcov.study.tune import search_space
from oracles.offered import OF_ANY_MEAN
from oracles.ranges import learn_range

Json = dict[str, Any]
Done = Callable[..., Json]
TRAINED = Path(__file__).parents[1] / "assets" / "run-of-before" / "mean.safetensors"
READ = ("--schedule", "linear", "--timesteps", 50, "--time-offset", 1, "--time-scale", 20, "--data", "digits")


def written(path: Path, learned: bool) -> Path:
    """A trained network with a second half that says 0 everywhere, or was trained too."""
    before = load_mean(TRAINED)
    assert isinstance(before.spec.network, UNetConfig)
    network = UNet(replace(before.spec.network, learned_range=True))
    weights = dict(before.model.network.state_dict())
    for name in ("out.2.weight", "out.2.bias"):
        weights[name] = torch.cat([weights[name], torch.zeros_like(weights[name])])
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    if learned:
        learn_range(network, replace(before.spec.reading, learned_range=True), load_images("digits").images)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, done: Done) -> dict[str, Path]:
    """Runs of both, imported with images."""
    folder = tmp_path_factory.mktemp("runs")
    for name, learned in (("learned", True), ("untrained", False)):
        done("import", written(folder / f"{name}.pt", learned), "--run", folder / name, *READ)
    return {name: folder / name for name in ("learned", "untrained")}


def copied(runs: dict[str, Path], name: str, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(runs[name], tmp_path / name))


def chosen(run: RunFolder) -> str:
    return choose(run, AUTO, load_mean(run.mean)).name


def test_what_an_import_finds_is_kept_and_told(runs: dict[str, Path], cli: Cli) -> None:
    for name, earned, verdict in (
        ("learned", True, "may take learned-range before corrected"), ("untrained", False, "leaves learned-range alone")
    ):  # fmt: skip
        kept = load_range_check(RunFolder(runs[name]).range_check)
        assert (kept.found.earned, len(kept.found.learned), len(kept.found.times)) == (earned, 64, 10)
        assert (kept.found.difference.mean < 0) == earned
        assert kept.found.verdict.endswith(f"auto {verdict.replace('learned-range', 'it')}")
        assert kept.images["source"] == "digits"
        said = " ".join(cli("inspect", runs[name], "--all").stdout.split())
        assert "range-check" in said
        assert verdict in said


def test_auto_takes_it_before_corrected_only_where_it_won(
    runs: dict[str, Path], tmp_path: Path, done: Done, cli: Cli
) -> None:
    for name, before, after in (("learned", "learned-range", "learned-range"), ("untrained", "small", "corrected")):
        run = copied(runs, name, tmp_path)
        assert chosen(run) == before
        done("estimate-var", "--run", run.path, "--samples", 4, "--knot-samples", 0)
        assert chosen(run) == after
        drawn = cli("sample", "--run", run.path, "--steps", 3, "--count", 1)
        assert f"covariance: {after} (usually the best of those" in drawn.stderr
        assert "holds no variance table" not in drawn.stderr
        done("estimate-var", "--run", run.path, *FEW_KNOTS)
        assert chosen(run) == "full", "what stands before both"
        assert done("inspect", run.path)["problems"] == []


def test_without_a_comparison_it_is_left_alone_until_there_is_one(
    runs: dict[str, Path], tmp_path: Path, cli: Cli
) -> None:
    run = copied(runs, "learned", tmp_path)
    run.range_check.unlink()
    assert chosen(run) == "small"
    told = cli("estimate-var", "--run", run.path, "--samples", 2, "--knot-samples", 0).stderr
    assert "the bound of learned-range on 64 images at 10 steps is -0." in " ".join(told.split())
    assert chosen(run) == "learned-range"
    run.range_check.unlink()
    cli("compare", "--run", run.path, "--steps", 2, "--count", 0, "--images", 32, "--covariance", "small,corrected")
    assert len(load_range_check(run.range_check).found.learned) == 32
    mean = load_mean(run.mean)
    made = run.range_check.stat().st_mtime_ns
    cli("estimate-var", "--run", run.path, "--samples", 2, *FEW_KNOTS)
    assert run.range_check.stat().st_mtime_ns == made, "what is there stays"
    save_range_check(run.range_check, load_range_check(run.range_check).found, "0" * 64, {})
    assert choose(run, AUTO, mean).name == "full"
    assert not range_earned(run, mean), "though its numbers are those of a comparison that was won"
    assert lacks_range_check(run, mean)
    assert "was made for another mean" in cli("inspect", run.path).stdout


def test_a_comparison_of_samples_cannot_crown_it_either(runs: dict[str, Path], tmp_path: Path, done: Done) -> None:
    """Auto never picks it unless its bound was lower: also where its distance is the lowest."""
    words = ("--steps", 3, "--count", 64, "--images", 8, "--features", "pixels")
    for name in runs:
        run = copied(runs, name, tmp_path)
        done("compare", "--run", run.path, *words, "--covariance", "small,learned-range")
        drawn = done("sample", "--run", run.path, "--steps", 3, "--count", 1)["covariance"]
        assert drawn == ("learned-range" if name == "learned" else "small")


def test_every_command_knows_it(runs: dict[str, Path], tmp_path: Path, done: Done, refused: Callable[..., str]) -> None:
    run = copied(runs, "learned", tmp_path)
    done("estimate-var", "--run", run.path, "--samples", 10, "--knot-samples", 0)
    bounds = done("evaluate", "--run", run.path, "--covariance", "all", "--steps", 10, "--images", 64)["nll"]
    assert list(bounds) == ["small", "large", "analytic", "corrected", "learned-range"]
    assert bounds["learned-range"]["difference_to"] == "learned-range"
    assert bounds["corrected"]["difference"] > 2 * bounds["corrected"]["difference_stderr"]
    found = done("trajectory", "--run", run.path, "--covariance", "learned-range", "--images", 4, "--candidates", 6)
    assert found["covariance"] == "learned-range"
    drawn = done(
        "sample", "--run", run.path, "--covariance", "learned-range", "--grid", "optimal", "--steps", 3, "--count", 1
    )
    assert drawn["covariance"] == "learned-range"
    message = refused(2, "sample", "--run", run.path, "--covariance", "learned-range", "--solver", "ddim")
    assert "the learned-range covariance is the variance of a DDPM step and means nothing for ddim" in message
    message = refused(3, "export", "--run", run.path, "--covariance", "learned-range", "--out", tmp_path / "out")
    assert "give its DDPMScheduler variance_type='learned_range'; export a table instead" in message
    assert done("export", "--run", run.path, "--out", tmp_path / "out")["covariance"] == "corrected"


def test_a_search_over_solvers_leaves_it_out(runs: dict[str, Path]) -> None:
    """Most of what is searched is no DDPM step, and a recipe is not taken by its bound."""
    run = RunFolder(runs["learned"])
    space = search_space(Samplers(run, load_mean(run.mean)), Silent())
    assert "small" in space.covariances
    assert "learned-range" not in space.covariances


def test_a_mean_without_one_is_not_offered_it(
    tmp_path: Path, done: Done, cli: Cli, refused: Callable[..., str]
) -> None:
    run = shutil.copytree(TRAINED.parent, tmp_path / "run")
    assert list(RunFolder(run).available()) == list(OF_ANY_MEAN)
    message = refused(3, "sample", "--run", run, "--covariance", "learned-range")
    assert "learned-range is a variance that a network learned beside its mean, and the one in" in message
    assert message.endswith("learned none; use another covariance, such as corrected")
    assert not (run / "range-check.safetensors").exists()


def test_one_image_proves_nothing_and_ties_go_to_the_table() -> None:
    nats = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)

    def check(learned: torch.Tensor, corrected: torch.Tensor) -> RangeCheck:
        return RangeCheck((1, 5), 64, learned, corrected)

    assert check(nats - 1, nats).earned, "lower by the same on every image"
    assert not check(nats, nats).earned
    assert not check(nats + 1, nats).earned
    assert not check(nats[:1] - 1, nats[:1]).earned
    noisy = check(nats - torch.tensor([8.0, -6.0, 8.0, -6.0]), nats)
    assert noisy.difference.mean == pytest.approx(-1 / (64 * math.log(2)))
    assert not noisy.earned, "within two standard errors"
