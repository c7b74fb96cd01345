"""What programs of both kinds have in common: nothing is run before it is trusted, then it is a mean like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import FEW_KNOTS
from diffcov.store.checkpoint import load_mean
from oracles.programs import FLOAT, TOLD, TRAINED, Alone, X, exported, scripted

KINDS = {"torchscript": ("mean.pt", scripted), "torch-export": ("mean.pt2", exported)}
Done = Callable[..., Any]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def program(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, write = KINDS[kind]
    return write(tmp_path_factory.mktemp("program") / name, Alone().eval(), X, FLOAT)


def test_it_is_no_mean_without_trust(program: Path, kind: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    message = refused(3, "import", program, "--run", tmp_path / "run", *TOLD)
    assert f"is a program ({kind}:" in message
    assert "nothing was run; if you trust it, say --trust" in message
    assert "give some with --data" in refused(3, "import", program, "--run", tmp_path / "run", "--no-check", "--trust")


def test_trusted_it_is_a_mean_like_any_other(
    program: Path, kind: str, tmp_path: Path, done: Done, refused: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    found = done("import", program, "--run", run, *TOLD, "--trust", "--no-check")
    token = found["program"]
    assert token.startswith(f"{kind}:")
    for words in (("sample", "--steps", 2, "--covariance", "small", "--count", 2), ("estimate-var", *FEW_KNOTS)):
        assert f"say --module {token}" in refused(3, *words, "--run", run)
    module = ("--run", run, "--module", token)
    done("estimate-var", "--samples", 2, *FEW_KNOTS, *module)
    done("fit-var-head", "--kind", "npr", "--kind", "ocm", "--iterations", 1, "--batch-size", 8, *module)
    done("sample", "--steps", 2, "--covariance", "npr", "--count", 3, *module)
    assert done("inspect", *module)["problems"] == []
    mine, original = load_mean(run / "mean.safetensors", token).model, load_mean(TRAINED).model
    for count in (1, 2, 5):
        x = torch.randn(count, 1, 8, 8)
        torch.testing.assert_close(mine.output(x, 17), original.output(x, 17), rtol=1e-5, atol=1e-5)
