"""The completion scripts in the repository are those that the program prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "completions"


def ask(**variables: str) -> bytes:
    command = [sys.executable, "-c", "import sys; sys.argv = ['diffcov']; from diffcov.cli.app import main; main()"]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, check=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_current(shell: str) -> None:
    """Renew with: _DIFFCOV_COMPLETE=source_bash diffcov > completions/diffcov.bash"""
    assert ask(_DIFFCOV_COMPLETE=f"source_{shell}") == (FOLDER / f"diffcov.{shell}").read_bytes()


def test_completes_options_and_covariances() -> None:
    def complete(words: str, position: int) -> list[str]:
        answer = ask(_DIFFCOV_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(position))
        return answer.decode().split()

    assert complete("diffcov sample --cov", 2) == ["--covariance"]
    assert complete("diffcov sample --gri", 2) == ["--grid"]
    assert complete("diffcov sample --traj", 2) == ["--trajectory"]
    assert complete("diffcov train-mean --predict ", 3) == ["eps", "v", "x0"]
    assert {"auto", "small", "npr"} <= set(complete("diffcov sample --covariance ", 3))
    assert set(complete("diffcov ", 1)) >= {"train-mean", "estimate-var", "fit-var-head", "sample", "inspect", "demo"}
