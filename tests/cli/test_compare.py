"""``compare``: every cell, the same numbers as ``evaluate``, files that a second call does not touch, going on."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from conftest import FEW_KNOTS, listing, strict_json
from diffcov.covariance import registry
from diffcov.diffusion.grids import GRIDS
from diffcov.present.report.headline import headline
from diffcov.solver.registry import SOLVERS
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean
from diffcov.store.parts import PartsFolder
from diffcov.store.run import RunFolder
from diffcov.study import bench
from oracles.offered import OF_ANY_MEAN

Json = dict[str, Any]
SMALL = ("--samplers", "none", "--steps", "2,5", "--count", 70, "--features", "pixels", "--images", 20)
"""Two numbers of steps, samples in 64 dimensions."""

TWO = ("--samplers", "none", "--covariance", "small,npr", "--count", 70, "--features", "pixels", "--images", 6)
"""Two covariances, for the tests of how parts are kept."""

CELLS = 2 * (2 * len(OF_ANY_MEAN) - 1)
"""Of two numbers of steps and both solvers; large has none for ddim."""

DISTANCES = ("fid", "kid", "precision", "recall")


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that also holds reference statistics. Tests write to other folders."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("compare") / "run")


@pytest.fixture(scope="module")
def compared(cli: Any, run: Path) -> tuple[Json, str]:
    """What the whole comparison printed, and said."""
    result = cli("compare", "--run", run, *SMALL, "--json")
    assert result.exit_code == 0, result.stderr
    return strict_json(result.stdout), result.stderr


@pytest.fixture(scope="module")
def pair(done: Callable[..., Json], run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """A comparison of two covariances along 2 and 3 steps, uninterrupted. Read only."""
    out = tmp_path_factory.mktemp("pair") / "out"
    return out, done("compare", "--run", run, *TWO, "--steps", "2,3", "--out", out)


@pytest.fixture
def kept(pair: tuple[Path, Json], tmp_path: Path) -> Path:
    """A copy of that folder, to change."""
    return shutil.copytree(pair[0], tmp_path / "out")


def measured(cell: Json) -> Json:
    """A cell without how it stands beside others."""
    return {key: value for key, value in cell.items() if not key.startswith("fid_difference")}


def cell_of(found: Json, name: str, solver: str, steps: int) -> Json:
    (cell,) = [
        cell for cell in found["cells"] if (cell["covariance"], cell["solver"], cell["steps"]) == (name, solver, steps)
    ]
    return dict(cell)


def timeless(found: Json) -> Json:
    """All numbers but those of clocks and places."""
    cells = [{key: value for key, value in cell.items() if key != "seconds"} for cell in found["cells"]]
    return {**{key: found[key] for key in ("settings", "real", "calibration", "exposure", "steps")}, "cells": cells}


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """When each part was written, and into which file."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (out / "parts").iterdir()}


# --- what it makes


def test_every_cell_that_has_a_meaning(compared: tuple[Json, str]) -> None:
    found = compared[0]
    cells = {(cell["covariance"], cell["solver"], cell["steps"]) for cell in found["cells"]}
    assert len(cells) == len(found["cells"])
    everything = {(name, solver, K) for name in OF_ANY_MEAN for solver in ("ddpm", "ddim") for K in (2, 5)}
    assert cells == everything - {("large", "ddim", 2), ("large", "ddim", 5)}
    assert (found["kind"], list(found["solvers"]), found["steps"]) == ("compare", ["ddpm", "ddim"], [2, 5])
    assert list(found["covariances"]) == list(OF_ANY_MEAN)
    for cell in found["cells"]:
        assert cell["times"] == ([1, 50] if cell["steps"] == 2 else [1, 13, 26, 38, 50])
        assert all(cell[key] is not None for key in (*DISTANCES, "seconds"))
        assert (cell["bits_per_dim"] is None) == (cell["solver"] == "ddim"), "the bound is that of ddpm"


