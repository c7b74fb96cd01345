"""Networks that somebody's function builds: named in plain words, and nothing is imported before it is asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from torch import nn

from diffcov.errors import InputError, UsageError
from diffcov.nets.built_by import BuiltBy

CONV = BuiltBy("torch.nn:Conv2d", {"in_channels": 1, "out_channels": 2, "kernel_size": 3})


def test_it_is_what_the_function_makes_of_the_arguments() -> None:
    network = CONV.build()
    assert isinstance(network, nn.Conv2d)
    assert network.weight.shape == (2, 1, 3, 3)
    assert CONV.build() is not network


def test_words_survive_json_and_are_told_apart_from_those_of_a_u_net() -> None:
    words = json.loads(json.dumps(CONV.as_dict()))
    assert BuiltBy.from_dict(words) == CONV
    assert BuiltBy.wrote(words)
    assert not BuiltBy.wrote({"image_channels": 1, "channels": 8})


@pytest.mark.parametrize("name", ["torch.nn", "torch.nn:", ":Conv2d", "", "torch.nn.Conv2d"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^a builder is named package\.module:function, found '{name}'$"):
        BuiltBy(name, {})


@pytest.mark.parametrize("name", ["no_such_module_at_all:make", "torch.nn:NoSuchNetwork"])
def test_what_cannot_be_imported_is_refused_only_when_it_is_built(name: str) -> None:
    named = BuiltBy(name, {})
    with pytest.raises(InputError, match=rf"is built by {name}, and that cannot be imported .*; run from where"):
        named.build()


def test_arguments_that_the_function_does_not_take_are_refused() -> None:
    with pytest.raises(InputError, match=r"^torch\.nn:Conv2d does not take the arguments {'width': 8} .*; give those"):
        BuiltBy("torch.nn:Conv2d", {"width": 8}).build()


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"^json:dumps gives str, and a network is a torch\.nn\.Module$"):
        BuiltBy("json:dumps", {"obj": 1}).build()


def test_naming_a_builder_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module is a program, and whoever builds trusts it."""
    (tmp_path / "somebody_s_nets.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.Identity()\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = BuiltBy.from_dict(BuiltBy("somebody_s_nets:make", {}).as_dict())
    assert "somebody_s_nets" not in sys.modules
    assert isinstance(named.build(), nn.Identity)
    assert sys.modules.pop("somebody_s_nets").make
