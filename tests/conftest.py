"""Tiny trained runs, the program in this process, and what a refusal must look like."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from typer.testing import CliRunner, Result

from diffcov.covariance import registry

Cli = Callable[..., Result]

TINY = (
    *("--channels", "8", "--multipliers", "1", "--blocks", "1", "--heads", "1", "--attention", "none"),
    *("--timesteps", "50", "--batch-size", "8"),
)
"""The smallest network on the embedded digits, T = 50."""
FEW_KNOTS = ("--knots", "4", "--knot-samples", "4")
"""The smallest spectrum that is still curved."""
ALL_KINDS = tuple(word for kind in registry.heads() for word in ("--kind", kind))
"""Every head, also those that are not fitted unasked."""


def pytest_report_header() -> str:
    from fuzz.seed import ASKED, SEED

    return f"broken files: DIFFCOV_FUZZ={ASKED} DIFFCOV_FUZZ_SEED={SEED}"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums of floats must not depend on the machine's number of cores."""
    torch.set_num_threads(1)


def run_cli(*args: object, env: Mapping[str, str] | None = None) -> Result:
    """Run ``diffcov`` in this process; a traceback fails the test here."""
    from diffcov.cli.app import app

    result = CliRunner().invoke(app, [str(arg) for arg in args], env={"DIFFCOV_RUN": None, **(env or {})})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def listing(folder: Path) -> dict[str, str]:
    """Every file below a folder with a digest of its bytes; an empty folder made on the way counts for nothing."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def strict_json(text: str) -> Any:
    """One JSON document, by the standard: NaN and Infinity are none of it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="session")
def cli() -> Cli:
    """``cli("sample", "--steps", 5, env={...})``."""
    return run_cli


@pytest.fixture(scope="session")
def done() -> Callable[..., Any]:
    """Like ``cli`` with ``--json``: the command must succeed and print one JSON object; returns it."""

    def run(*args: object, env: Mapping[str, str] | None = None) -> Any:
        result = run_cli(*args, "--json", env=env)
        assert result.exit_code == 0, result.stderr
        found = strict_json(result.stdout)
        assert isinstance(found, dict)
        return found

    return run


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """``refused(code, *args)``: the command says one sentence on stderr, exits with the code and changes no file.

    Files are those below the test's ``tmp_path``. Returns the sentence.
    """

    def run(code: int, *args: object) -> str:
        before = listing(tmp_path)
        result = run_cli(*args)
        assert result.exit_code == code, (result.exit_code, result.stderr)
        assert result.stdout == ""
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, result.stderr
        assert result.stderr.endswith(errors[0] + "\n"), "the message is one line, and the last"
        assert listing(tmp_path) == before
        return errors[0].removeprefix("error: ")

    return run


@pytest.fixture
def unusable(tmp_path: Path) -> Callable[..., str]:
    """``unusable(*args)``: the option parser itself refuses (exit 2), on stderr, and no file changes."""

    def run(*args: object) -> str:
        before = listing(tmp_path)
        result = run_cli(*args)
        assert result.exit_code == 2, (result.exit_code, result.stderr)
        assert result.stdout == ""
        assert listing(tmp_path) == before
        return " ".join(result.stderr.replace("│", " ").split())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a mean alone. Read only: copy it to change it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    result = run_cli("train-mean", "--run", run, *TINY, "--iterations", 3)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="session")
def finished(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with mean, table, spectrum, matrices and every head. Read only: copy it to change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(trained, run)
    for args in (
        ["estimate-var", "--samples", 2, *FEW_KNOTS],
        ["fit-var-head", "--iterations", 2, "--batch-size", 8, *ALL_KINDS],
    ):
        result = run_cli(*args, "--run", run)
        assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of another seed: its statistics and heads fit no other run. Read only."""
    run = tmp_path_factory.mktemp("stranger") / "run"
    for args in (
        ["train-mean", *TINY, "--iterations", 1, "--seed", 7],
        ["estimate-var", "--samples", 2, *FEW_KNOTS],
        ["fit-var-head", "--iterations", 1, "--batch-size", 8, *ALL_KINDS],
    ):
        result = run_cli(*args, "--run", run)
        assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture
def mean_run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run with a mean alone, to change."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def full_run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to change."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """``with full_disk(n):`` the kernel refuses to let any file grow past n bytes."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
