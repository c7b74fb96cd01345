"""Artefacts: whole or not at all, open to any safetensors reader, and verified when read."""

from __future__ import annotations

import json
import os
import re
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import diffcov
from diffcov.digest import digest_of_tensors
from diffcov.errors import InputError, NonFiniteError, OutputError
from diffcov.store import artifact

METADATA = {"config": {"a": [1, 2.5, None], "b": "ü"}, "trunk": "abc", "flag": True}


def tensors() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(3, 4, generator=draw),
        "double": torch.randn(5, generator=draw, dtype=torch.float64),
        "half": torch.randn(6, generator=draw).to(torch.bfloat16),
        "scalar": torch.tensor(7),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "truth": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A healthy artefact, alone in its folder."""
    found = tmp_path / "folder" / "mean.safetensors"
    artifact.write(found, "mean", tensors(), METADATA)
    return found


def data_start(path: Path) -> int:
    """Where the header ends and the tensors begin: 8 bytes of length, then the header."""
    return 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]


def test_round_trip(path: Path) -> None:
    found = artifact.read(path, "mean")
    assert found.kind == "mean"
    assert found.metadata == METADATA
    assert found.digest == digest_of_tensors(tensors())
    assert found.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_write_returns_the_digest_and_leaves_one_file(tmp_path: Path) -> None:
    assert artifact.write(tmp_path / "a.safetensors", "mean", tensors(), {}) == digest_of_tensors(tensors())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_any_safetensors_reader_opens_it(path: Path) -> None:
    plain = load_file(path)
    assert all(torch.equal(plain[name], tensor) for name, tensor in tensors().items())
    with safe_open(path, framework="np") as opened:
        header = opened.metadata()
    assert header["format"] == "diffcov"
    assert header["diffcov_version"] == diffcov.__version__
    assert header["kind"] == "mean"
    assert header["digest"] == digest_of_tensors(tensors())
    assert json.loads(header["config"]) == METADATA["config"]


def test_read_header_reads_no_tensor(path: Path) -> None:
    header = artifact.read_header(path)
    assert header["kind"] == "mean"
    assert all(isinstance(value, str) for value in header.values())


def test_tensor_names_are_those_that_were_written(path: Path) -> None:
    """Without reading a tensor: damage in one goes unseen."""
    assert artifact.tensor_names(path) == tensors().keys()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert artifact.tensor_names(path) == tensors().keys()
    path.write_bytes(content[:40])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        artifact.tensor_names(path)


def flip_bit(given: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    changed = {key: value.clone() for key, value in given.items()}
    changed[name].reshape(-1).view(torch.uint8)[-1] ^= 1
    return changed


@pytest.mark.parametrize("name", ["weight", "double", "half", "scalar", "bytes"])
def test_digest_sees_every_bit(name: str) -> None:
    assert digest_of_tensors(flip_bit(tensors(), name)) != digest_of_tensors(tensors())


def test_digest_sees_names_dtypes_and_shapes_but_no_order() -> None:
    given = tensors()
    whole = digest_of_tensors(given)
    assert digest_of_tensors(dict(reversed(given.items()))) == whole
    assert digest_of_tensors({**given, "weight": given["weight"].t().contiguous().t()}) == whole
    changed = [
        {("other" if name == "weight" else name): value for name, value in given.items()},
        {name: value for name, value in given.items() if name != "empty"},
        {**given, "empty": torch.empty(3, 0)},
        {**given, "weight": given["weight"].reshape(4, 3)},
        {**given, "bytes": given["bytes"].to(torch.int8)},
        {**given, "scalar": torch.tensor([7])},
    ]
    assert len({whole, *map(digest_of_tensors, changed)}) == len(changed) + 1


def test_digest_tells_minus_zero_and_nan_payloads_apart() -> None:
    """It is over bytes: values that compare equal (or never do) still have one."""
    zero, nan = {"x": torch.zeros(1)}, {"x": torch.full((1,), torch.nan)}
    assert digest_of_tensors(zero) != digest_of_tensors({"x": -torch.zeros(1)})
    assert digest_of_tensors(nan) == digest_of_tensors({"x": nan["x"].clone()})


def test_tensors_that_share_memory_are_separated(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    given = {"whole": base, "same": base, "part": base[2:6], "turned": base.reshape(3, 4).t()}
    artifact.write(tmp_path / "a.safetensors", "mean", given, {})
    found = artifact.read(tmp_path / "a.safetensors", "mean").tensors
    assert all(torch.equal(found[name], value) for name, value in given.items())


def test_tensors_that_need_gradients_are_detached(tmp_path: Path) -> None:
    artifact.write(tmp_path / "a.safetensors", "mean", {"w": torch.nn.Parameter(torch.ones(2))}, {})
    assert not artifact.read(tmp_path / "a.safetensors", "mean").tensors["w"].requires_grad


# --- what read refuses


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*absent\.safetensors") as caught:
        artifact.read(tmp_path / "absent.safetensors", "mean")
    assert caught.value.exit_code == 3


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        artifact.read(tmp_path, "mean")


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1], ids=["empty", "no length", "no header", "half a header", "a byte"])
def test_truncated(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"mean\.safetensors cannot be read as safetensors.*truncated.*make it again"):
        artifact.read(path, "mean")


def test_something_else_altogether(path: Path) -> None:
    path.write_bytes(b"\x80\x02}q\x00X\x05\x00\x00\x00state" * 30)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        artifact.read(path, "mean")


def test_wrong_kind_names_both(path: Path) -> None:
    with pytest.raises(InputError, match="is a 'mean' file, but a 'head' file is needed"):
        artifact.read(path, "head")


@pytest.mark.parametrize("where", [0, -1], ids=["first byte", "last byte"])
def test_a_flipped_byte_is_damage(path: Path, where: int) -> None:
    content = bytearray(path.read_bytes())
    content[data_start(path) if where == 0 else where] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged: .*make it again or restore a copy"):
        artifact.read(path, "mean")


def test_every_flipped_bit_of_the_file_is_noticed_or_harmless(path: Path) -> None:
    """No flip anywhere gives a traceback, or other tensors than were written."""
    healthy = path.read_bytes()
    for position in range(0, len(healthy), 7):
        content = bytearray(healthy)
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        try:
            found = artifact.read(path, "mean")
        except InputError:
            continue
        assert digest_of_tensors(found.tensors) == digest_of_tensors(tensors())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_non_finite_names_the_tensor(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    artifact.write(path, "mean", {"good": torch.ones(2), "layer.bad": torch.tensor([0, value], dtype=dtype)}, {})
    with pytest.raises(NonFiniteError, match=r"a\.safetensors holds NaN or infinity in layer\.bad") as caught:
        artifact.read(path, "mean")
    assert caught.value.exit_code == 4
    assert artifact.read(path, "mean", finite=False).tensors.keys() == {"good", "layer.bad"}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "diffcov", "format_version": "1"}])
def test_not_written_by_diffcov(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(2)}, path, metadata=metadata)
    with pytest.raises(InputError, match="not one that diffcov wrote"):
        artifact.read(path, "mean")


def test_another_format_version(tmp_path: Path) -> None:
    header = {"format": "diffcov", "format_version": "99", "kind": "mean", "digest": "0"}
    save_file({"w": torch.ones(2)}, tmp_path / "new.safetensors", metadata=header)
    with pytest.raises(InputError, match="has format version 99, this diffcov reads 1; use the version that wrote it"):
        artifact.read(tmp_path / "new.safetensors", "mean")


# --- writing is all or nothing


BIG = {"w": torch.zeros(100_000)}


def test_full_disk_keeps_the_old_file(path: Path, full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    before = path.read_bytes()
    with full_disk(50_000), pytest.raises(OutputError, match=r"could not write .*; nothing was changed") as caught:
        artifact.write(path, "mean", BIG, {})
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_full_disk_leaves_nothing_half_written(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(50_000), pytest.raises(OutputError):
        artifact.write(tmp_path / "new.safetensors", "mean", BIG, {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match="could not write"):
        artifact.write(tmp_path / "run" / "mean.safetensors", "mean", tensors(), {})
    assert (tmp_path / "run").read_text() == "a file"


def test_written_files_have_the_rights_that_the_user_gives_new_files(tmp_path: Path) -> None:
    """A colleague who may read the log may read the weights."""
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("x")
    artifact.write(tmp_path / "a.safetensors", "mean", tensors(), {})
    assert (tmp_path / "a.safetensors").stat().st_mode == ordinary.stat().st_mode


def test_a_write_that_is_killed_leaves_a_name_of_ours_alone(tmp_path: Path) -> None:
    """No library writes beside it under a random name: what is there while the tensors are written is ours alone."""
    path, seen = tmp_path / "a.safetensors", set[str]()

    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.update(one.name for one in tmp_path.iterdir())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        artifact.write(path, "thing", {"x": torch.zeros(500_000)}, {})
    stop.set()
    watcher.join()
    temporary = {
        name for name in seen if re.fullmatch(rf"\.a\.safetensors\.[0-9a-f]{{6}}-{os.getpid()}-\d+\.tmp", name)
    }
    assert seen == {"a.safetensors", *temporary}
    assert temporary


def test_a_changed_header_is_named(tmp_path: Path) -> None:
    """The digest of the tensors says nothing of what stands beside them."""
    path = tmp_path / "w.safetensors"
    artifact.write(path, "head", {"w": torch.ones(2)}, {"samples": 4})
    path.write_bytes(path.read_bytes().replace(b'"samples":"4"', b'"samples":"5"'))
    with pytest.raises(
        InputError, match=r"the header of .* is damaged: its entries do not have the digest that it says"
    ):
        artifact.read_header(path)


def test_a_header_of_before_has_no_digest_of_itself() -> None:
    before = Path(__file__).parents[1] / "assets" / "run-of-before" / "variance.safetensors"
    assert not artifact.is_sealed(artifact.read_header(before))
