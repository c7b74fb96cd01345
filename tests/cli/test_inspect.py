"""``inspect``: what a file or a run says about itself, and whether its parts fit together."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import FEW_KNOTS
from diffcov.covariance import registry
from diffcov.store.checkpoint import load_mean


def kinds(report: dict[str, Any]) -> list[str]:
    return [part["kind"] for part in report["parts"]]


def test_a_run(done: Callable[..., Any], finished: Path) -> None:
    found = done("inspect", finished)
    heads = ["head"] * len(registry.heads())
    statistics = ["variance-table", "spectrum", "image-gaussian", "residual-matrices"]
    assert kinds(found) == ["mean", *statistics, *heads, "state", "state"]
    assert found["problems"] == []
    mean = found["parts"][0]
    assert mean["digest"] == load_mean(finished / "mean.safetensors").digest
    assert mean["settings"]["channels"] == 8
    assert all(part["trunk"] == mean["digest"] for part in found["parts"] if "trunk" in part)
    assert done("inspect", "--run", finished) == found
    assert done("inspect", env={"DIFFCOV_RUN": str(finished)}) == found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mean", "mean"),
        ("variance", "variance-table"),
        ("spectrum", "spectrum"),
        ("image-gaussian", "image-gaussian"),
        ("matrices", "residual-matrices"),
        *((f"head-{name}", "head") for name in registry.heads()),
        ("state/mean", "state"),
        ("state/heads", "state"),
    ],
)
def test_each_artefact(done: Callable[..., Any], finished: Path, name: str, kind: str) -> None:
    found = done("inspect", finished / f"{name}.safetensors")
    assert kinds(found) == [kind]
    assert found["parts"][0]["written by"].startswith("diffcov ")
    assert found["parts"][0]["bytes"] == (finished / f"{name}.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["spectrum", "matrices"])
def test_what_was_measured_at_knots(done: Callable[..., Any], finished: Path, name: str) -> None:
    part = done("inspect", finished / f"{name}.safetensors")["parts"][0]
    assert (part["knots"], part["samples"], part["seed"], part["flip"]) == (4, 4, 0, False)
    assert part["trunk"] == load_mean(finished / "mean.safetensors").digest
    assert part["data"]["source"] == "digits"
    if name == "matrices":
        low, high = (float(word) for word in part["shrinkage"].split(" to "))
        assert 0 <= low <= high <= 1


def test_about_ten_lines(cli: Any, finished: Path) -> None:
    """What it is, whether it is whole, and what to type next; without boxes, and with nothing at the ends of lines."""
    result = cli("inspect", finished)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert 5 <= len(lines) <= 12
    assert all(line == line.rstrip() for line in lines)
    assert not set("│┌└|") & set(result.stdout)
    said = {line.split()[0]: line for line in lines}
    assert "T = 50" in said["mean"]
    assert "3 iterations on 1500 images of digits (train)" in said["data"]
    assert all(name in said["heads"] for name in registry.heads())
    assert said["whole"].split()[1] == "yes:"
    assert said["next"] == f"next        diffcov compare --run {finished}"


def test_details_with_all(cli: Any, finished: Path) -> None:
    result = cli("inspect", finished, "--all")
    assert result.exit_code == 0
    for word in ("variance-table", "parameters", "digest", "settings"):
        assert word in result.stdout
    assert "Variance of a DDPM step between small (0) and large (1)" in result.stderr
    assert all(line == line.rstrip() for line in result.stdout.splitlines())


def test_what_to_type_next(done: Callable[..., Any], trained: Path, finished: Path, tmp_path: Path) -> None:
    """Every advice is a command that works as it stands."""
    run = shutil.copytree(trained, tmp_path / "run")
    named = f"--run {run}"
    assert done("inspect", run)["next"] == f"diffcov estimate-var {named}"
    assert done("inspect", run / "mean.safetensors")["next"] == f"diffcov inspect {named}"
    shutil.copy(finished / "variance.safetensors", run)
    assert done("inspect", run)["next"] == f"diffcov fit-var-head {named}"
    assert done("inspect", run / "variance.safetensors")["next"] == f"diffcov fit-var-head {named}"
    shutil.copy(finished / "head-npr.safetensors", run)
    assert done("inspect", run)["next"] == f"diffcov compare {named}"
    assert done("inspect", run / "head-npr.safetensors")["next"] == f"diffcov sample {named} --steps 10"
    (run / "compare").mkdir()
    (run / "compare" / "compare.json").write_text("{}")
    assert done("inspect", run)["next"] == f"diffcov sample {named} --steps 10"
    (run / "mean.safetensors").unlink()
    assert done("inspect", run)["next"] == f"diffcov train-mean {named} --resume"
    assert done("inspect", run / "state" / "mean.safetensors")["next"] == f"diffcov train-mean {named} --resume"
    assert done("inspect", "digits")["next"] == "diffcov train-mean --data digits"


def test_every_file_of_a_set_is_named(cli: Any, done: Callable[..., Any], mean_run: Path) -> None:
    made = done("sample", "--run", mean_run, "--steps", 2, "--count", 5, "--format", "npz,folder")
    lines = cli("inspect", made["out"]).stdout
    for words in (
        "grid.png: a sheet to look at", "samples.npz: arr_0 uint8 (5, 8, 8, 1), the images", "images/: 5 PNG",
        "manifest.json: how to draw them again", f"next        diffcov inspect --verify {made['out']}",
    ):  # fmt: skip
        assert words in lines
    assert "samples  small-ddpm-even2-seed0" in cli("inspect", mean_run).stdout
    sheet = cli("inspect", made["grid"]).stdout
    assert "of 5 images, 2 steps of ddpm, covariance small, seed 0" in sheet
    (Path(made["out"]) / "samples.npz").unlink()
    gone = cli("inspect", made["out"])
    assert gone.exit_code == 3
    assert "samples.npz is gone, and the manifest names it" in gone.stdout


def test_damaged_contents_of_a_set(refused: Callable[..., str], done: Callable[..., Any], mean_run: Path) -> None:
    out = Path(done("sample", "--run", mean_run, "--steps", 2, "--count", 2, "--format", "npz")["out"])
    (out / "samples.npz").write_bytes(b"PK")
    assert "samples.npz cannot be read as npz" in refused(3, "inspect", out)
    (out / "manifest.json").write_text("[]")
    assert "is no manifest of samples (it holds a list)" in refused(3, "inspect", out)


def test_samples_and_images(cli: Any, done: Callable[..., Any], mean_run: Path) -> None:
    made = done("sample", "--run", mean_run, "--steps", 3, "--count", 5, "--format", "folder")
    assert kinds(done("inspect", made["out"])) == ["samples"]
    assert done("inspect", made["out"])["parts"][0]["count"] == 5
    images = done("inspect", Path(made["out"]) / "images")
    assert kinds(images) == ["images"]
    assert images["parts"][0]["count"] == 5


def test_an_embedded_set_by_its_word(done: Callable[..., Any]) -> None:
    part = done("inspect", "digits")["parts"][0]
    assert (part["kind"], part["count"]) == ("images", 1500)
    assert (part["split"], part["test split"], part["classes"]) == ("train", True, 10)


def test_a_run_in_training(done: Callable[..., Any], mean_run: Path) -> None:
    (mean_run / "mean.safetensors").unlink()
    assert kinds(done("inspect", mean_run)) == ["state"]


@pytest.mark.parametrize(
    "name", ["variance.safetensors", "matrices.safetensors", "head-npr.safetensors", "head-sn.safetensors"]
)
def test_parts_that_do_not_fit(cli: Any, full_run: Path, stranger: Path, name: str) -> None:
    shutil.copy(stranger / name, full_run)
    result = cli("inspect", full_run, "--json")
    assert result.exit_code == 3
    problems = json.loads(result.stdout)["problems"]
    assert len(problems) == 1
    assert name in problems[0]
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in problems[0]
    assert "1 part(s) that do not fit" in result.stderr
    plain = cli("inspect", full_run)
    assert plain.exit_code == 3
    assert f"problem     {problems[0]}" in plain.stdout
    assert f"part(s) that do not fit: {problems[0]}\n" in plain.stderr
    assert f"next        diffcov inspect --verify {full_run}" in plain.stdout


def test_a_head_over_another_spectrum_does_not_fit(cli: Any, full_run: Path, stranger: Path) -> None:
    """Measured anew on the same mean, or gone: `banded` is relative to the one it was fitted over."""
    words = ["--samples", 2, *FEW_KNOTS, "--seed", 8, "--force"]
    measured = cli("estimate-var", "--run", full_run, *words)
    assert measured.exit_code == 0
    again = f"diffcov fit-var-head --run {full_run} --kind banded --force"
    assert f"warning: banded was fitted over what is replaced now; fit again with: {again}\n" in measured.stderr
    expected = (
        f"{full_run / 'head-banded.safetensors'} was made of another spectrum.safetensors, or of one that is gone"
    )
    for command in (again, f"diffcov estimate-var --run {full_run}"):  # measured anew, and gone: that comes first then
        result = cli("inspect", full_run, "--json")
        assert result.exit_code == 3
        found = json.loads(result.stdout)
        assert found["problems"] == [f"{expected}; make it again with: {command}"]
        assert found["next"] == command
        (full_run / "spectrum.safetensors").unlink(missing_ok=True)
    shutil.copy(stranger / "spectrum.safetensors", full_run)
    problems = json.loads(cli("inspect", full_run, "--json").stdout)["problems"]
    assert len(problems) == 2
    assert expected in problems
    assert any("spectrum.safetensors was made for another mean" in problem for problem in problems)


def test_damaged_parts_of_a_run_are_all_named(cli: Any, full_run: Path) -> None:
    names = ("variance.safetensors", "matrices.safetensors", "head-npr.safetensors")
    for name in names:
        (full_run / name).write_bytes((full_run / name).read_bytes()[:-3])
    result = cli("inspect", full_run, "--json")
    assert result.exit_code == 3
    problems = json.loads(result.stdout)["problems"]
    assert len(problems) == 3
    assert all(name in problem for name, problem in zip(names, problems, strict=True))


def test_a_damaged_file(refused: Callable[..., str], full_run: Path) -> None:
    path = full_run / "variance.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert "truncated" in refused(3, "inspect", path)


def test_nothing_there(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(3, "inspect", tmp_path / "absent")
    assert "no such file or run" in message
    assert "diffcov train-mean" in message
    assert "no such file" in refused(3, "inspect", tmp_path / "absent.safetensors")


def test_an_empty_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(3, "inspect", tmp_path / "empty")


def test_a_manifest_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{half")
    assert "is not JSON" in refused(3, "inspect", tmp_path)


# --- --plot


@pytest.mark.parametrize("name", ["", "variance.safetensors"])
def test_plot_draws_the_table(done: Callable[..., Any], finished: Path, tmp_path: Path, name: str) -> None:
    plain = done("inspect", finished / name)
    picture = tmp_path / "new folder" / "table.png"
    found = done("inspect", finished / name, "--plot", picture)
    assert found == {**plain, "plot": str(picture)}
    with Image.open(picture) as image:
        assert image.format == "PNG"
        low, high = image.convert("L").getextrema()
    assert (low < 100, high) == (True, 255)


def test_plot_replaces_nothing_unasked(refused: Callable[..., str], cli: Any, finished: Path, tmp_path: Path) -> None:
    picture = tmp_path / "table.png"
    picture.write_text("mine")
    assert "already exists" in refused(1, "inspect", finished, "--plot", picture)
    assert cli("inspect", finished, "--plot", picture, "--force").exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_plot_needs_a_table(refused: Callable[..., str], finished: Path, mean_run: Path, tmp_path: Path) -> None:
    for inspected in (mean_run, finished / "mean.safetensors", Path("digits")):
        message = refused(3, "inspect", inspected, "--plot", tmp_path / "table.png")
        assert "holds none that can be read" in message
        assert "diffcov estimate-var" in message


def test_plot_is_a_png(refused: Callable[..., str], finished: Path, tmp_path: Path) -> None:
    assert "ends in .png" in refused(2, "inspect", finished, "--plot", tmp_path / "table.svg")


def test_plot_without_matplotlib(
    refused: Callable[..., str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = refused(3, "inspect", finished, "--plot", tmp_path / "table.png")
    assert "pip install matplotlib" in message


def test_models_of_other_tools_are_told_the_way_in(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"whatever")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    for name in ("model.pt", "pipeline"):
        told = refused(3, "inspect", tmp_path / name)
        assert told.startswith(f"{tmp_path / name} is a model of another tool and no set of images")
        assert told.endswith(f"diffcov import {tmp_path / name} --data IMAGES --run RUN")


def test_a_folder_of_sets_of_samples_is_no_set_of_images(
    refused: Callable[..., str], done: Callable[..., Any], full_run: Path
) -> None:
    """A contact sheet would be read as one photograph."""
    for seed in (1, 2):
        done("sample", "--run", full_run, "--covariance", "small", "--steps", 2, "--count", 2, "--seed", seed)
    sets = sorted(path for path in (full_run / "samples").iterdir() if path.is_dir())
    told = refused(3, "inspect", full_run / "samples")
    assert told.startswith(f"{full_run / 'samples'} holds 2 set(s) of samples ({sets[0].name}, {sets[1].name}); look")
    assert told.endswith(f"diffcov inspect {sets[0]}")