def test_what_was_measured_is_recorded(compared: tuple[Json, str], run: Path) -> None:
    found = compared[0]
    assert found["mean"]["digest"] == load_mean(run / "mean.safetensors").digest
    settings = found["settings"]
    assert (settings["seed"], settings["count"], settings["images"], settings["split"]) == (0, 70, 20, "test")
    assert (settings["features"], settings["dims"]) == ("pixels", 64)
    reference = dict(settings["reference"])
    assert len(reference.pop("digest")) == 64, "of the statistics, so that other ones measure again"
    assert reference == {"count": 1500, "split": "train", "source": "digits"}
    assert found["real"] is None, "20 images are too few for 64 dimensions"
    assert (settings["grid"], settings["network_calls_a_look"]) == ("even", 1)
    assert settings["view"] == {"clip_x0": True, "eps_scale": 1.0, "guidance": 1.0}
    for name, solver in found["solvers"].items():
        assert solver.keys() == {"summary", "reference", "order", "stochastic", "why_no_bound"}
        assert (solver["why_no_bound"] is None) == solver["stochastic"] == (name == "ddpm")
    for name, one in found["covariances"].items():
        made_of = {path.name: artifact.read_header(path)["digest"] for path in RunFolder(run).needed_by(name)}
        assert (one["made_of"], one["measured_at_this_guidance"]) == (made_of, True)
        assert all(one[key] == getattr(registry.load(name), key) for key in ("summary", "formula", "reference"))


def test_files(compared: tuple[Json, str], run: Path) -> None:
    found, out = compared[0], run / "compare"
    paths = {key: found[key] for key in ("json", "csv", "curves", "report", "samples_ddpm", "samples_ddim")}
    names = ["compare.json", "compare.csv", "curves.png", "report.html", "samples-ddpm.png", "samples-ddim.png"]
    assert paths == dict(zip(paths, (str(out / name) for name in names), strict=True))
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "parts"])
    written = strict_json((out / "compare.json").read_text())
    assert written == {key: value for key, value in found.items() if key not in paths}
    report = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in report for name in OF_ANY_MEAN)
    for name in ("curves", "samples-ddpm", "samples-ddim"):
        with Image.open(out / f"{name}.png") as picture:
            picture.load()
            assert picture.width > 100
    with Image.open(out / "samples-ddpm.png") as ddpm, Image.open(out / "samples-ddim.png") as ddim:
        assert ddim.height < ddpm.height, "no row for large"


def test_csv_is_a_row_a_cell(compared: tuple[Json, str], run: Path) -> None:
    found = compared[0]
    with (run / "compare" / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["cells"]) == CELLS
    for row, cell in zip(rows, found["cells"], strict=True):
        assert row.keys() == cell.keys() - {"times"}
        for key, text in row.items():
            value = cell[key]
            assert text == ("" if value is None else str(value)), key


def test_stdout_is_the_report_and_stderr_the_tables(
    cli: Any, compared: tuple[Json, str], pair: tuple[Path, Json], kept: Path, run: Path
) -> None:
    assert "bits/dim of 20 test images, ddpm" in compared[1]
    assert "fid@70 pixels, ddim" in compared[1]
    result = cli("compare", "--run", run, *TWO, "--steps", "3,2,2", "--out", kept)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{kept / 'report.html'}\n"


