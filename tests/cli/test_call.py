"""How a network is called: chosen by options, recorded beside results, and no part of what a mean or a sampler is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import FEW_KNOTS, TINY
from diffcov.store import artifact
from diffcov.store.state import load_state

PLAIN = {"layout": "contiguous", "batch": None, "training": False}
TORCH_S_OWN = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
"""The compiler imports what torch itself has deprecated."""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "compiled"))
    return folder


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: Any, **how: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)


@pytest.mark.parametrize("options", [[], ["--compile", "off"], ["--compile", "auto"]], ids=" ".join)
def test_a_short_training_is_as_ever(cli: Any, trained: Path, tmp_path: Path, cache: Path, options: list[str]) -> None:
    run = tmp_path / "run"
    assert cli("train-mean", "--run", run, *TINY, "--iterations", 3, *options).exit_code == 0
    _, settings, _ = load_state(run / "state" / "mean.safetensors")
    assert (settings["compile"], settings["layout"]) == ("off", "contiguous")
    digests = [artifact.read_header(folder / "mean.safetensors", "mean")["digest"] for folder in (run, trained)]
    assert digests[0] == digests[1]
    assert not list(cache.iterdir())


def test_how_it_was_called_stands_beside_what_came_out(done: Callable[..., Any], full_run: Path) -> None:
    assert done("sample", "--run", full_run, "--steps", 2, "--count", 2)["call"] == PLAIN
    few = ("--images", 4, "--metrics", "nll", "--steps", 2)
    assert done("evaluate", "--run", full_run, *few)["call"] == PLAIN
    done("estimate-var", "--run", full_run, "--samples", 2, *FEW_KNOTS, "--force")
    header = artifact.read_header(full_run / "variance.safetensors", "variance-table")
    assert json.loads(header["config"])["call"] == PLAIN


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--steps", "2", "--count", "2"],
        ["evaluate", "--images", "4", "--metrics", "nll", "--steps", "2"],
        ["estimate-var", "--samples", "2", "--force"],
        ["fit-var-head", "--iterations", "2", "--force"],
        ["train-mean", "--iterations", "2", "--force"],
    ],
    ids=lambda words: words[0],
)
def test_on_needs_a_compiler(refused: Callable[..., str], full_run: Path, no_compiler: None, words: list[str]) -> None:
    message = refused(2, words[0], "--run", full_run, *words[1:], "--compile", "on")
    assert message.startswith("--compile on: the network cannot be compiled here (RuntimeError: No working C++")


def test_a_training_goes_on_as_it_began(refused: Callable[..., str], cli: Any, mean_run: Path) -> None:
    message = refused(2, "train-mean", "--run", mean_run, "--resume", "--iterations", 4, "--compile", "on")
    assert "option differs from the training being resumed: compile off -> on" in message
    for asked in ("auto", "off"):
        count = {"auto": 4, "off": 5}[asked]
        words = ("--resume", "--iterations", count, "--compile", asked, "--precision", "auto")
        assert cli("train-mean", "--run", mean_run, *words[: 5 if asked == "off" else 7]).exit_code == 0


def test_the_quicker_precision_is_what_samples_are_said_to_be_of(
    done: Callable[..., Any], full_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, and not the word that asked for it, is part of the sampler's identity."""
    digests = {}
    for chosen in ("fp32", "bf16"):
        monkeypatch.setattr("diffcov.study.opening.measured_precision", lambda *given, chosen=chosen: chosen)
        words = ("sample", "--run", full_run, "--steps", 2, "--count", 2, "--force")
        manifests = [done(*words, "--precision", asked) for asked in ("auto", chosen)]
        assert manifests[0]["sampler"]["precision"] == chosen
        assert manifests[0]["sampler_digest"] == manifests[1]["sampler_digest"]
        digests[chosen] = manifests[0]["sampler_digest"]
    assert digests["fp32"] != digests["bf16"]


def test_a_sweep_in_the_quicker_precision_says_which_that_was(done: Callable[..., Any], mean_run: Path) -> None:
    """And so does a fit."""
    done("estimate-var", "--run", mean_run, "--samples", 2, *FEW_KNOTS, "--precision", "auto")
    header = artifact.read_header(mean_run / "variance.safetensors", "variance-table")
    assert json.loads(header["config"])["precision"] in ("fp32", "bf16")
    words = ("--iterations", 2, "--batch-size", 8, "--precision", "auto", "--kind", "npr")
    assert done("fit-var-head", "--run", mean_run, *words)["settings"]["precision"] in ("fp32", "bf16")


@pytest.mark.slow
@TORCH_S_OWN
def test_a_compiled_training_and_its_samples(done: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    """Names of weights are those of a plain training, going on is exact, samples are the same up to rounding."""
    runs = {name: tmp_path / name for name in ("whole", "halves")}
    done("train-mean", "--run", runs["whole"], *TINY, "--iterations", 6, "--compile", "on")
    done("train-mean", "--run", runs["halves"], *TINY, "--iterations", 3, "--compile", "on")
    torch._dynamo.reset()
    done("train-mean", "--run", runs["halves"], "--resume", "--iterations", 6)
    whole, halves = (artifact.read(run / "mean.safetensors", "mean").tensors for run in runs.values())
    assert whole.keys() == artifact.read(trained / "mean.safetensors", "mean").tensors.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    _, settings, _ = load_state(runs["halves"] / "state" / "mean.safetensors")
    assert (settings["compile"], settings["layout"]) == ("on", "channels_last")

    plain = shutil.copytree(runs["whole"], tmp_path / "plain")
    words = ("--covariance", "small", "--steps", 3, "--count", 5, "--batch-size", 4)
    quick = done("sample", "--run", runs["whole"], *words, "--compile", "on")
    slow = done("sample", "--run", plain, *words)
    assert quick["call"] == {"layout": "channels_last", "batch": 4, "training": False}
    assert quick["sampler_digest"] == slow["sampler_digest"]


@pytest.mark.slow
@TORCH_S_OWN
def test_a_fit_on_a_compiled_trunk(done: Callable[..., Any], full_run: Path) -> None:
    """Heads like those on the network as it is, up to rounding; some layouts of features have ended the process."""
    words = ("--run", full_run, "--iterations", 3, "--batch-size", 8, "--patience", 0, "--force")
    heads = []
    for asked in ("off", "on"):
        assert done("fit-var-head", *words, "--compile", asked)["settings"]["compile"] == asked
        heads.append(artifact.read(full_run / "head-npr.safetensors", "head").tensors)
    for name, plain in heads[0].items():
        torch.testing.assert_close(heads[1][name], plain, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_no_compiler_in_the_path(trained: Path, tmp_path: Path) -> None:
    """The program itself, where g++ cannot be found: one sentence, no trace."""
    words = ["sample", "--run", str(trained), "--steps", "2", "--count", "4", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-m", "diffcov", *words, "--covariance", "small", "--compile", "on"],
        env={**os.environ, "CXX": "/nowhere/g++", "PATH": "/nowhere"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: --compile on: the network cannot be compiled here (")
    assert not (tmp_path / "out").exists()
