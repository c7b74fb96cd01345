"""What the README promises can be checked without reading it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from diffcov.cli.app import app
from diffcov.covariance import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_two_lines_do_all_the_set_up() -> None:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]
    assert len(lines) == 2
    assert all("-c constraints.txt" in line for line in lines)
    assert lines[0].endswith("diffcov demo")
    assert lines[1].endswith("pytest")


def test_every_covariance_is_explained() -> None:
    assert re.findall(
        r"^\| `(\w+)` \|.*\| (?:-|table|spectrum|matrices|head|spectrum, head) \|", README, flags=re.M
    ) == list(registry.COVARIANCES)


def test_the_order_of_auto_is_the_registrys() -> None:
    assert " > ".join(registry.PREFERENCE) in README


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a run that the four commands left, made here with a tiny budget."""
    code = re.search(r"```python\n(.*?)```", README, flags=re.S)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    for command in (
        ["train-mean", "--iterations", "2"],
        ["estimate-var", "--samples", "1", "--knot-samples", "2", "--knots", "4"],
        ["fit-var-head", "--kind", "npr", "--iterations", "2"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr
    names: dict[str, Any] = {}
    exec(code.group(1), names)
    assert names["pixels"].shape == (16, 1, 8, 8)
    assert names["pixels"].dtype == torch.uint8
