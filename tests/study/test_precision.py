"""A precision that the processor only imitates is named with what it costs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffcov.study import precision
from diffcov.study.listener import Silent
from diffcov.study.precision import warn_of_slow_precision


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def said(name: str) -> list[str]:
    heard = Heard()
    warn_of_slow_precision(name, torch.device("cpu"), heard)
    return heard.warnings


def test_float32_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(precision, "slowdown")
    assert said("fp32") == said("fp64") == []


@pytest.mark.parametrize(("found", "warned"), [(0.4, False), (1.9, False), (28.93, True)])
def test_only_what_is_slow_is_warned_of(found: float, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "slowdown", lambda dtype: found)
    expected = "bf16 is 28.9 times slower than fp32 on this processor (a convolution, measured just now); take "
    assert said("bf16") == ([expected + "--precision fp32"] if warned else [])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's instruction sets are those of x86-64")
def test_a_processor_without_the_instructions_is_noticed(mean_run: Path, tmp_path: Path) -> None:
    """The library told to do without them, whatever this processor has; a command says so, and goes on."""
    words = ["sample", "--run", str(mean_run), "--steps", "2", "--count", "1", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-m", "diffcov", *words, "--precision", "bf16"],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "warning: bf16 is" in result.stderr
    assert "times slower than fp32 on this processor" in " ".join(result.stderr.split())
