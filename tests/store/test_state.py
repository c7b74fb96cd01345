"""The state of a training, and whether a wish to resume it fits what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffcov.errors import InputError, UsageError
from diffcov.store import artifact
from diffcov.store.state import StateProgress, load_state, read_progress, resumed_settings, save_state

STORED = {"lr": 1e-4, "batch_size": 8, "channels": 32, "multipliers": [1, 2], "data": "digits", "limit": None}
DONE = StateProgress(iteration=12, finished=False, iterations=20, minutes=1.5, data_digest="abc")
FIXED = {"channels", "data", "limit", "multipliers"}


def resumed(wanted: dict[str, object], override: list[str] | None = None) -> dict[str, object]:
    return resumed_settings(STORED, wanted, override or [], FIXED)


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"model.w": torch.randn(3), "iteration": torch.tensor(12), "seconds": torch.tensor(0.1).double()}
    save_state(tmp_path / "state" / "mean.safetensors", tensors, STORED, DONE)
    found, settings, progress = load_state(tmp_path / "state" / "mean.safetensors")
    assert settings == STORED
    assert progress == DONE
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("done", [DONE, StateProgress(0, True, None, None, "")])
def test_progress_is_read_from_the_header_alone(tmp_path: Path, done: StateProgress) -> None:
    """What the tensors hold is not looked at: a state that is damaged there still says how far it was."""
    save_state(path := tmp_path / "mean.safetensors", {"model.w": torch.ones(3)}, STORED, done)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert read_progress(path) == (STORED, done)
    with pytest.raises(InputError, match="is damaged"):
        load_state(path)


@pytest.mark.parametrize("read", [load_state, read_progress])
def test_no_such_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"no such file: .*mean\.safetensors"):
        read(tmp_path / "state" / "mean.safetensors")


@pytest.mark.parametrize("read", [load_state, read_progress])
@pytest.mark.parametrize(
    "metadata",
    [
        {"progress": vars(DONE)},
        {"settings": STORED},
        {"settings": STORED, "progress": {"iteration": 12}},
        {"settings": STORED, "progress": {**vars(DONE), "mood": "good"}},
        {"settings": 3, "progress": vars(DONE)},
    ],
    ids=["no settings", "no progress", "too little", "too much", "settings that are none"],
)
def test_headers_that_describe_no_state(
    tmp_path: Path, metadata: dict[str, object], read: Callable[[Path], object]
) -> None:
    artifact.write(tmp_path / "a.safetensors", "state", {"w": torch.ones(1)}, metadata)
    with pytest.raises(InputError, match=r".*a\.safetensors lacks what this diffcov needs"):
        read(tmp_path / "a.safetensors")


def test_an_artefact_of_another_kind(tmp_path: Path) -> None:
    artifact.write(tmp_path / "a.safetensors", "mean", {"w": torch.ones(1)}, {})
    with pytest.raises(InputError, match="is a 'mean' file, but a 'state' file is needed"):
        load_state(tmp_path / "a.safetensors")


def test_nothing_asked_changes_nothing() -> None:
    assert resumed({}) == STORED


def test_the_same_again_changes_nothing() -> None:
    assert resumed(dict(STORED)) == STORED


def test_a_change_is_refused_with_old_and_new_and_the_way_to_mean_it() -> None:
    with pytest.raises(UsageError, match=r"lr 0\.0001 -> 0\.0002; leave it out, or accept it with --override lr"):
        resumed({"lr": 2e-4})
    with pytest.raises(UsageError, match=r"batch-size 8 -> 16; .* --override batch-size"):
        resumed({"batch_size": 16})


def test_a_named_change_is_made() -> None:
    assert resumed({"lr": 2e-4, "batch_size": 8}, ["lr"]) == {**STORED, "lr": 2e-4}


def test_a_name_without_a_change_is_no_harm() -> None:
    assert resumed({}, ["lr"]) == STORED


def test_one_named_change_does_not_cover_another() -> None:
    with pytest.raises(UsageError, match="batch-size 8 -> 16"):
        resumed({"lr": 2e-4, "batch_size": 16}, ["lr"])


@pytest.mark.parametrize(
    ("wanted", "change"), [({"channels": 64}, "channels 32 -> 64"), ({"limit": 5}, "limit None -> 5")]
)
def test_shapes_cannot_change_even_if_named(wanted: dict[str, object], change: str) -> None:
    remedy = "leave the option out, or train another model in another --run"
    for override in ([], list(wanted)):
        with pytest.raises(UsageError, match=f"cannot change its {change}; {remedy}"):
            resumed(wanted, override)


def test_an_override_of_nothing_known_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="--override momentum: no such setting; there are batch_size, channels"):
        resumed({}, ["momentum"])
