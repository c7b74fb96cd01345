"""A mean whose network a function of one's own builds: kept by name and arguments, and never called without trust."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import DiffcovError, InputError, UsageError
from diffcov.nets.built_by import BuiltBy
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean, save_mean

MODULE = "networks_of_theirs"
BUILDER = f"{MODULE}:build"
ARGUMENTS = {"width": 6, "names": ["inner", "out"], "options": {"bias": True, "drop": 0.5}}
DATA = DataDescription(1, 8, 4, levels=17)
SOURCE = '''
import torch
from torch import nn


class Net(nn.Module):
    """A network that knows nothing of diffcov, with batch norm and dropout."""

    def __init__(self, width, names, options):
        super().__init__()
        self.names = names
        self.label = nn.Embedding(3, 1)
        self.inner = nn.Conv2d(1, width, 3, padding=1, bias=options["bias"])
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(options["drop"])
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x, times, labels=None):
        shift = (times / 1000)[:, None, None, None]
        if labels is not None:
            shift = shift + self.label(labels.clamp(min=0))[:, :, None, None] * (labels >= 0)[:, None, None, None]
        h = self.drop(torch.relu(self.norm(self.inner(x + shift))))
        return self.out(h)


def build(width, names, options):
    return Net(width, names, options)


def number():
    return 7


def broken(**arguments):
    raise RuntimeError("their own fault")


constant = 7
'''


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MeanModel]]:
    """``theirs(predicts="v", ...)``: a trained network of somebody's; its module can be imported, and is not yet."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(folder)

    def make(**more: Any) -> MeanModel:
        names: dict[str, Any] = {}
        exec(SOURCE, names)
        torch.manual_seed(0)
        network = names["build"](**ARGUMENTS)
        with torch.no_grad():
            for value in network.state_dict().values():
                if value.is_floating_point():
                    value.uniform_(0.1, 0.9)
        given = {"predicts": "v", "schedule": NoiseSchedule.cosine(40), "data": DATA, "time": TimeConvention(0.0, 25.0)}
        return MeanModel.of(network, **{**given, **more})

    yield make
    sys.modules.pop(MODULE, None)


def kept(path: Path, model: MeanModel, builder: str = BUILDER, arguments: dict[str, Any] | None = None) -> MeanSpec:
    spec = MeanSpec.of(model, builder, ARGUMENTS if arguments is None else arguments)
    save_mean(path, model.network, spec)
    return spec


