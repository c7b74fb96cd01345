"""``fit-var-head``: heads, resuming, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffcov.covariance import registry
from diffcov.io.checkpoint import load_mean
from diffcov.io.head import load_head
from diffcov.io.state import load_state, save_state

FAST = ("--batch-size", "8")


def test_json_and_files(done: Callable[..., Any], mean_run: Path) -> None:
    before = (mean_run / "mean.safetensors").read_bytes()
    found = done("fit-var-head", "--run", mean_run, *FAST, "--iterations", 3)
    assert found["heads"] == {kind: str(mean_run / f"head-{kind}.safetensors") for kind in registry.heads()}
    assert found["iterations"] == 3
    digest = load_mean(mean_run / "mean.safetensors").digest
    for kind, path in found["heads"].items():
        head = load_head(Path(path), digest)
        assert (head.spec.kind, head.training["iterations"]) == (kind, 3)
        assert head.training["settings"] == found["settings"]
    assert (mean_run / "state" / "heads.safetensors").is_file()
    assert (mean_run / "mean.safetensors").read_bytes() == before


def test_stdout_is_the_paths(cli: Any, mean_run: Path) -> None:
    result = cli("fit-var-head", "--run", mean_run, *FAST, "--iterations", 1, "--kind", "sn")
    assert result.exit_code == 0
    assert result.stdout == f"{mean_run / 'head-sn.safetensors'}\n"
    assert not (mean_run / "head-npr.safetensors").exists()
    assert result.stderr.endswith(f"next: diffcov sample --run {mean_run} --steps 50\n")


@pytest.mark.parametrize("kind", registry.heads())
def test_a_kind_fitted_alone_is_the_one_fitted_in_company(cli: Any, mean_run: Path, tmp_path: Path, kind: str) -> None:
    """Heads share trunk calls, and neither initial weights nor gradients nor the norm these are clipped to."""
    other = shutil.copytree(mean_run, tmp_path / "other")
    options = [*FAST, "--iterations", 3, "--clip-norm", 0.01]
    assert cli("fit-var-head", "--run", mean_run, *options, "--kind", kind).exit_code == 0
    assert cli("fit-var-head", "--run", other, *options).exit_code == 0
    name = f"head-{kind}.safetensors"
    mine, theirs = load_file(mean_run / name), load_file(other / name)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_resumed_equals_uninterrupted(cli: Any, mean_run: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(mean_run, tmp_path / "whole")
    cli("fit-var-head", "--run", whole, *FAST, "--iterations", 6)
    cli("fit-var-head", "--run", mean_run, *FAST, "--iterations", 2)
    result = cli("fit-var-head", "--run", mean_run, "--resume", "--iterations", 6)
    assert result.exit_code == 0, result.stderr
    for kind in registry.heads():
        mine, theirs = (load_file(run / f"head-{kind}.safetensors") for run in (mean_run, whole))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_saved_weights_are_the_averaged_ones(cli: Any, mean_run: Path) -> None:
    assert cli("fit-var-head", "--run", mean_run, *FAST, "--iterations", 3).exit_code == 0
    state, _, _ = load_state(mean_run / "state" / "heads.safetensors")
    for kind in registry.heads():
        saved = load_file(mean_run / f"head-{kind}.safetensors")
        for prefix, agrees in ((f"ema.{kind}.", True), (f"model.{kind}.", False)):
            there = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            assert there.keys() == saved.keys()
            assert all(torch.equal(saved[name], there[name]) for name in saved) is agrees, prefix


def test_the_precision_is_the_trunk_s_too(cli: Any, mean_run: Path, tmp_path: Path) -> None:
    """The heads of a bf16 fit read bf16 features; fp32 said aloud is what the mean's own precision was."""
    found = {}
    for name, options in {"own": [], "fp32": ["--precision", "fp32"], "bf16": ["--precision", "bf16"]}.items():
        run = shutil.copytree(mean_run, tmp_path / name)
        assert cli("fit-var-head", "--run", run, *FAST, "--iterations", 3, *options).exit_code == 0
        found[name] = {kind: load_file(run / f"head-{kind}.safetensors") for kind in registry.heads()}
    for kind, weights in found["fp32"].items():
        assert all(torch.equal(weights[name], found["own"][kind][name]) for name in weights)
        assert not all(torch.equal(weights[name], found["bf16"][kind][name]) for name in weights), kind


def test_a_dropout_trunk_is_frozen_in_eval_mode(cli: Any, trained: Path, tmp_path: Path) -> None:
    """Two fits that differ only in what the trunk's dropout would have drawn are the same."""
    runs = []
    for name in ("a", "b"):
        run = tmp_path / name
        cli("train-mean", "--run", run, "--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1,
            "--attention", "none", "--timesteps", 50, *FAST, "--dropout", 0.5, "--iterations", 2)  # fmt: skip
        torch.manual_seed(ord(name))
        assert cli("fit-var-head", "--run", run, *FAST, "--iterations", 2).exit_code == 0
        runs.append(load_file(run / "head-npr.safetensors"))
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


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
    assert cli("fit-var-head", "--run", own, "--data", "pictures", *FAST, "--iterations", 1).exit_code == 0
    again = cli("fit-var-head", "--run", own, "--data", "pictures", "--resume", "--iterations", 2)
    assert again.exit_code == 0, again.stderr
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = cli("fit-var-head", "--run", own, "--resume", "--iterations", 3)
    assert result.exit_code == 0, result.stderr


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


@pytest.mark.parametrize("kind", ["small", "corrected", "nonsense"])
def test_kinds_without_a_head(refused: Callable[..., str], mean_run: Path, kind: str) -> None:
    message = refused(2, "fit-var-head", "--run", mean_run, "--kind", kind)
    assert f"no head of kind '{kind}'; choose from {', '.join(registry.heads())}" in message


@pytest.mark.parametrize("options", [["--head", "huge"], ["--iterations", "0"], ["--dropout", "0.1"]])
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("fit-var-head", "--run", mean_run, *options)


def test_values_out_of_range(refused: Callable[..., str], mean_run: Path) -> None:
    assert "--lr must be a positive number" in refused(2, "fit-var-head", "--run", mean_run, "--lr", 0)
    assert "--minutes must be above 0" in refused(2, "fit-var-head", "--run", mean_run, "--minutes", 0)
    assert "--minutes must be above 0, found inf" in refused(2, "fit-var-head", "--run", mean_run, "--minutes", "inf")
