"""TorchScript programs as means: nothing is run before it is trusted, and then it is the program that was trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcov.errors import InputError
from diffcov.nets.adapters import ADAPTERS, SCRIPTED
from diffcov.nets.adapters.bytes_of_program import as_weights
from diffcov.nets.adapters.scripted import build
from diffcov.nets.built_by import BuiltBy
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean, read_mean
from diffcov.store.foreign.recognise import read_foreign
from oracles.programs import FLOAT, TRAINED, Alone, X, scripted


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted(tmp_path_factory.mktemp("program") / "mean.pt", Alone().eval(), X, FLOAT)


def test_another_program_is_not_the_one_that_was_trusted(program: Path, tmp_path: Path) -> None:
    """Whoever changes the bytes changes the name that has to be trusted, or is found out when it is loaded."""
    found = read_foreign(program, data=load_mean(TRAINED).model.data)
    weights = {"program": torch.cat([found.weights["program"][:-1], torch.tensor([7], dtype=torch.uint8)])}
    network = found.meaning.network.build()
    network.load_state_dict(weights)
    with pytest.raises(InputError, match="is not the one that was trusted"):
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1))


def test_what_is_no_program_is_said() -> None:
    arguments, weights = as_weights(b"no program")
    network = build(**arguments)
    network.load_state_dict(weights)
    with pytest.raises(InputError, match="no TorchScript program that this torch can load"):
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1))


@pytest.mark.parametrize(
    "builder",
    ["diffcov.named:named", "diffcov.cli.app:main", "diffcov.nets.adapters.lucidrains:LucidUNet", "os:system"],
)
def test_no_file_makes_us_run_a_function_by_naming_it(tmp_path: Path, builder: str) -> None:
    """Being in this package is no reason to be trusted: two builders are, and a file may name anything."""
    spec = BuiltBy(builder, {"path": "this:s"})
    assert spec.program == builder
    honest = read_mean(TRAINED)
    values = artifact.read(TRAINED, "mean")
    path = tmp_path / "mean.safetensors"
    artifact.write(path, "mean", values.tensors, {**values.metadata, "network": spec.as_dict()})
    with pytest.raises(InputError, match=f"is built by {builder}, which is a program"):
        load_mean(path)
    assert honest.program is None


def test_builders_of_published_families_need_no_trust() -> None:
    assert [BuiltBy(builder, {}).program for builder in ADAPTERS] == [None] * len(ADAPTERS)
    assert BuiltBy(SCRIPTED, {"digest": "0123456789abcdef"}).program == "torchscript:0123456789ab"


def test_its_bytes_alone_are_kept(program: Path, tmp_path: Path) -> None:
    """The weights inside of the program are not written beside it, also after it has been called."""
    found = read_foreign(program, data=load_mean(TRAINED).model.data)
    network = found.meaning.network.build()
    network.load_state_dict(found.weights)
    network(torch.zeros(1, 1, 8, 8), torch.zeros(1))
    assert list(network.state_dict()) == ["program"]
