"""The demo at a tiny budget: everything it promises is there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import diffcov.study.demo
from conftest import strict_json
from diffcov.covariance.registry import COVARIANCES
from diffcov.store.run import RunFolder

BUDGET = ("--iterations", 3, "--head-iterations", 2, "--samples", 1, "--knot-samples", 4, "--count", 66)

COMPARED = list(COVARIANCES)
"""All of them, those whose head has to be asked for elsewhere too."""


@pytest.fixture(scope="module")
def demo(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The demo along 2 and 3 steps: its own 5, 10 and 50 take the reference network a minute."""
    run = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcov.study.demo, "STEPS", (2, 3))
        result = cli("demo", "--run", run, *BUDGET)
    assert result.exit_code == 0, result.stderr
    return run, result


def test_it_ends_with_the_report(demo: tuple[Path, Any]) -> None:
    run, result = demo
    report = run / "compare" / "report.html"
    assert result.stdout == f"{report}\n"
    text = report.read_text(encoding="utf-8")
    assert all(name in text for name in COMPARED)
    assert "without" not in result.stderr
    notes = [line for line in result.stderr.splitlines() if line[:2] in ("1/", "2/", "3/", "4/")]
    commands = ["train-mean", "estimate-var", "fit-var-head", "compare"]
    assert [line.split()[1].rstrip(",") for line in notes] == commands
    assert "fid@66 classifier, ddpm" in result.stderr
    assert "66 real test images have" in result.stderr


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


def test_again_is_refused(demo: tuple[Path, Any], cli: Any) -> None:
    run, _ = demo
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    again = cli("demo", "--run", run, *BUDGET)
    assert again.exit_code == 1
    assert "already exists" in again.stderr
    assert "--force" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_too_few_samples_are_refused_before_the_training(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(2, "demo", "--run", tmp_path / "run", "--count", 63)
    assert "in 64 dimensions needs" in message
    assert "found 63" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options", [["--count", "0"], ["--samples", "0"], ["--knot-samples", "0"], ["--iterations", "0"]], ids=" ".join
)
def test_values_that_the_parser_refuses(unusable: Callable[..., str], tmp_path: Path, options: list[str]) -> None:
    assert options[0] in unusable("demo", "--run", tmp_path / "run", *options)