def test_bounds_and_distances_are_those_of_evaluate(
    done: Callable[..., Json], compared: tuple[Json, str], run: Path
) -> None:
    found = compared[0]
    words = ["--covariance", "all", "--steps", 5, "--images", 20, "--features", "pixels", "--count", 70]
    alone = done("evaluate", "--run", run, "--metrics", "nll,distances,exposure", *words)
    best = lowest(alone["nll"])
    for name in OF_ANY_MEAN:
        cell, bound = cell_of(found, name, "ddpm", 5), alone["nll"][name]
        assert cell["bits_per_dim"] == pytest.approx(bound["bits_per_dim"], rel=1e-6)
        assert cell["bits_per_dim_stderr"] == pytest.approx(bound["stderr"], rel=1e-6)
        for key in ("prior", "transitions", "decoder", "floor_share"):
            assert cell[key] == pytest.approx(bound[key], rel=1e-6)
        for key in DISTANCES:
            assert cell[key] == pytest.approx(alone["distances"]["covariances"][name][key], rel=1e-6)
        difference = bound["bits_per_dim"] - alone["nll"][best]["bits_per_dim"]
        for one in (cell, bound):
            assert one["difference_to"] == best
            assert one["difference"] == (None if name == best else pytest.approx(difference, rel=1e-6))
            assert (one["difference_stderr"] is None) == (name == best)
    (exposure,) = [one for one in found["exposure"] if (one["solver"], one["steps"]) == ("ddpm", 5)]
    assert exposure["forward"] == pytest.approx(alone["exposure"]["forward"], rel=1e-6)
    for name, norms in alone["exposure"]["sampled"].items():
        assert exposure["sampled"][name] == pytest.approx(norms, rel=1e-6)


def lowest(bounds: dict[str, Any]) -> str:
    """The name of the lowest bound."""
    return min(bounds, key=lambda name: bounds[name]["bits_per_dim"])


def test_differences_are_paired(compared: tuple[Json, str], run: Path) -> None:
    """All covariances see the same noise, so the error of a difference is that of the differences image by image."""
    per_bit = 64 * math.log(2)

    def nats(name: str) -> Tensor:
        path = run / "compare" / "parts" / f"likelihood-{name}-even5.safetensors"
        return artifact.read(path, "comparison-part").tensors["nats"]

    cells = {name: cell_of(compared[0], name, "ddpm", 5) for name in OF_ANY_MEAN}
    best = lowest(cells)
    for name, cell in cells.items():
        assert cell["difference_to"] == best
        difference = (nats(name) - nats(best)) / per_bit
        assert difference.shape == (20,)
        if name == best:
            assert cell["difference"] is cell["difference_stderr"] is None
            continue
        assert cell["difference"] > 0
        assert cell["difference"] == pytest.approx(float(difference.mean()), rel=1e-9)
        assert cell["difference_stderr"] == pytest.approx(float(difference.std()) / math.sqrt(20), rel=1e-9)


def test_distances_are_ranked_by_paired_differences(compared: tuple[Json, str], run: Path) -> None:
    """By the influences that the parts hold; in each group the level ones are those within two errors of the lowest."""
    found = compared[0]
    for solver, K in (("ddpm", 2), ("ddim", 5)):
        cells = [cell for cell in found["cells"] if (cell["solver"], cell["steps"]) == (solver, K)]
        influence = {
            cell["covariance"]: artifact.read(
                run / "compare" / "parts" / f"{cell['covariance']}-{solver}-even{K}-seed0.safetensors",
                "comparison-part",
            ).tensors["influence"]
            for cell in cells
        }
        best = min(cells, key=lambda cell: cell["fid"])
        (ranking,) = [
            one for one in found["ranking"] if (one["of"], one["solver"], one["steps"]) == ("covariances", solver, K)
        ]
        assert (ranking["lowest"], ranking["fid"]) == (best["covariance"], best["fid"])
        level = []
        for cell in cells:
            name = cell["covariance"]
            assert cell["fid_stderr"] == pytest.approx(float(influence[name].std()) / math.sqrt(70), rel=1e-9)
            assert cell["fid_difference_to"] == best["covariance"]
            if cell is best:
                assert cell["fid_difference"] is cell["fid_difference_stderr"] is None
                level.append(name)
                continue
            error = float((influence[name] - influence[best["covariance"]]).std()) / math.sqrt(70)
            assert cell["fid_difference"] == cell["fid"] - best["fid"]
            assert cell["fid_difference_stderr"] == pytest.approx(error, rel=1e-9)
            assert ranking["above"][name] == {
                "difference": cell["fid_difference"],
                "stderr": pytest.approx(error, rel=1e-9),
            }
            level += [name] if cell["fid_difference"] <= 2 * error else []
        assert sorted(ranking["level"]) == sorted(level)
    everything = [one for one in found["ranking"] if one["of"] == "all"]
    assert [one["steps"] for one in everything] == [2, 5]
    for one in everything:
        assert one["fid"] == min(cell["fid"] for cell in found["cells"] if cell["steps"] == one["steps"])


