"""Programs of torch.export as means: recognised, run when trusted, and refused with what is wrong with them."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcov.errors import InputError
from diffcov.nets.adapters import EXPORTED
from diffcov.nets.adapters.bytes_of_program import as_weights
from diffcov.nets.adapters.exported import build
from diffcov.nets.programs import load_exported
from diffcov.store.foreign.programs import builder_of_program
from oracles.programs import FLOAT, TOLD, Alone, X, exported, scripted

CPU = torch.device("cpu")
Done = Callable[..., Any]


class Small(nn.Module):
    """A network of a moment: a convolution, and the time as a number."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(1, 1, 3, padding=1), nn.Dropout(dropout)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        out: Tensor = self.drop(self.conv(x)) + 0.001 * times[:, None, None, None]
        return out


class Indexed(nn.Module):
    """A network that looks its times up, and so takes whole ones."""

    def __init__(self) -> None:
        super().__init__()
        self.by_time = nn.Embedding(50, 1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        out: Tensor = x * self.by_time(times)[:, :, None, None]
        return out


class Bare(nn.Module):
    """Images and no times."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


WHOLE = torch.tensor([3, 40])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("program") / "mean.pt2", Alone().eval(), X, FLOAT)


def test_it_is_known_by_its_zip(program: Path, tmp_path: Path) -> None:
    assert builder_of_program(program) == EXPORTED
    before = tmp_path / "before-2.7.pt2"
    with zipfile.ZipFile(before, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert builder_of_program(before) == EXPORTED


@pytest.mark.slow
def test_the_check_runs_it(program: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    """It was trained on betas that are 20 times as large: read with those of a thousand steps it is found out."""
    words = ("import", program, "--run", tmp_path / "run", *TOLD, "--trust")
    assert "read as said above, has 0.909 times the error of a Gaussian" in refused(3, *words)


@pytest.mark.parametrize(
    ("module", "inputs", "batch", "message"),
    [
        (Small(), (X[:1], FLOAT[:1]), False, "exported for batches of 1 alone; export it with a dynamic batch"),
        (Small(), (X, FLOAT), False, "exported for batches of 2 alone"),
        (Bare(), (X,), True, "takes ((s"),
        (Small().eval(), (FLOAT[:, None, None, None], FLOAT), True, "images (1, 1, 1), and these are (1, 8, 8)"),
        (Small(0.5).train(), (X, FLOAT), True, "was exported as for training (aten.dropout.default); call .eval()"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_said(
    tmp_path: Path, refused: Callable[..., str], module: nn.Module, inputs: Any, batch: bool, message: str
) -> None:
    path = exported(tmp_path / "mean.pt2", module, *inputs, batch=batch)
    words = ("import", path, "--run", tmp_path / "run", *TOLD, "--trust", "--no-check")
    assert message in refused(3, *words)


def test_a_program_of_another_kind_of_output_is_named(tmp_path: Path, refused: Callable[..., str]) -> None:
    """The same trial for TorchScript, of which a fixed number of images cannot be read either."""
    words = (
        "import",
        scripted(tmp_path / "bare.pt", Bare(), X),
        "--run",
        tmp_path / "run",
        *TOLD,
        "--trust",
        "--no-check",
    )
    message = refused(3, *words)
    assert "bare.pt was tried with x (2, 1, 8, 8) and times (2,), and raised RuntimeError" in message


def test_whole_times_are_told_to_who_takes_them(tmp_path: Path) -> None:
    module = Indexed()
    network = load_exported(exported(tmp_path / "mean.pt2", module, X, WHOLE).read_bytes(), CPU)
    torch.testing.assert_close(network(X, torch.tensor([49.0, 0.0])), module(X, torch.tensor([49, 0])))
    with pytest.raises(InputError, match=r"takes whole times, and was told 19\.98; choose another --time-offset"):
        network(X, torch.tensor([19.98, 3.0]))


def test_it_moves_to_another_device(program: Path) -> None:
    """The one that every machine has beside the CPU: it computes shapes alone, and mixes with no other."""
    meta = torch.device("meta")
    network = load_exported(program.read_bytes(), meta)
    found = network(X.to(meta), FLOAT.to(meta))
    assert (found.device, found.shape) == (meta, X.shape)


def test_an_older_torch_cannot_move_it(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.export.passes", None)
    with pytest.raises(InputError, match=r"cannot move an exported program to meta .*; compute with --device cpu"):
        load_exported(program.read_bytes(), torch.device("meta"))


def test_gradients_pass_through_and_weights_stay(program: Path) -> None:
    network = load_exported(program.read_bytes(), CPU)
    x = X.clone().requires_grad_()
    network(x, FLOAT).sum().backward()
    assert float(x.grad.abs().sum()) > 0  # type: ignore[union-attr]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_what_is_no_program_is_said() -> None:
    arguments, weights = as_weights(b"no program")
    network = build(**arguments)
    network.load_state_dict(weights)
    with pytest.raises(InputError, match="it is no exported program that this torch can load"):
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1))


def test_its_bytes_alone_are_kept(program: Path) -> None:
    arguments, weights = as_weights(program.read_bytes())
    network = build(**arguments)
    network.load_state_dict(weights)
    network(X, FLOAT)
    assert list(network.state_dict()) == ["program"]