def sentence(error: type[DiffcovError], path: Path, trusted: str | None) -> str:
    """What loading is refused with: one line."""
    with pytest.raises(error) as caught:
        load_mean(path, trusted)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_same_looks(found: MeanModel, expected: MeanModel, cond: torch.Tensor | None = None) -> None:
    x_t, t = torch.randn(3, *DATA.shape), torch.tensor([1, 20, 40])
    mine, theirs = found.look(x_t, t, cond), expected.look(x_t, t, cond)
    for a, b in zip((mine.x0_hat, mine.eps_hat, *mine.features), (theirs.x0_hat, theirs.eps_hat, *theirs.features),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


def digest_with_arguments(model: MeanModel) -> str:
    """The digest of a model whose network is known to have been built with the arguments."""
    told = MeanModel(model.network, model.reading, model.tapped_at, decides={"arguments": ARGUMENTS})
    return told.freeze().digest


# --- what is kept


def test_the_file_holds_name_and_arguments_and_no_code(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    model = theirs()
    kept(path := tmp_path / "mean.safetensors", model)
    found = artifact.read(path, "mean")
    assert found.metadata["network"] == {"builder": BUILDER, "arguments": ARGUMENTS}
    assert found.tensors.keys() == model.network.state_dict().keys()
    assert MODULE not in sys.modules, "saving imports nothing"


@pytest.mark.parametrize("features", [None, "inner", "norm", "out"])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_round_trip_looks_the_same_to_the_bit(
    theirs: Callable[..., MeanModel], tmp_path: Path, predicts: str, features: str | None
) -> None:
    """The running averages of batch norms too: to try a submodule out changes nothing."""
    model = theirs(predicts=predicts, features=features)
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    spec = kept(path := tmp_path / "mean.safetensors", model)
    found = load_mean(path, trusted=BUILDER)
    assert found.spec == spec
    assert found.spec.network == BuiltBy(BUILDER, ARGUMENTS)
    assert found.spec.reading == model.reading
    assert found.model.network.names == ["inner", "out"]
    assert found.model.tapped_at == features
    assert found.digest == digest_with_arguments(model)
    assert all(torch.equal(value, weights[name]) for name, value in found.model.network.state_dict().items())
    assert_same_looks(found.model, model)
    assert not any(module.training for module in found.model.modules())
    assert not any(parameter.requires_grad for parameter in found.model.parameters())
    assert (found.training, found.data, found.settings) == ({}, None, {})


def test_other_arguments_make_another_mean_of_the_same_weights(
    theirs: Callable[..., MeanModel], tmp_path: Path
) -> None:
    digests = set()
    for drop in (0.5, 0.25):
        path = tmp_path / f"{drop}.safetensors"
        kept(path, theirs(), arguments={**ARGUMENTS, "options": {"bias": True, "drop": drop}})
        digests.add(load_mean(path, trusted=BUILDER).digest)
    assert len(digests) == 2


def test_weights_in_float64_stay_so(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    model = theirs()
    model.double().freeze()
    kept(path := tmp_path / "mean.safetensors", model)
    found = load_mean(path, trusted=BUILDER)
    assert found.model.precision == "fp64"
    assert found.digest == digest_with_arguments(model)


@pytest.mark.parametrize("needs_labels", [False, True])
def test_classes_survive(theirs: Callable[..., MeanModel], tmp_path: Path, needs_labels: bool) -> None:
    model = theirs(classes=3, needs_labels=needs_labels, features="norm")
    kept(path := tmp_path / "mean.safetensors", model)
    found = load_mean(path, trusted=BUILDER).model
    assert (found.classes, found.needs_labels) == (3, needs_labels)
    assert found.digest == digest_with_arguments(model)
    assert_same_looks(found, model, torch.tensor([2, 0, 1 if needs_labels else -1]))


def test_the_precision_inside_survives(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    model = theirs()
    model.autocast = PRECISIONS["bf16"]
    kept(path := tmp_path / "mean.safetensors", model)
    found = load_mean(path, trusted=BUILDER).model
    assert found.precision == "bf16"
    assert_same_looks(found, model)


# --- what is refused


def test_without_trust_nothing_is_imported(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs())
    assert sentence(InputError, path, None) == (
        f"the network in {path} is built by {BUILDER}, which is a program; if you trust it, say --module {BUILDER}"
    )
    assert MODULE not in sys.modules


@pytest.mark.parametrize("trusted", [f"{MODULE}:number", "torch.nn:Linear", "os:system", MODULE, f"{BUILDER} ", ""])
def test_trust_is_in_one_name_to_the_letter(theirs: Callable[..., MeanModel], tmp_path: Path, trusted: str) -> None:
    """A function of the same module is another one."""
    kept(path := tmp_path / "mean.safetensors", theirs())
    message = sentence(InputError, path, trusted)
    assert message == f"--module {trusted} was given, and the mean in {path} is built by {BUILDER}"
    assert MODULE not in sys.modules


def test_trust_where_none_is_needed(theirs: Callable[..., MeanModel], tmp_path: Path, trained: Path) -> None:
    path = trained / "mean.safetensors"
    message = sentence(InputError, path, BUILDER)
    assert message == f"--module {BUILDER} was given, and the mean in {path} needs no module: its network is ours"
    assert MODULE not in sys.modules


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        ("no_such_module_anywhere:build", "No module named 'no_such_module_anywhere'"),
        (f"{MODULE}.inside:build", f"No module named '{MODULE}.inside'; '{MODULE}' is not a package"),
        (f"{MODULE}:absent", f"module '{MODULE}' has no attribute 'absent'"),
    ],
    ids=["a module", "a module inside", "a function"],
)
def test_what_cannot_be_imported(theirs: Callable[..., MeanModel], tmp_path: Path, builder: str, reason: str) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs(), builder)
    assert sentence(InputError, path, builder) == (
        f"the network of this mean is built by {builder}, and that cannot be imported ({reason}); run from where the "
        "package is, or install it"
    )


def test_a_module_that_lacks_what_it_imports_itself(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs())
    (tmp_path / "code" / f"{MODULE}.py").write_text("import a_library_that_is_not_here\n" + SOURCE)
    message = sentence(InputError, path, BUILDER)
    assert "cannot be imported (No module named 'a_library_that_is_not_here')" in message


@pytest.mark.parametrize(("function", "given"), [("number", "int"), ("constant", None)])
def test_a_function_that_gives_no_network(
    theirs: Callable[..., MeanModel], tmp_path: Path, function: str, given: str | None
) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs(), f"{MODULE}:{function}", {})
    message = sentence(InputError, path, f"{MODULE}:{function}")
    if given is None:
        assert message == f"{MODULE}:{function} is int, and a network is built by a function"
    else:
        assert message == f"{MODULE}:{function} gives {given}, and a network is a torch.nn.Module"