def test_the_last_word_is_who_won(compared: tuple[Json, str]) -> None:
    """And it is that of the report."""
    found, said = compared
    last = said.strip().splitlines()[-1]
    assert last == headline(found)
    assert last.startswith("At 5 steps ")
    assert f"<h1>{last}</h1>" in Path(found["report"]).read_text(encoding="utf-8")


def test_real_images_are_shown_above_the_samples(compared: tuple[Json, str]) -> None:
    page = Path(compared[0]["report"]).read_text(encoding="utf-8")
    assert page.count('alt="real images, beside') == 2 * 2, "for each solver and number of steps"


def test_calibration_is_that_of_evaluate(done: Callable[..., Json], compared: tuple[Json, str], run: Path) -> None:
    found = compared[0]["calibration"]
    assert len(found["times"]) == 20
    assert (found["times"][0], found["times"][-1]) == (1, 50)
    alone = done(
        "evaluate", "--run", run, "--metrics", "calibration", "--covariance", "all", "--steps", 20, "--images", 20
    )["calibration"]
    assert (found["times"], found["bands"]) == (alone["times"], alone["bands"])
    assert found["covariances"]["small"] == alone["covariances"]["small"]
    for name, one in found["covariances"].items():
        if name != "small":
            assert one["rms_log"] == pytest.approx(alone["covariances"][name]["rms_log"], rel=1e-6)


def test_real_images_are_the_floor(
    done: Callable[..., Json], pair: tuple[Path, Json], run: Path, tmp_path: Path
) -> None:
    words = ["--covariance", "small", "--steps", 2, "--count", 70, "--features", "pixels", "--images", 100]
    found = done("compare", "--run", run, *words, "--solver", "ddpm", "--samplers", "none", "--out", tmp_path / "out")
    assert (found["real"]["count"], found["real"]["split"]) == (70, "test")
    assert 0 < found["real"]["fid"] < found["cells"][0]["fid"]


# --- going on


def test_again_rewrites_no_part(done: Callable[..., Json], compared: tuple[Json, str], run: Path) -> None:
    before = stamps(run / "compare")
    count = len(OF_ANY_MEAN)
    assert len(before) == 2 * (count + 1) + count + CELLS, "likelihoods and norms, calibrations, cells"
    again = done("compare", "--run", run, *SMALL)
    assert stamps(run / "compare") == before
    assert again["cells"] == compared[0]["cells"]
    assert timeless(again) == timeless(compared[0])


@pytest.mark.parametrize("name", ["likelihood-npr-even2", "forward-even2", "calibration-npr", "npr-ddpm-even3-seed0"])
def test_only_what_is_gone_is_measured_again(
    done: Callable[..., Json], run: Path, pair: tuple[Path, Json], kept: Path, name: str
) -> None:
    before = stamps(kept)
    (kept / "parts" / f"{name}.safetensors").unlink()
    again = done("compare", "--run", run, *TWO, "--steps", "2,3", "--out", kept)
    changed = {part for part, stamp in stamps(kept).items() if before[part] != stamp}
    assert changed == {f"{name}.safetensors"}
    assert timeless(again) == timeless(pair[1])


