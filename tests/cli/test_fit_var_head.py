"""``fit-var-head``: heads, resuming, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import ALL_KINDS, FEW_KNOTS, TINY
from diffcov.covariance import registry
from diffcov.engines.training import early_stopping
from diffcov.engines.training.early_stopping import PATIENCE
from diffcov.engines.training.presets import HEAD_ARCHITECTURE
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import load_mean
from diffcov.store.head import load_head
from diffcov.store.state import load_state, read_progress, save_state
from diffcov.store.statistics import load_statistic

FAST = ("--batch-size", "8")
KINDS = registry.heads()
PER_PIXEL = tuple(word for kind in KINDS if kind != "banded" for word in ("--kind", kind))
"""Heads that know both losses."""


@pytest.fixture(scope="session")
def measured(trained: Path, tmp_path_factory: pytest.TempPathFactory, done: Callable[..., Any]) -> Path:
    """A run with mean, table and spectrum, and no head yet. Read only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("measured") / "run")
    done("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS)
    return run


@pytest.fixture
def measured_run(measured: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(measured, tmp_path / "run")


def table_of(run: Path) -> VarianceTable:
    return load_statistic(run / "variance.safetensors", VarianceTable).statistic


def spectrum_digest(run: Path) -> str:
    return load_statistic(run / "spectrum.safetensors", Spectrum).digest


def heads_in(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of the heads of a run, by kind."""
    found = {kind: run / f"head-{kind}.safetensors" for kind in KINDS}
    return {kind: load_file(path) for kind, path in found.items() if path.is_file()}


def same(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_json_and_files(done: Callable[..., Any], measured_run: Path) -> None:
    before = (measured_run / "mean.safetensors").read_bytes()
    found = done("fit-var-head", "--run", measured_run, *FAST, *ALL_KINDS, "--iterations", 3)
    assert found["heads"] == {kind: str(measured_run / f"head-{kind}.safetensors") for kind in KINDS}
    assert found["iterations"] == 3
    trunk, spectrum = load_mean(measured_run / "mean.safetensors").trunk, spectrum_digest(measured_run)
    for kind, path in found["heads"].items():
        head = load_head(Path(path), trunk)
        assert (head.spec.kind, head.training["iterations"]) == (kind, 3)
        assert head.training["settings"] == found["settings"]
        assert head.training["loss"] == "likelihood"
        assert head.spec.link == "log"
        assert head.training["relative_to"] == ({"spectrum.safetensors": spectrum} if kind == "banded" else {})
    assert (measured_run / "state" / "heads.safetensors").is_file()
    assert (measured_run / "mean.safetensors").read_bytes() == before


def test_stdout_is_the_paths(cli: Any, mean_run: Path) -> None:
    """sn starts from 1 and needs no table."""
    result = cli("fit-var-head", "--run", mean_run, *FAST, "--iterations", 1, "--kind", "sn")
    assert result.exit_code == 0
    assert result.stdout == f"{mean_run / 'head-sn.safetensors'}\n"
    assert not (mean_run / "head-npr.safetensors").exists()
    assert result.stderr.endswith(f"next: diffcov sample --run {mean_run} --steps 50\n")


def test_unasked_are_the_kinds_that_the_help_names(cli: Any, done: Callable[..., Any], measured_run: Path) -> None:
    """Not ocm, whose curvature makes a step cost twice as much."""
    help_text = " ".join(cli("fit-var-head", "--help", env={"COLUMNS": "200"}).stdout.replace("│", " ").split())
    found = done("fit-var-head", "--run", measured_run, *FAST, "--iterations", 1)
    assert f"[default: {', '.join(found['heads'])}]" in help_text
    assert list(found["heads"]) == found["settings"]["kind"] == ["npr", "sn", "banded"]


def test_the_help_names_the_defaults_that_hold(cli: Any) -> None:
    help_text = " ".join(cli("fit-var-head", "--help", env={"COLUMNS": "250"}).stdout.replace("│", " ").split())
    assert f"0 holds no images out. [default: {PATIENCE}]" in help_text
    assert f"offer no features (stem). [default: {HEAD_ARCHITECTURE}]" in help_text


# --- losses and starts


def test_a_start_that_has_not_been_measured(refused: Callable[..., str], mean_run: Path) -> None:
    """npr and ocm start from the table, banded from the spectrum; the command that makes either is named."""
    remedy = f"and none was found; run: diffcov estimate-var --run {mean_run}"
    for kind, lacks in {"npr": "a variance table", "ocm": "a variance table", "banded": "a spectrum"}.items():
        message = refused(3, "fit-var-head", "--run", mean_run, "--kind", kind, *FAST, "--iterations", 1)
        assert message == f"a {kind} head fitted by likelihood starts from {lacks} {remedy}"
    assert "starts from" in refused(3, "fit-var-head", "--run", mean_run, *FAST, "--iterations", 1)


def test_a_table_without_a_spectrum(refused: Callable[..., str], cli: Any, mean_run: Path) -> None:
    assert cli("estimate-var", "--run", mean_run, "--samples", 2, "--knot-samples", 0).exit_code == 0
    message = refused(3, "fit-var-head", "--run", mean_run, "--kind", "banded", *FAST, "--iterations", 1)
    assert "a banded head fitted by likelihood starts from a spectrum and none was found" in message
    assert cli("fit-var-head", "--run", mean_run, "--kind", "npr", *FAST, "--iterations", 1).exit_code == 0


def test_unasked_kinds_without_a_start_are_left_out_aloud(cli: Any, done: Callable[..., Any], mean_run: Path) -> None:
    """Who measured no spectrum gets the heads that need none; who asks for one by name is refused."""
    done("estimate-var", "--run", mean_run, "--samples", 2, "--knot-samples", 0)
    result = cli("fit-var-head", "--run", mean_run, "--iterations", 1, *FAST)
    assert result.exit_code == 0, result.stderr
    unasked = [kind for kind in registry.unasked_heads() if kind != "banded"]
    assert result.stdout.splitlines() == [str(mean_run / f"head-{kind}.safetensors") for kind in unasked]
    assert f"without banded: run diffcov estimate-var --run {mean_run} first" in result.stderr


def test_a_start_of_another_guidance_is_warned_of(cli: Any, done: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    done("train-mean", "--run", run, *TINY, "--iterations", 1, "--classes", "--label-dropout", 0.2)
    done("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS)
    words = ("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 1, *FAST, "--force")
    warning = "starts from what was measured at another; measure it with: diffcov estimate-var "
    warning += f"--run {run} --guidance 2 --force"
    assert f"the npr head is fitted at guidance 2 and {warning}" in cli(*words, "--guidance", 2).stderr
    assert "warning" not in cli(*words).stderr


def test_the_published_form_needs_neither(done: Callable[..., Any], mean_run: Path) -> None:
    """Squared error from zero (for ocm: from 1, because our head is 1 plus the published one), moved by addition."""
    found = done("fit-var-head", "--run", mean_run, *FAST, *PER_PIXEL, "--loss", "squared", "--iterations", 2)
    assert found["settings"]["loss"] == "squared"
    for kind, path in found["heads"].items():
        head = load_head(Path(path))
        assert (head.training["loss"], head.spec.link) == ("squared", "identity")
        assert torch.equal(head.head.start, torch.full((51,), 1.0 if kind == "ocm" else 0.0))


def test_heads_by_likelihood_start_from_what_was_measured(cli: Any, measured_run: Path) -> None:
    """The table's own numbers, at every time, are in the file."""
    table = table_of(measured_run)
    assert cli("fit-var-head", "--run", measured_run, *FAST, *ALL_KINDS, "--iterations", 1).exit_code == 0
    error = table.error_moments.mean()[1:].float()
    starts = {kind: weights["start"] for kind, weights in heads_in(measured_run).items()}
    for kind in ("npr", "ocm"):
        torch.testing.assert_close(starts[kind][1:], error, rtol=1e-6, atol=0.0)
    for kind in ("sn", "banded"):
        assert torch.equal(starts[kind], torch.ones(51))


def test_a_table_of_some_times_is_enough(cli: Any, mean_run: Path) -> None:
    """Between them the start is interpolated."""
    assert cli("estimate-var", "--run", mean_run, "--samples", 2, "--steps", 5, "--knot-samples", 0).exit_code == 0
    table = table_of(mean_run)
    assert cli("fit-var-head", "--run", mean_run, *FAST, "--kind", "npr", "--iterations", 1).exit_code == 0
    start, error = heads_in(mean_run)["npr"]["start"], table.error_moments.mean().float()
    assert len(table.times) == 5
    torch.testing.assert_close(start[table.times], error[table.times], rtol=1e-6, atol=0.0)
    for before, after in pairwise(table.times):
        low, high = sorted((start[before], start[after]))
        assert bool(((start[before:after] >= low * (1 - 1e-6)) & (start[before:after] <= high * (1 + 1e-6))).all())


def test_losses_do_not_end_in_the_same_place(cli: Any, measured_run: Path, tmp_path: Path) -> None:
    """Or one of the two would not be what it says."""
    other = shutil.copytree(measured_run, tmp_path / "other")
    for run, loss in ((measured_run, "squared"), (other, "likelihood")):
        assert cli("fit-var-head", "--run", run, *FAST, *PER_PIXEL, "--loss", loss, "--iterations", 2).exit_code == 0
    mine, theirs = heads_in(measured_run), heads_in(other)
    for kind, weights in mine.items():
        assert not torch.equal(weights["network.out.2.weight"], theirs[kind]["network.out.2.weight"]), kind


def test_likelihood_is_what_is_done_unasked(cli: Any, measured_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(measured_run, tmp_path / "other")
    assert cli("fit-var-head", "--run", measured_run, *FAST, *PER_PIXEL, "--iterations", 2).exit_code == 0
    words = [*FAST, *PER_PIXEL, "--iterations", 2, "--loss", "likelihood"]
    assert cli("fit-var-head", "--run", other, *words).exit_code == 0
    assert all(same(heads_in(other)[kind], weights) for kind, weights in heads_in(measured_run).items())


def test_which_network(done: Callable[..., Any], measured_run: Path) -> None:
    """--head is for the heads per pixel; banded has one of its own."""
    found = done("fit-var-head", "--run", measured_run, *FAST, *ALL_KINDS, "--head", "simple", "--iterations", 1)
    networks = {kind: load_head(Path(path)).spec.network for kind, path in found["heads"].items()}
    assert networks == {"npr": "simple", "sn": "simple", "ocm": "simple", "banded": "bands"}


# --- together, resumed, averaged


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fitted_alone_is_the_one_fitted_in_company(
    cli: Any, measured_run: Path, tmp_path: Path, kind: str
) -> None:
    """Heads share trunk calls, and neither initial weights nor gradients nor the norm these are clipped to."""
    other = shutil.copytree(measured_run, tmp_path / "other")
    options = [*FAST, "--iterations", 3, "--clip-norm", 0.01]
    assert cli("fit-var-head", "--run", measured_run, *options, "--kind", kind).exit_code == 0
    assert cli("fit-var-head", "--run", other, *options, *ALL_KINDS).exit_code == 0
    assert same(heads_in(measured_run)[kind], heads_in(other)[kind])


@pytest.mark.parametrize("loss", ["likelihood", "squared"])
def test_resumed_equals_uninterrupted(cli: Any, measured_run: Path, tmp_path: Path, loss: str) -> None:
    """Also where the table has been measured anew since: heads that have begun keep the start they began with."""
    whole = shutil.copytree(measured_run, tmp_path / "whole")
    words = [*FAST, "--loss", loss, *(PER_PIXEL if loss == "squared" else ALL_KINDS)]
    assert cli("fit-var-head", "--run", whole, *words, "--iterations", 6).exit_code == 0
    assert cli("fit-var-head", "--run", measured_run, *words, "--iterations", 2).exit_code == 0
    again = shutil.copytree(measured_run, tmp_path / "again")
    result = cli("fit-var-head", "--run", measured_run, "--resume", "--iterations", 6)
    assert result.exit_code == 0, result.stderr
    for kind, weights in heads_in(measured_run).items():
        assert same(heads_in(whole)[kind], weights)
        assert load_head(measured_run / f"head-{kind}.safetensors").training["loss"] == loss
    spectrum = (again / "spectrum.safetensors").read_bytes()
    assert cli("estimate-var", "--run", again, "--samples", 3, *FEW_KNOTS, "--force", "--seed", 3).exit_code == 0
    (again / "spectrum.safetensors").write_bytes(spectrum)
    assert cli("fit-var-head", "--run", again, "--resume", "--iterations", 6).exit_code == 0
    assert all(same(heads_in(whole)[kind], weights) for kind, weights in heads_in(again).items())


def test_the_saved_weights_are_the_averaged_ones(cli: Any, measured_run: Path) -> None:
    assert cli("fit-var-head", "--run", measured_run, *FAST, *ALL_KINDS, "--iterations", 3).exit_code == 0
    state, _, _ = load_state(measured_run / "state" / "heads.safetensors")
    for kind, saved in heads_in(measured_run).items():
        for prefix, agrees in ((f"ema.{kind}.", True), (f"model.{kind}.", False)):
            there = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            assert same(saved, there) is agrees, prefix
            assert there.keys() == saved.keys()


def test_the_precision_is_the_trunk_s_too(cli: Any, measured_run: Path, tmp_path: Path) -> None:
    """The heads of a bf16 fit read bf16 features; fp32 said aloud is what the mean's own precision was."""
    found = {}
    for name, options in {"own": [], "fp32": ["--precision", "fp32"], "bf16": ["--precision", "bf16"]}.items():
        run = shutil.copytree(measured_run, tmp_path / name)
        assert cli("fit-var-head", "--run", run, *FAST, *ALL_KINDS, "--iterations", 3, *options).exit_code == 0
        found[name] = heads_in(run)
    for kind, weights in found["fp32"].items():
        assert same(weights, found["own"][kind])
        assert not same(weights, found["bf16"][kind]), kind


def test_a_dropout_trunk_is_frozen_in_eval_mode(cli: Any, tmp_path: Path) -> None:
    """Two fits that differ only in what the trunk's dropout would have drawn are the same."""
    runs = []
    for name in ("a", "b"):
        run = tmp_path / name
        cli("train-mean", "--run", run, "--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1,
            "--attention", "none", "--timesteps", 50, *FAST, "--dropout", 0.5, "--iterations", 2)  # fmt: skip
        assert cli("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS).exit_code == 0
        torch.manual_seed(ord(name))
        assert cli("fit-var-head", "--run", run, *FAST, *ALL_KINDS, "--iterations", 2).exit_code == 0
        runs.append(heads_in(run))
    assert runs[0].keys() == set(KINDS)
    assert all(same(runs[1][kind], weights) for kind, weights in runs[0].items())


def test_relative_data_is_found_from_another_folder(
    cli: Any, mean_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit with --data pictures is resumed from wherever one happens to be."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    own = tmp_path / "own"
    words = ["--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1, "--attention", "none"]
    assert cli("train-mean", "--run", own, "--data", "pictures", *words, *FAST, "--iterations", 1).exit_code == 0
    fit = ["fit-var-head", "--run", own, "--data", "pictures"]
    assert cli(*fit, *FAST, "--kind", "sn", "--iterations", 1).exit_code == 0
    again = cli(*fit, "--resume", "--iterations", 2)
    assert again.exit_code == 0, again.stderr
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = cli("fit-var-head", "--run", own, "--resume", "--iterations", 3)
    assert result.exit_code == 0, result.stderr


# --- how long


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation every second iteration of eight images."""
    monkeypatch.setattr(early_stopping, "IMAGES_BETWEEN", 16)


STILL = (*FAST, "--lr", "1e-9")
"""A fit that gains nothing."""


def evaluations(run: Path) -> list[dict[str, Any]]:
    """The lines of the log that are of held-out images."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["command"] == "fit-var-head" and "held_out" in line]


@pytest.mark.usefixtures("often")
def test_it_ends_when_held_out_images_gain_no_more(cli: Any, done: Callable[..., Any], measured_run: Path) -> None:
    """Unasked, long before the most that it would take; what was held out and found is with the heads."""
    found = done("fit-var-head", "--run", measured_run, *STILL)
    assert found["iterations"] == 2 * PATIENCE
    assert found["held_out"] == found["settings"]["held_out"] == 150, "a tenth of 1500"
    lines = evaluations(measured_run)
    assert [line["iteration"] for line in lines] == [2 * number for number in range(PATIENCE + 1)]
    for kind, path in found["heads"].items():
        best = min(line["smoothed"][kind] for line in lines)
        assert found["judged"][kind]["nats"] == best
        training = load_head(Path(path)).training
        assert training["held_out"] == {"images": 150, "nats": best}
        assert training["iterations"] == found["judged"][kind]["iterations"]
        assert training["data"]["count"] == 1500
    _, progress = read_progress(measured_run / "state" / "heads.safetensors")
    assert (progress.finished, progress.patience, progress.minutes) == (True, PATIENCE, 20)
    assert progress.iterations == -(-100_000 // 8), "the most, by the images and never by the mean"
    again = cli("fit-var-head", "--run", measured_run, "--resume")
    why = f"already finished: {2 * PATIENCE} iterations are done and held-out images gain no more"
    assert f"{why}; go on with a larger --patience" in again.stderr


@pytest.mark.usefixtures("often")
def test_it_says_when_it_will_end_and_what_was_found(cli: Any, measured_run: Path) -> None:
    words = ["fit-var-head", "--run", measured_run, "--kind", "npr", *STILL, "--patience", 2]
    result = cli(*words)
    assert (
        "1500 images, 150 of them held out; ends after 2 evaluations with no gain, at most after 12500 "
        in result.stderr
    )
    assert "iterations or 20 minutes; heads npr" in result.stderr
    nats = min(line["smoothed"]["npr"] for line in evaluations(measured_run))
    assert f"npr: {nats:.4f} nats of held-out images, after " in result.stderr


@pytest.mark.usefixtures("often")
def test_iterations_are_the_most(done: Callable[..., Any], measured_run: Path) -> None:
    for iterations, taken in ((3, 3), (50, 4)):
        words = ["--kind", "npr", "--iterations", iterations, "--patience", 2, "--force"]
        assert done("fit-var-head", "--run", measured_run, *STILL, *words)["iterations"] == taken


@pytest.mark.usefixtures("often")
def test_more_patience_goes_on_and_equals_as_much_from_the_start(
    done: Callable[..., Any], measured_run: Path, tmp_path: Path
) -> None:
    """Patience is a budget: it may change without --override."""
    whole = shutil.copytree(measured_run, tmp_path / "whole")
    words = ["--kind", "npr", *STILL]
    assert done("fit-var-head", "--run", whole, *words, "--patience", 3)["iterations"] == 6
    assert done("fit-var-head", "--run", measured_run, *words, "--patience", 1)["iterations"] == 2
    assert done("fit-var-head", "--run", measured_run, "--resume", "--patience", 3)["iterations"] == 6
    assert same(heads_in(measured_run)["npr"], heads_in(whole)["npr"])
    assert done("fit-var-head", "--run", measured_run, "--resume")["iterations"] == 6, "the patience it has now"
    words = ["--resume", "--patience", 0, "--iterations", 9]
    assert done("fit-var-head", "--run", measured_run, *words)["iterations"] == 9


@pytest.mark.usefixtures("often")
def test_without_patience_every_image_is_fitted_on(
    done: Callable[..., Any], cli: Any, measured_run: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(measured_run, tmp_path / "other")
    words = ["--kind", "npr", *FAST, "--iterations", 5]
    found = done("fit-var-head", "--run", measured_run, *words, "--patience", 0)
    assert (found["iterations"], found["held_out"], found["judged"]) == (5, 0, {"npr": {"nats": None, "iterations": 5}})
    assert evaluations(measured_run) == []
    assert load_head(measured_run / "head-npr.safetensors").training["held_out"] == {"images": 0, "nats": None}
    assert done("fit-var-head", "--run", other, *words)["held_out"] == 150
    assert not same(heads_in(measured_run)["npr"], heads_in(other)["npr"]), "other images in each batch"


def test_a_fit_that_an_earlier_version_began(done: Callable[..., Any], measured_run: Path) -> None:
    """Its state knows nothing of held-out images: it goes on as it began."""
    words = ["fit-var-head", "--run", measured_run]
    done(*words, "--kind", "npr", *FAST, "--iterations", 2, "--patience", 0)
    path = measured_run / "state" / "heads.safetensors"
    tensors, settings, progress = load_state(path)
    assert not any(name.startswith("stopping.") for name in tensors)
    del settings["held_out"]
    save_state(path, tensors, settings, replace(progress, finished=False, iterations=500_000))
    found = done(*words, "--resume", "--iterations", 4)
    assert (found["iterations"], found["held_out"], found["settings"]["held_out"]) == (4, 0, 0)


def test_patience_for_a_fit_that_held_nothing_out(refused: Callable[..., str], cli: Any, measured_run: Path) -> None:
    words = ["fit-var-head", "--run", measured_run]
    assert cli(*words, "--kind", "npr", *FAST, "--iterations", 1, "--patience", 0).exit_code == 0
    message = refused(2, *words, "--resume", "--patience", 3)
    assert message == (
        "--patience goes by images that are held out, and the fit being resumed has seen them all; leave it out, or "
        "start over with --force"
    )


def test_a_single_image(refused: Callable[..., str], measured_run: Path) -> None:
    message = refused(3, "fit-var-head", "--run", measured_run, "--kind", "npr", "--limit", 1, "--iterations", 1)
    assert "takes at least 2 and found 1; give more images, or fit without by --patience 0" in message


# --- refusals


def test_no_run(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "diffcov train-mean" in refused(3, "fit-var-head", "--run", tmp_path / "absent")


def test_nothing_to_resume(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(3, "fit-var-head", "--run", mean_run, "--resume")
    assert "nothing to resume" in message
    assert f"diffcov fit-var-head --run {mean_run}" in message


def test_existing_heads(refused: Callable[..., str], cli: Any, full_run: Path) -> None:
    message = refused(1, "fit-var-head", "--run", full_run, *FAST, "--iterations", 1)
    assert "head-npr.safetensors already exists" in message
    assert "--force" in message
    assert cli("fit-var-head", "--run", full_run, *FAST, "--iterations", 1, "--force").exit_code == 0


def test_an_unfinished_fit(refused: Callable[..., str], full_run: Path) -> None:
    path = full_run / "state" / "heads.safetensors"
    tensors, settings, progress = load_state(path)
    save_state(path, tensors, settings, replace(progress, finished=False))
    message = refused(1, "fit-var-head", "--run", full_run, *FAST, "--iterations", 1)
    assert "unfinished training (iteration 2)" in message
    assert "--resume" in message


def test_resume_with_a_changed_option(refused: Callable[..., str], done: Callable[..., Any], full_run: Path) -> None:
    words = ["fit-var-head", "--run", full_run, "--resume", "--lr", "5e-4", "--iterations", 3]
    message = refused(2, *words)
    assert "-> 0.0005" in message
    assert done(*words, "--override", "lr")["settings"]["lr"] == 5e-4


def test_resume_with_a_changed_loss(refused: Callable[..., str], full_run: Path) -> None:
    """The start and the link are in the weights already; no --override makes them another's."""
    words = ["fit-var-head", "--run", full_run, "--resume", "--iterations", 3]
    for more in ([], ["--override", "loss"]):
        message = refused(2, *words, "--loss", "squared", *more)
        assert "cannot change its loss None -> squared" in message


def test_resume_with_other_kinds(refused: Callable[..., str], full_run: Path) -> None:
    message = refused(2, "fit-var-head", "--run", full_run, "--resume", "--iterations", 3, "--kind", "npr")
    assert "cannot change its kind" in message


def test_resume_over_another_spectrum(refused: Callable[..., str], cli: Any, full_run: Path) -> None:
    """Half of a banded head would be relative to one spectrum and half to the other."""
    before = spectrum_digest(full_run)
    assert cli("estimate-var", "--run", full_run, "--samples", 2, *FEW_KNOTS, "--force", "--seed", 1).exit_code == 0
    after = spectrum_digest(full_run)
    message = refused(3, "fit-var-head", "--run", full_run, "--resume", "--iterations", 3)
    assert "another spectrum.safetensors" in message
    assert before[:12] in message
    assert after[:12] in message
    assert f"diffcov fit-var-head --run {full_run} --force" in message


def test_resume_without_the_spectrum(refused: Callable[..., str], full_run: Path) -> None:
    (full_run / "spectrum.safetensors").unlink()
    message = refused(3, "fit-var-head", "--run", full_run, "--resume", "--iterations", 3)
    assert f"a spectrum and none was found; run: diffcov estimate-var --run {full_run}" in message


def test_a_head_over_another_spectrum_is_not_used(
    refused: Callable[..., str], cli: Any, done: Callable[..., Any], full_run: Path
) -> None:
    """Measured anew with another seed: the factor was learned relative to what is no longer there."""
    before = spectrum_digest(full_run)
    sample = ["sample", "--run", full_run, "--steps", 2, "--count", 2, "--covariance"]
    assert cli(*sample, "banded", "--out", full_run / "samples" / "first").exit_code == 0
    assert cli("estimate-var", "--run", full_run, "--samples", 2, *FEW_KNOTS, "--force", "--seed", 1).exit_code == 0
    after = spectrum_digest(full_run)
    assert before != after
    message = refused(3, *sample, "banded", "--out", full_run / "samples" / "second")
    assert message.startswith(f"{full_run / 'head-banded.safetensors'} was fitted over another spectrum.safetensors")
    assert before[:12] in message
    assert after[:12] in message
    assert f"diffcov fit-var-head --run {full_run} --kind banded --force" in message
    problems = json.loads(cli("inspect", full_run, "--json").stdout)["problems"]
    assert len(problems) == 1
    assert "head-banded.safetensors was made of another spectrum.safetensors" in problems[0]
    for other in ("spectral", "npr", "ocm"):
        assert cli(*sample, other, "--out", full_run / "samples" / other).exit_code == 0, "these do not mind"
    words = [*FAST, "--kind", "banded", "--iterations", 1, "--force"]
    assert done("fit-var-head", "--run", full_run, *words)["heads"].keys() == {"banded"}
    assert cli(*sample, "banded", "--out", full_run / "samples" / "third").exit_code == 0
    assert cli("inspect", full_run, "--json").exit_code == 0


def test_resume_on_another_mean(refused: Callable[..., str], full_run: Path, stranger: Path) -> None:
    shutil.copy(stranger / "mean.safetensors", full_run)
    message = refused(3, "fit-var-head", "--run", full_run, "--resume", "--iterations", 5)
    assert load_mean(stranger / "mean.safetensors").digest[:12] in message
    assert f"diffcov fit-var-head --run {full_run} --force" in message


def test_override_without_resume(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(2, "fit-var-head", "--run", mean_run, *FAST, "--iterations", 1, "--override", "lr")
    assert "--override belongs to --resume; add --resume, or leave --override out" in message


def test_resume_with_force(refused: Callable[..., str], full_run: Path) -> None:
    message = refused(2, "fit-var-head", "--run", full_run, "--resume", "--force", "--iterations", 5)
    assert "--resume goes on and --force starts over; give one of them" in message


def test_a_loss_that_a_kind_does_not_know(refused: Callable[..., str], measured_run: Path) -> None:
    for kinds in (["--kind", "banded"], ["--kind", "npr", "--kind", "banded"]):
        message = refused(2, "fit-var-head", "--run", measured_run, *kinds, "--loss", "squared", *FAST)
        assert message == "a head of kind banded is fitted by likelihood, not by squared"


@pytest.mark.parametrize("kind", ["small", "corrected", "spectral", "nonsense"])
def test_kinds_without_a_head(refused: Callable[..., str], mean_run: Path, kind: str) -> None:
    message = refused(2, "fit-var-head", "--run", mean_run, "--kind", kind)
    assert message == f"--kind takes {', '.join(KINDS)} with commas between; found '{kind}'"


@pytest.mark.parametrize(
    "options",
    [
        ["--head", "huge"],
        ["--loss", "huber"],
        ["--head", "bands"],
        ["--iterations", "0"],
        ["--patience", "-1"],
        ["--dropout", "0.1"],
    ],
)
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("fit-var-head", "--run", mean_run, *options)


def test_values_out_of_range(refused: Callable[..., str], mean_run: Path) -> None:
    assert "--lr must be a positive number" in refused(2, "fit-var-head", "--run", mean_run, "--lr", 0)
    assert "--minutes must be above 0" in refused(2, "fit-var-head", "--run", mean_run, "--minutes", 0)
    assert "--minutes must be above 0, found inf" in refused(2, "fit-var-head", "--run", mean_run, "--minutes", "inf")