@pytest.mark.parametrize(
    "arguments", [{}, {"width": 6}, {**ARGUMENTS, "depth": 2}], ids=["none", "too few", "too many"]
)
def test_arguments_that_the_function_does_not_take(
    theirs: Callable[..., MeanModel], tmp_path: Path, arguments: dict[str, Any]
) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs(), arguments=arguments)
    message = sentence(InputError, path, BUILDER)
    assert message.startswith(f"{BUILDER} does not take the arguments {arguments} (")
    assert message.endswith("; give those that the network was built with")


def test_arguments_of_another_network(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs(), arguments={**ARGUMENTS, "width": 7})
    message = sentence(InputError, path, BUILDER)
    assert message.startswith(f"the weights in {path} do not fit their own configuration: ")
    assert "size mismatch for inner.weight" in message


def test_a_fault_of_the_function_s_own_is_not_hidden(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs(), f"{MODULE}:broken")
    with pytest.raises(RuntimeError, match="their own fault"):
        load_mean(path, f"{MODULE}:broken")


def test_a_submodule_that_is_gone(theirs: Callable[..., MeanModel], tmp_path: Path) -> None:
    model = theirs(features="norm")
    save_mean(path := tmp_path / "mean.safetensors", model.network, replace(kept(path, model), features="blocks.3"))
    message = sentence(InputError, path, BUILDER)
    assert message == "the network has no submodule 'blocks.3'; it has label, inner, norm, drop, out"


NAMELESS = ["build", f"{MODULE}:", ":build", ""]


@pytest.mark.parametrize("name", NAMELESS)
def test_names_of_another_form(theirs: Callable[..., MeanModel], tmp_path: Path, name: str) -> None:
    """Refused before saving, and in a file that says so all the same."""
    model = theirs()
    with pytest.raises(UsageError, match=r"a builder is named package\.module:function, found"):
        MeanSpec.of(model, name, ARGUMENTS)
    kept(path := tmp_path / "mean.safetensors", model)
    found = artifact.read(path, "mean")
    network = {"builder": name, "arguments": ARGUMENTS}
    artifact.write(path, "mean", found.tensors, {**found.metadata, "network": network})
    message = sentence(InputError, path, name)
    assert f"{path} lacks what this diffcov needs (a builder is named package.module:function" in message


@pytest.mark.parametrize(
    "network", [{"builder": BUILDER}, {"builder": BUILDER, "arguments": {}, "code": "x"}, {"arguments": ARGUMENTS}],
    ids=["no arguments", "something more", "no builder"],
)  # fmt: skip
def test_headers_that_name_no_network(
    theirs: Callable[..., MeanModel], tmp_path: Path, network: dict[str, object]
) -> None:
    kept(path := tmp_path / "mean.safetensors", theirs())
    found = artifact.read(path, "mean")
    artifact.write(path, "mean", found.tensors, {**found.metadata, "network": network})
    assert f"{path} lacks what this diffcov needs (" in sentence(InputError, path, BUILDER)
    assert MODULE not in sys.modules