def test_interrupted_and_finished_is_uninterrupted(
    cli: Any, done: Callable[..., Json], run: Path, pair: tuple[Path, Json], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ctrl-C in the third cell: what was complete stays, and nothing else."""
    out, drawn, whole = tmp_path / "out", [], bench.draw

    def draw_two(*args: Any, **settings: Any) -> Any:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(1)
        return whole(*args, **settings)

    words = ["compare", "--run", run, *TWO, "--steps", "2,3", "--out", out]
    monkeypatch.setattr(bench, "draw", draw_two)
    stopped = cli(*words)
    assert stopped.exit_code == 130
    assert "interrupted" in stopped.stderr
    names = ("likelihood-small-even2", "likelihood-npr-even2", "forward-even2", "small-ddpm-even2-seed0",
             "npr-ddpm-even2-seed0")  # fmt: skip
    complete = {f"{name}.safetensors" for name in names}
    assert set(listing(out)) == {f"parts/{name}" for name in complete}
    monkeypatch.undo()
    before = stamps(out)
    assert timeless(done(*words)) == timeless(pair[1])
    assert {name: stamps(out)[name] for name in complete} == before
    assert {path.name for path in (out / "parts").iterdir()} == {path.name for path in (pair[0] / "parts").iterdir()}
    for path in (out / "parts").iterdir():
        mine, other = (artifact.read(folder / "parts" / path.name, "comparison-part") for folder in (out, pair[0]))
        assert mine.digest == other.digest, path.name
        assert mine.metadata["identity"] == other.metadata["identity"]


def test_another_number_of_steps_adds_cells(
    done: Callable[..., Json], run: Path, pair: tuple[Path, Json], kept: Path
) -> None:
    before = stamps(kept)
    found = done("compare", "--run", run, *TWO, "--steps", "2,4", "--out", kept)
    after = stamps(kept)
    assert {name: after[name] for name in before} == before
    cells = {f"{name}-{solver}-even4-seed0" for name in ("small", "npr") for solver in ("ddpm", "ddim")}
    bounds = {"likelihood-small-even4", "likelihood-npr-even4", "forward-even4"}
    assert {name.removesuffix(".safetensors") for name in after.keys() - before.keys()} == cells | bounds
    assert found["steps"] == [2, 4]
    assert cell_of(found, "npr", "ddim", 2) == cell_of(pair[1], "npr", "ddim", 2)


def test_another_choice_of_covariances_adds_its_own(
    done: Callable[..., Json], run: Path, pair: tuple[Path, Json], kept: Path
) -> None:
    """Measured on the same noise as if they had been together, so what was there stays and is the same."""
    before = stamps(kept)
    words = ["compare", "--run", run, *TWO, "--steps", "2,3", "--out", kept, "--covariance"]
    more = done(*words, "small,npr,corrected")
    after = stamps(kept)
    assert {name: after[name] for name in before} == before
    added = {name.removesuffix(".safetensors") for name in after.keys() - before.keys()}
    cells = {f"corrected-{solver}-even{K}-seed0" for solver in ("ddpm", "ddim") for K in (2, 3)}
    assert added == cells | {"likelihood-corrected-even2", "likelihood-corrected-even3", "calibration-corrected"}
    for name in ("small", "npr"):
        for solver, K in (("ddpm", 2), ("ddim", 3)):
            found, before = (measured(cell_of(one, name, solver, K)) for one in (more, pair[1]))
            assert found == before
        assert more["calibration"]["covariances"][name] == pair[1]["calibration"]["covariances"][name]
    alone = done(*words, "corrected")
    assert stamps(kept) == after
    keys = ("bits_per_dim", *DISTANCES)
    for K in (2, 3):
        one, other = (cell_of(found, "corrected", "ddpm", K) for found in (alone, more))
        assert [one[key] for key in keys] == [other[key] for key in keys]


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--seed", "1"], "another seed (0 -> 1)"),
        (["--no-clip-x0"], "another clip_x0 (True -> False)"),
        (["--images", "7"], "another count of the images (6 -> 7)"),
        (["--split", "train"], "another split of the images (test -> train)"),
        (["--count", "71"], "another count (70 -> 71)"),
        (["--precision", "bf16"], "another precision (fp32 -> bf16)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_settings_are_refused_by_name(
    refused: Callable[..., str], run: Path, kept: Path, options: list[str], difference: str
) -> None:
    message = refused(1, "compare", "--run", run, *TWO, "--steps", "2,3", "--out", kept, *options)
    assert difference in message
    assert "--force" in message
    assert "--out" in message


def test_another_table_is_another_comparison(cli: Any, refused: Callable[..., str], full_run: Path) -> None:
    words = ["compare", "--run", full_run, "--covariance", "corrected", "--steps", "2", "--images", 4]
    words += ["--features", "pixels", "--count", 70, "--solver", "ddpm", "--samplers", "none"]
    assert cli(*words).exit_code == 0
    again = ["--samples", 2, *FEW_KNOTS, "--seed", 5, "--force"]
    assert cli("estimate-var", "--run", full_run, *again).exit_code == 0
    assert "was measured with another fit of the covariance" in refused(1, *words)
    before = stamps(full_run / "compare")
    assert cli(*words, "--force").exit_code == 0
    after = stamps(full_run / "compare")
    of_the_table = {"likelihood-corrected-even2", "calibration-corrected", "corrected-ddpm-even2-seed0"}
    assert before.keys() == after.keys() == {f"{name}.safetensors" for name in of_the_table | {"forward-even2"}}
    changed = {name.removesuffix(".safetensors") for name in before if after[name] != before[name]}
    assert changed == of_the_table, "not a cell of the earlier table is kept; the mean's own norms are"


def test_force_replaces_parts_of_other_settings(
    done: Callable[..., Json], run: Path, pair: tuple[Path, Json], kept: Path, tmp_path: Path
) -> None:
    words = ["compare", "--run", run, *TWO, "--steps", "2", "--seed", 1]
    forced = done(*words, "--out", kept, "--force")
    assert timeless(forced) == timeless(done(*words, "--out", tmp_path / "fresh"))
    assert forced["settings"]["seed"] == 1
    assert cell_of(forced, "npr", "ddpm", 2) != cell_of(pair[1], "npr", "ddpm", 2)


def test_force_measures_nothing_again_that_fits(done: Callable[..., Json], run: Path, kept: Path) -> None:
    before = stamps(kept)
    done("compare", "--run", run, *TWO, "--steps", "2,3", "--out", kept, "--force")
    assert stamps(kept) == before


# --- parts of it


def test_no_samples_leave_the_likelihood(
    done: Callable[..., Json], run: Path, pair: tuple[Path, Json], tmp_path: Path
) -> None:
    words = ["--covariance", "small,npr", "--steps", "2,3", "--images", 6, "--count", 0]
    found = done("compare", "--run", run, *words, "--out", tmp_path / "out")
    assert (found["real"], found["exposure"], found["settings"]["features"]) == (None, [], None)
    for cell in found["cells"]:
        assert all(cell[key] is None for key in (*DISTANCES, "seconds"))
        if cell["solver"] == "ddpm":
            there = cell_of(pair[1], cell["covariance"], "ddpm", cell["steps"])
            assert cell["bits_per_dim"] == there["bits_per_dim"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"compare.json", "compare.csv", "report.html"} <= names
    assert not any(name.startswith("samples") for name in names)


def test_no_cell_at_all(refused: Callable[..., str], run: Path, tmp_path: Path) -> None:
    """large has no meaning for ddim."""
    words = ["--covariance", "large", "--solver", "ddim", "--steps", "2", "--images", 4, "--count", 70]
    refused(2, "compare", "--run", run, *words, "--features", "pixels", "--out", tmp_path / "out")


def test_some_covariances_and_one_solver(pair: tuple[Path, Json], run: Path) -> None:
    found = pair[1]
    assert list(found["covariances"]) == ["small", "npr"]
    assert {cell["covariance"] for cell in found["cells"]} == {"small", "npr"}
    assert len(found["cells"]) == 8


def test_a_run_without_heads_compares_what_it_can(cli: Any, mean_run: Path) -> None:
    words = ["compare", "--run", mean_run, "--steps", "2", "--solver", "ddpm", "--images", 4, "--count", 70]
    result = cli(*words, "--features", "pixels", "--samplers", "none", "--json")
    assert result.exit_code == 0, result.stderr
    assert [cell["covariance"] for cell in strict_json(result.stdout)["cells"]] == ["small", "large"]
    for name in OF_ANY_MEAN:
        lacking = [kind.command_for(name) for kind in registry.load(name).needs]
        if lacking:
            command, _, options = lacking[0].removeprefix("diffcov ").partition(" ")
            with_run = " ".join(["diffcov", command, "--run", str(mean_run), *options.split()])
            assert f"without {name}: run {with_run} first" in result.stderr
    for words in ("diffcov fit-var-head --run {} --kind npr", "diffcov estimate-var --run {}"):
        assert f"run {words.format(mean_run)} first" in result.stderr


# --- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--solver", "ode"],
            f"--solver takes {', '.join(SOLVERS)} with commas between; found 'ode'",
        ),
        (["--solver", "ddpm,"], "found ''"),
        (["--steps", "2,x"], "--steps takes whole numbers with commas between, such as 5,10,25; found 'x'"),
        (["--steps", ""], "--steps takes whole numbers"),
        (["--steps", "2,51"], "steps must be between 1 and T=50 (got 51)"),
        (["--steps", "0"], "steps must be between 1 and T=50 (got 0)"),
        (
            ["--grid", "optimal"],
            f"--grid takes {', '.join(GRIDS)} here; found 'optimal'",
        ),
        (["--covariance", "small,best"], "unknown covariance 'best'"),
        (["--features", "pixels", "--count", "63"], "in 64 dimensions needs"),
        (["--features", "cubes"], "choose auto, pixels, spectrum, classifier, inception"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_cannot_be(refused: Callable[..., str], mean_run: Path, options: list[str], words: str) -> None:
    assert words in refused(2, "compare", "--run", mean_run, *options)


@pytest.mark.parametrize("options", [["--count", "-1"], ["--images", "0"], ["--split", "all"]], ids=" ".join)
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("compare", "--run", mean_run, *options)


def test_what_is_missing(refused: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    message = refused(3, "compare", "--run", tmp_path / "absent")
    assert f"diffcov train-mean --run {tmp_path / 'absent'}" in message
    message = refused(3, "compare", "--run", mean_run, "--covariance", "npr", "--steps", "2")
    assert f"diffcov fit-var-head --run {mean_run} --kind npr" in message


def test_a_damaged_part(refused: Callable[..., str], run: Path, kept: Path) -> None:
    part = kept / "parts" / "small-ddpm-even2-seed0.safetensors"
    part.write_bytes(part.read_bytes()[:100])
    message = refused(3, "compare", "--run", run, *TWO, "--steps", "2,3", "--out", kept)
    assert str(part) in message


@pytest.mark.parametrize("size", [300, 8000])
def test_full_disk(cli: Any, full_disk: Any, run: Path, pair: tuple[Path, Json], tmp_path: Path, size: int) -> None:
    """At 300 bytes no part fits; at 8000 the parts do and a result does not."""
    with full_disk(size):
        result = cli("compare", "--run", run, *TWO, "--steps", "2,3", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "could not write" in result.stderr
    left = listing(tmp_path / "out")
    names = {path.name for path in (pair[0]).rglob("*") if path.is_file()}
    assert {Path(name).name for name in left} <= names, "nothing under a temporary name"
    assert "report.html" not in left
    if size == 300:
        assert left == {}
    for name in left:
        if name.endswith(".json"):
            json.loads((tmp_path / "out" / name).read_text())
        if name.startswith("parts/"):
            part = Path(name).stem
            folder = PartsFolder(tmp_path / "out", force=True)
            assert folder.part(part, {}) is None, "readable, of another identity"
