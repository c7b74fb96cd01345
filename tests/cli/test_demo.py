"""The demo at a tiny budget: everything it promises is there."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffcov.study.demo
from conftest import TINY, strict_json
from diffcov.covariance import registry
from diffcov.engines.recipe import USUAL
from diffcov.engines.tuning.halving import Plan
from diffcov.errors import Interrupted
from diffcov.present.report.headline import headline
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean
from diffcov.store.recipes import load_recipe
from diffcov.store.run import RunFolder
from diffcov.study import tuning_bench
from oracles.offered import OF_ANY_MEAN

BUDGET = ("--iterations", 3, "--head-iterations", 2, "--samples", 1, "--knot-samples", 4, "--count", 66)

COMPARED = list(OF_ANY_MEAN)
"""All of them, those whose head has to be asked for elsewhere too."""


@pytest.fixture(scope="module")
def short(cli: Any) -> Any:
    """The command line, with a demo along 2 and 3 steps and a short search for 3: its own take a minute each."""

    def call(*words: object) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(diffcov.study.demo, "STEPS", (2, 3))
            patch.setattr(diffcov.study.demo, "TUNED_STEPS", 3)
            patch.setattr(diffcov.study.demo, "FEW", 16)
            plan = functools.partial(Plan, parents=(1,), steps=(0.25,), rungs=((2, 2),), sheets=30)
            patch.setattr(tuning_bench, "Plan", plan)
            return cli(*words)

    return call


@pytest.fixture(scope="module")
def demo(short: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    run = tmp_path_factory.mktemp("demo") / "run"
    result = short("demo", "--train", "--run", run, *BUDGET)
    assert result.exit_code == 0, result.stderr
    return run, result


def test_it_ends_with_the_report(demo: tuple[Path, Any]) -> None:
    run, result = demo
    report = run / "compare" / "report.html"
    assert result.stdout == f"{report}\n"
    text = report.read_text(encoding="utf-8")
    assert all(f">{name}</th>" in text for name in COMPARED)
    assert not any(line.startswith("without ") for line in result.stderr.splitlines()), "it lacks nothing"
    notes = [line for line in result.stderr.splitlines() if line[1:3] == "/5"]
    commands = ["train-mean", "estimate-var", "fit-var-head", "tune", "compare"]
    assert [line.split()[1].rstrip(",") for line in notes] == commands
    assert "fid@66 classifier, ddpm" in result.stderr
    assert "66 real test images have" in result.stderr
    assert result.stderr.count("data: digits: train 1500, test 297 images of 8x8") == 1, "what five commands open"


def test_it_leaves_a_whole_run_and_a_whole_comparison(demo: tuple[Path, Any]) -> None:
    run = demo[0]
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    needed = {path.name for name in COMPARED for path in RunFolder(run).needed_by(name)}
    assert {"mean.safetensors", *needed} <= names, "whatever they need, the demo makes"
    found = strict_json((run / "compare" / "compare.json").read_text())
    assert found["steps"] == [2, 3]
    assert found["settings"]["count"] == found["real"]["count"] == 66
    assert (found["settings"]["split"], found["settings"]["features"]) == ("test", "classifier")
    cells = [(cell["covariance"], cell["solver"], cell["steps"]) for cell in found["cells"]]
    assert {name for name, _, _ in cells} == set(COMPARED)
    assert len(set(cells)) == len(cells) == 2 * (2 * len(COMPARED) - 1)
    assert all(cell["bits_per_dim"] > 0 for cell in found["cells"] if cell["solver"] == "ddpm")
    assert all(cell["fid"] > found["real"]["fid"] > 0 for cell in found["cells"])
    with (run / "compare" / "compare.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(cells)
    for name in ("samples-ddpm", "samples-ddim"):
        with Image.open(run / "compare" / f"{name}.png") as picture:
            picture.load()
            assert picture.width > 2 * 10 * 40
            assert picture.height > (len(COMPARED) - 1) * 40


def test_it_ends_with_a_picture_of_the_best_sampler(demo: tuple[Path, Any]) -> None:
    """Found on other noise than it is compared on, beside what everybody would pick."""
    run, result = demo
    found = strict_json((run / "compare" / "compare.json").read_text())
    recipe = load_recipe(RunFolder(run).recipe(3))
    assert recipe.evidence["noise"] == {"purpose": "tune", "chosen_on": 0, "judged_on": 1}
    cells = {(cell["sampler"], cell["steps"]): cell for cell in found["sampler_cells"]}
    assert {name for name, _ in cells} == {*USUAL, "tuned"}
    assert cells["tuned", 3]["summary"] == recipe.recipe.label
    picture = run / "compare" / "samples-samplers.png"
    assert result.stderr.splitlines()[-2] == f"picture of every sampler, nearest to the data first: {picture}"
    assert result.stderr.splitlines()[-1] == headline(found)
    with Image.open(picture) as opened:
        assert opened.height > (len(USUAL) + 3) * 40, "those, what tune found, and the best covariance of each solver"


def test_again_does_nothing_twice(demo: tuple[Path, Any], short: Any) -> None:
    run, _ = demo
    made = [path for path in run.rglob("*.safetensors") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in made}
    again = short("demo", "--train", "--run", run, *BUDGET)
    assert again.exit_code == 0, again.stderr
    assert again.stdout == f"{run / 'compare' / 'report.html'}\n"
    assert again.stderr.count("there") == 4
    assert {path: path.stat().st_mtime_ns for path in made} == before


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["mean", "variance", "matrices", "heads", "parts"])
def test_again_goes_on_where_it_stopped(demo: tuple[Path, Any], short: Any, tmp_path: Path, stopped: str) -> None:
    """The same bytes as of a demonstration that was never stopped, and what was done is left alone."""
    whole, run = demo[0], tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "compare")
    mean, heads = run / "state" / "mean.safetensors", run / "state" / "heads.safetensors"
    if stopped != "parts":
        heads.unlink()
        for path in RunFolder(run).heads().values():
            path.unlink()
    if stopped == "heads":  # one of two iterations done
        result = short("fit-var-head", "--run", run, "--kind", ",".join(registry.heads()), "--iterations", 1)
        assert result.exit_code == 0, result.stderr
    if stopped in ("variance", "mean"):
        (run / "variance.safetensors").unlink()
    if stopped == "matrices":
        (run / "matrices.safetensors").unlink()
    if stopped == "mean":
        (run / "matrices.safetensors").unlink()
        (run / "spectrum.safetensors").unlink()
        mean.unlink()
        result = short("train-mean", "--run", run, "--data", "digits", "--iterations", 2, "--force")
        assert result.exit_code == 0, result.stderr
    result = short("demo", "--train", "--run", run, *BUDGET)
    assert result.exit_code == 0, result.stderr
    for name in ("mean", "variance", "spectrum", "matrices", "head-npr"):
        mine, theirs = ((folder / f"{name}.safetensors").read_bytes() for folder in (run, whole))
        header = 8 + int.from_bytes(mine[:8], "little")  # the header holds seconds
        assert mine[header:] == theirs[8 + int.from_bytes(theirs[:8], "little") :], name
    assert (run / "compare" / "report.html").is_file()


@pytest.mark.parametrize("named", [False, True])
def test_stopped_it_says_how_it_goes_on(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """And a run of one's own is not taken for it, wherever the other commands work."""
    monkeypatch.chdir(tmp_path)

    def stopped(request: Any, listener: Any) -> None:
        assert request.place.run == Path("here" if named else "runs/demo")
        raise Interrupted("stopped at iteration 7; everything is saved, go on with: diffcov train-mean --resume")

    monkeypatch.setattr(diffcov.study.demo, "train_mean", stopped)
    words = ("--run", "here", "--count", 70, "--force") if named else ()
    result = cli("demo", "--train", *words, env={"DIFFCOV_RUN": "runs/mine"})
    assert result.exit_code == 130
    again = "diffcov demo --train --run here --count 70" if named else "diffcov demo --train"
    assert result.stderr.endswith(f"stopped at iteration 7; everything is saved, go on with: {again}\n")

    def interrupted(request: Any, listener: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(diffcov.study.demo, "train_mean", interrupted)
    result = cli("demo", "--train", *words)
    assert result.exit_code == 130
    assert f"what is done is kept; go on with: {again}\n" in result.stderr


@pytest.mark.parametrize("words", [(), ("--force",)], ids=["", "--force"])
def test_a_run_of_other_images_is_left_alone(
    refused: Callable[..., str], cli: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    images = tmp_path / "mine.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8))
    trained = cli("train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 1, "--data", images)
    assert trained.exit_code == 0, trained.stderr
    before = (tmp_path / "run" / "mean.safetensors").read_bytes()
    for _ in range(2):
        told = refused(3, "demo", "--train", "--run", tmp_path / "run", *words)
        said = f"{tmp_path / 'run'} holds a mean of {images}, and the demonstration trains one of its own"
        assert told.startswith(said)
        assert (tmp_path / "run" / "mean.safetensors").read_bytes() == before
        shutil.rmtree(tmp_path / "run" / "state", ignore_errors=True)  # as of one that was imported


@pytest.mark.slow
def test_a_mean_trained_for_longer_has_everything_made_anew(demo: tuple[Path, Any], short: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0], run)
    result = short("demo", "--train", "--run", run, "--iterations", 4, *BUDGET[2:])
    assert result.exit_code == 0, result.stderr
    digest = load_mean(run / "mean.safetensors").digest
    assert digest != load_mean(demo[0] / "mean.safetensors").digest
    paths = [
        path for path in run.glob("*.safetensors") if path.name not in ("mean.safetensors", "classifier.safetensors")
    ]
    assert len(paths) == 8
    assert {json.loads(artifact.read_header(path)["trunk"]) for path in paths} == {digest}


def test_too_few_samples_are_refused_before_the_training(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(2, "demo", "--run", tmp_path / "run", "--count", 63)
    assert "in 64 dimensions needs" in message
    assert "found 63" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options", [["--count", "0"], ["--samples", "0"], ["--knot-samples", "0"], ["--iterations", "0"]], ids=" ".join
)
def test_values_that_the_parser_refuses(unusable: Callable[..., str], tmp_path: Path, options: list[str]) -> None:
    assert options[0] in unusable("demo", "--train", "--run", tmp_path / "run", *options)
