"""Parts of work: they are read under the identity they were measured with, and refused under others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.errors import InputError, OutputError
from diffcov.store import artifact
from diffcov.store.parts import Part, PartsFolder

IMAGES: dict[str, Any] = {"digest": "ab" * 32, "split": "test", "count": 9}
OTHER_FIT = {"head-npr.safetensors": "12" * 32}
IDENTITY = {
    "version": 5,
    "seed": 0,
    "times": (1, 50),
    "images": IMAGES,
    "covariance": {"name": "npr", "made_of": {"head-npr.safetensors": "11" * 32}},
    "classes": None,
}
PART = Part({"norms": torch.tensor([0.5, torch.inf], dtype=torch.float64)}, {"fid": 1.5, "kid": None, "steps": [1, 2]})


@pytest.fixture
def folder(tmp_path: Path) -> PartsFolder:
    made = PartsFolder(tmp_path / "compare", force=False)
    made.save_part("small-ddpm-even2", IDENTITY, PART)
    return made


def test_a_part_is_what_was_written(folder: PartsFolder) -> None:
    found = folder.part("small-ddpm-even2", IDENTITY)
    assert found is not None
    assert found.values == PART.values
    assert torch.equal(found.tensors["norms"], PART.tensors["norms"])
    assert [path.name for path in (folder.path / "parts").iterdir()] == ["small-ddpm-even2.safetensors"]


def test_none_where_nothing_was_measured(folder: PartsFolder, tmp_path: Path) -> None:
    assert folder.part("small-ddpm-even5", IDENTITY) is None
    assert PartsFolder(tmp_path / "absent", force=False).part("small-ddpm-even2", IDENTITY) is None
    assert not (tmp_path / "absent").exists(), "asking makes no folder"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, "measured with another seed (0 -> 1)"),
        ({"times": [1, 49]}, "measured with another times ([1, 50] -> [1, 49])"),
        ({"images": {**IMAGES, "digest": "cd" * 32}}, "was measured with other images;"),
        ({"images": {**IMAGES, "digest": "cd" * 32, "count": 8}}, "another count of the images (9 -> 8)"),
        ({"covariance": {"name": "npr", "made_of": OTHER_FIT}}, "another fit of the covariance"),
        ({"covariance": {"name": "npr", "made_of": {}}}, "another fit of the covariance"),
        ({"count": 70}, "another count (None -> 70)"),
        ({"classes": {"name": "balanced", "classes": [0, 1]}}, "another classes (None -> [0, 1])"),
        ({"version": 6}, "measured by another version of diffcov"),
        ({"version": 6, "seed": 1}, "measured by another version of diffcov"),
    ],
    ids=["seed", "times", "images", "fewer images", "fit", "no fit", "a new one", "classes", "version", "and seed"],
)
def test_another_identity(folder: PartsFolder, changed: dict[str, Any], words: str) -> None:
    now = {**IDENTITY, **changed}
    with pytest.raises(OutputError) as caught:
        folder.part("small-ddpm-even2", now)
    message = str(caught.value)
    assert words in message
    assert str(folder.path / "parts" / "small-ddpm-even2.safetensors") in message
    assert "--force" in message
    forced = PartsFolder(folder.path, force=True)
    assert forced.part("small-ddpm-even2", now) is None, "to be measured again"
    assert forced.part("small-ddpm-even2", IDENTITY) is not None, "force is for what differs"


def test_something_that_is_gone(folder: PartsFolder) -> None:
    now = {key: value for key, value in IDENTITY.items() if key != "seed"}
    with pytest.raises(OutputError, match=r"another seed \(0 -> None\)"):
        folder.part("small-ddpm-even2", now)


@pytest.mark.parametrize("force", [False, True])
def test_parts_of_the_version_before_are_measured_again(folder: PartsFolder, force: bool) -> None:
    """They tell settings and no identity; that it is the version, and no setting, is what the refusal says."""
    path = folder.path / "parts" / "small-ddpm-even2.safetensors"
    artifact.write(path, "comparison-part", PART.tensors, {"settings": {"seed": 0, "measured": 2}, "values": {}})
    if force:
        assert PartsFolder(folder.path, force=True).part("small-ddpm-even2", IDENTITY) is None
        return
    with pytest.raises(OutputError) as caught:
        folder.part("small-ddpm-even2", IDENTITY)
    assert str(caught.value) == (
        f"{path} was measured by another version of diffcov; use --force to measure it again, or another --out"
    )


@pytest.mark.parametrize("changed", [{"more": None}, {"more": {}}], ids=["nothing", "no entries"])
def test_an_identity_with_an_empty_entry_more(folder: PartsFolder, changed: dict[str, Any]) -> None:
    with pytest.raises(OutputError, match="measured by another version of diffcov"):
        folder.part("small-ddpm-even2", {**IDENTITY, **changed})


def test_a_replaced_part_is_the_new_one(folder: PartsFolder) -> None:
    now = {**IDENTITY, "seed": 1}
    folder.save_part("small-ddpm-even2", now, Part({"norms": torch.zeros(1)}, {"fid": 2.5}))
    found = folder.part("small-ddpm-even2", now)
    assert found is not None
    assert found.values == {"fid": 2.5}
    with pytest.raises(OutputError):
        folder.part("small-ddpm-even2", IDENTITY)


def test_damage(folder: PartsFolder) -> None:
    path = folder.path / "parts" / "small-ddpm-even2.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="small-ddpm-even2"):
        folder.part("small-ddpm-even2", IDENTITY)
    artifact.write(path, "comparison-part", {"norms": torch.zeros(1)}, {"identity": {}})
    with pytest.raises(InputError, match=r"lacks what this diffcov needs .*values"):
        folder.part("small-ddpm-even2", IDENTITY)
    artifact.write(path, "head", {"norms": torch.zeros(1)}, {"identity": {}, "values": {}})
    with pytest.raises(InputError, match="is a 'head' file"):
        folder.part("small-ddpm-even2", IDENTITY)


def test_a_full_disk_keeps_the_earlier_part(folder: PartsFolder, full_disk: Any) -> None:
    with full_disk(100), pytest.raises(OutputError, match="could not write"):
        folder.save_part("small-ddpm-even2", {**IDENTITY, "seed": 1}, PART)
    assert folder.part("small-ddpm-even2", IDENTITY) is not None
    assert len(list((folder.path / "parts").iterdir())) == 1
