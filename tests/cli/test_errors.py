"""Errors that every command shares: one sentence, the right code, no file touched."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov import errors
from diffcov.covariance import registry
from diffcov.store import artifact
from diffcov.store.run import RunFolder

AFTER_TRAINING = ["estimate-var", "fit-var-head", "sample"]
COMMANDS = ["train-mean", *AFTER_TRAINING, "inspect", "demo"]


def remade(path: Path, change: Callable[[dict[str, torch.Tensor]], object], kind: str = "mean") -> None:
    """The same artefact with changed tensors and an honest digest."""
    found = artifact.read(path, "mean")
    change(found.tensors)
    artifact.write(path, kind, found.tensors, found.metadata)


def test_exit_codes() -> None:
    codes = {
        errors.DiffcovError: 1, errors.OutputError: 1, errors.UsageError: 2, errors.InputError: 3,
        errors.NoAnswerError: 3, errors.NonFiniteError: 4, errors.Interrupted: 130,
        errors.OwnedError: 1, errors.ProcessLost: 1,
    }  # fmt: skip
    assert codes.keys() == {found for found in vars(errors).values() if isinstance(found, type)}
    assert all(kind.exit_code == code and issubclass(kind, errors.DiffcovError) for kind, code in codes.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_unknown_options(cli: Any, unusable: Callable[..., str], command: str) -> None:
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "--run" in result.stdout
    assert "No such option" in unusable(command, "--no-such-option")


def test_an_unknown_command(unusable: Callable[..., str]) -> None:
    assert "No such command" in unusable("train-everything")


def test_no_command_is_help(cli: Any) -> None:
    result = cli()
    assert "train-mean" in result.stdout + result.stderr


def test_version(cli: Any) -> None:
    import diffcov

    assert cli("--version").stdout == f"diffcov {diffcov.__version__}\n"


def test_debug_shows_the_traceback_and_the_same_exit_code(cli: Any, tmp_path: Path) -> None:
    result = cli("--debug", "sample", "--run", tmp_path / "absent")
    assert result.exit_code == 3
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("command", AFTER_TRAINING)
def test_truncated_mean(refused: Callable[..., str], mean_run: Path, command: str) -> None:
    path = RunFolder(mean_run).mean
    path.write_bytes(path.read_bytes()[:-100])
    message = refused(3, command, "--run", mean_run)
    assert str(path) in message
    assert "truncated" in message


@pytest.mark.parametrize("command", AFTER_TRAINING)
def test_flipped_bit_in_the_mean(refused: Callable[..., str], mean_run: Path, command: str) -> None:
    path = RunFolder(mean_run).mean
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "is damaged" in refused(3, command, "--run", mean_run)


@pytest.mark.parametrize("command", AFTER_TRAINING)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_weights(refused: Callable[..., str], mean_run: Path, command: str, value: float) -> None:
    remade(RunFolder(mean_run).mean, lambda tensors: tensors["out.2.bias"].fill_(value))
    message = refused(4, command, "--run", mean_run)
    assert "NaN or infinity in out.2.bias" in message


@pytest.mark.parametrize("command", AFTER_TRAINING)
def test_missing_weight(refused: Callable[..., str], mean_run: Path, command: str) -> None:
    remade(RunFolder(mean_run).mean, lambda tensors: tensors.pop("out.2.bias"))
    assert "out.2.bias" in refused(3, command, "--run", mean_run)


@pytest.mark.parametrize("command", AFTER_TRAINING)
def test_another_kind_of_file(refused: Callable[..., str], mean_run: Path, command: str) -> None:
    remade(RunFolder(mean_run).mean, lambda tensors: None, kind="head")
    assert "is a 'head' file, but a 'mean' file is needed" in refused(3, command, "--run", mean_run)


@pytest.mark.parametrize("command", ["estimate-var", "fit-var-head"])
def test_weights_that_overflow(cli: Any, mean_run: Path, command: str) -> None:
    """Finite in the file, infinite in the prediction: noticed in the work, and nothing of it is kept."""
    overflowing = ("out.2.weight", "out.2.bias")
    remade(RunFolder(mean_run).mean, lambda tensors: [tensors[name].fill_(3e38) for name in overflowing])
    published = [
        word for kind in registry.heads() if "squared" in registry.load(kind).losses for word in ("--kind", kind)
    ]
    fit = ["--iterations", 2, "--batch-size", 4, "--loss", "squared", *published]  # which needs no table
    options = [] if command != "fit-var-head" else fit
    result = cli(command, "--run", mean_run, *options)
    assert result.exit_code == 4, result.stderr
    found = {str(path.relative_to(mean_run)) for path in mean_run.rglob("*") if path.is_file()}
    made = found - {"mean.safetensors", "log.jsonl", "state/mean.safetensors"}
    assert made <= {"state/heads.safetensors"}, "the start of the fit, if anything"


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_infinite_predictions_while_sampling(refused: Callable[..., str], mean_run: Path, value: float) -> None:
    """Finite in the file, infinite in the prediction, and clipped to a plain picture if nobody looked."""

    def overflow(tensors: dict[str, torch.Tensor]) -> None:
        tensors["out.0.weight"].fill_(0.0)
        tensors["out.0.bias"].fill_(9.0)
        tensors["out.2.weight"].fill_(value)

    remade(RunFolder(mean_run).mean, overflow)
    options = ["--steps", 3, "--count", 2, "--covariance", "small"]
    message = refused(4, "sample", "--run", mean_run, *options)
    assert "NaN or infinity while sampling" in message


@pytest.mark.parametrize("command", AFTER_TRAINING)
def test_remedies_name_the_run(refused: Callable[..., str], tmp_path: Path, command: str) -> None:
    """What the message says to type must mend this run, not the default one."""
    run = tmp_path / "mine"
    assert f"diffcov train-mean --run {run}" in refused(3, command, "--run", run)


@pytest.mark.parametrize("command", ["estimate-var", "fit-var-head"])
def test_vanished_training_images(refused: Callable[..., str], cli: Any, tmp_path: Path, command: str) -> None:
    import numpy as np

    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (9, 1, 8, 8)).astype(np.uint8))
    words = ["--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1, "--attention", "none"]
    trained = cli("train-mean", "--run", tmp_path / "run", "--data", tmp_path / "images.npy", *words,
                  "--batch-size", 4, "--timesteps", 50, "--iterations", 1)  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    (tmp_path / "images.npy").unlink()
    message = refused(3, command, "--run", tmp_path / "run")
    assert "images.npy" in message


def test_ctrl_c_while_sampling_leaves_kept_images_alone(mean_run: Path) -> None:
    words = ["sample", "--run", str(mean_run), "--steps", "50", "--count", "100000", "--format", "folder"]
    process = subprocess.Popen(
        [sys.executable, "-m", "diffcov", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs deaf to Ctrl-C, and children inherit that: hear it whoever runs the tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(mean_run.glob("samples/.*.tmp/images/*.png")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "interrupted" in stderr.splitlines()[-1]
    left = [path for path in mean_run.rglob("samples/**/*") if path.is_file()]
    assert all(path.suffix == ".safetensors" and ".unfinished/" in str(path) for path in left), "kept images alone"
