"""Checkpoints of strangers: what torch wrote is read to the bit, and nothing in a hostile one is ever run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diffcov.errors import InputError
from diffcov.nets.adapters import SCRIPTED
from diffcov.store.foreign.opcodes import shown
from diffcov.store.foreign.pickles import Record
from diffcov.store.foreign.programs import builder_of_program
from diffcov.store.foreign.stored import TensorRecord, tensors_of
from diffcov.store.foreign.torch_files import read_torch_file
from diffcov.store.foreign.weights import read_weights

MARK = "was-run"


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.folder / MARK}",)


class Nested:
    """Bytes that torch itself would load again."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.content,)


def saved(value: Any, path: Path, old: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    return path


def written(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


# --- what torch wrote


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_tensors_are_read_to_the_bit(tmp_path: Path, old: bool, dtype: torch.dtype) -> None:
    base = torch.randn(6, 4).to(dtype)
    state = {
        "plain": base,
        "view": base[1:3],
        "turned": base.t(),
        "empty": base[:0],
        "number": torch.tensor(3).to(dtype),
    }
    found = tensors_of(read_torch_file(saved(state, tmp_path / "a.pt", old)))
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_a_training_checkpoint_is_read_with_everything_around_it(tmp_path: Path, old: bool) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.randn(2, 2, 5, 5)).sum().backward()
    optimizer.step()
    whole = {
        "model": module.state_dict(), "opt": optimizer.state_dict(), "step": 7, "name": "x", "rate": 1e-3,
        "list": [1, (2, None)], "parameters": list(module.parameters()), "numpy": np.float64(0.5), "set": {1, 2},
        "array": np.arange(6.0).reshape(2, 3), "shape": torch.Size([2, 3]), "dtype": torch.float16,
    }  # fmt: skip
    found = read_torch_file(saved(whole, tmp_path / "a.pt", old))
    assert (found["step"], found["name"], found["rate"], found["list"]) == (7, "x", 1e-3, [1, (2, None)])
    assert (found["numpy"], found["set"], found["shape"]) == (0.5, {1, 2}, (2, 3))
    state = tensors_of(found["model"])
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())
    assert all(isinstance(one, TensorRecord) for one in found["parameters"])
    assert torch.equal(found["parameters"][0].load(), module[0].weight)


def test_classes_of_nobody_s_become_records(tmp_path: Path) -> None:
    """A namespace of options, and modules of torch, are kept as what they are made of."""
    from argparse import Namespace

    found = read_torch_file(saved({"args": Namespace(lr=0.5, name="a"), "net": nn.Linear(2, 1)}, tmp_path / "a.pt"))
    assert isinstance(found["args"], Record)
    assert (found["args"].path, found["args"].state) == ("argparse.Namespace", {"lr": 0.5, "name": "a"})
    assert found["net"].path == "torch.nn.modules.linear.Linear"
    assert set(found["net"].state["_parameters"]) == {"weight", "bias"}


def test_a_file_within_a_file_is_read(tmp_path: Path) -> None:
    inner = io.BytesIO()
    torch.save({"w": torch.arange(3.0)}, inner, _use_new_zipfile_serialization=False)
    found = read_torch_file(written(pickle.dumps({"net": Nested(inner.getvalue())}), tmp_path / "a.pkl"))
    assert torch.equal(tensors_of(found["net"])["w"], torch.arange(3.0))


def test_the_strangers_weights() -> None:
    path = Path(__file__).parents[4] / "shared" / "data" / "foreign" / "ddpm_mnist.pt"
    if not path.is_file():
        pytest.skip("the strangers' file is not here")
    mine, theirs = read_weights(path), torch.load(path, weights_only=True, map_location="cpu")
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_programs_are_told_from_checkpoints(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(nn.Linear(2, 1), torch.zeros(1, 2)), tmp_path / "program.pt")
    assert builder_of_program(tmp_path / "program.pt") == SCRIPTED
    assert builder_of_program(saved({"a": torch.zeros(1)}, tmp_path / "weights.pt")) is None
    assert builder_of_program(written(b"nothing", tmp_path / "nothing.pt")) is None


# --- what would do harm


def reducing(name: str, *arguments: str) -> bytes:
    """A pickle that calls ``module name`` with texts, as protocol 0 writes it."""
    module, _, function = name.rpartition(".")
    told = "".join(f"V{one}\n" for one in arguments)
    return f"c{module}\n{function}\n({told}tR.".encode()


def touching(folder: Path) -> bytes:
    return reducing("os.system", f"touch {folder / MARK}")


def in_a_zip(content: bytes, compress: bool = False, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", content)
        for name, data in members.items():
            archive.writestr(f"a/data/{name.removeprefix('_')}", data)
    return out.getvalue()


def tensor_pickle(numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A state dictionary of one float32 tensor with the sizes that are said."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(value, Storage) else None

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, OrderedDict())

    out = io.BytesIO()
    Pickler(out, 2).dump({"w": Tensor()})
    return out.getvalue()


def doubled(times: int, twice: bytes = b"(g%d\ng%d\nt") -> bytes:
    """(x, x) of x = (y, y) of y, and so on: few bytes, and 2^times leaves for whoever walks through it."""
    if twice.startswith(b"("):
        return b"N" + b"".join(b"p%d\n0" % n + twice % (n, n) for n in range(times))
    return b"Np0\n0" + b"".join(twice % (n + 1, n, n) + b"0" for n in range(times)) + b"g%d\n" % times


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda folder: touching(folder),
    "eval": lambda folder: reducing("builtins.eval", f"open('{folder / MARK}','w')"),
    "exec of Python 2": lambda folder: reducing("__builtin__.exec", f"open('{folder / MARK}','w')"),
    "getattr": lambda folder: reducing("builtins.getattr", "os", "system"),
    "runpy": lambda folder: reducing("runpy.run_path", str(folder / "x.py")),
    "torch.load": lambda folder: reducing("torch.load", str(folder / "x.pt")),
    "import of a module": lambda folder: reducing("this.s"),
    "numpy.load": lambda folder: reducing("numpy.load", str(folder / "x.npy")),
    "a class of torch that runs": lambda folder: reducing("torch.jit.load", str(folder / "x.pt")),
    "in a zip": lambda folder: in_a_zip(touching(folder)),
    "in an old file": lambda folder: (
        pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickle.dumps({}) + touching(folder)
    ),
    "within a tensor": lambda folder: pickle.dumps(Nested(touching(folder))),
    "as a persistent name": lambda folder: b"\x80\x02" + touching(folder)[:-1] + b"Q.",
    "by build": lambda folder: b"ccollections\nOrderedDict\n)R(dVa\n" + touching(folder)[:-1] + b"sb.",
    "a memo of 2^31": lambda folder: b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b".",
    "a memo of 2^31 in words": lambda folder: b"Np2147483647\n.",
    "10 GB of bytes": lambda folder: b"\x80\x05\x96" + struct.pack("<Q", 10**10) + b".",
    "10 GB of text": lambda folder: b"\x80\x04\x8d" + struct.pack("<Q", 10**10) + b".",
    "a frame of 10 GB": lambda folder: b"\x80\x04\x95" + struct.pack("<Q", 10**10) + b"N.",
    "10 GB of bytearray": lambda folder: reducing("builtins.bytearray", "9"),
    "a storage of 10 GB": lambda folder: in_a_zip(tensor_pickle(10**10, (10**10,), (1,)), _0=b"\0" * 16),
    "a storage that is not there": lambda folder: in_a_zip(tensor_pickle(4, (4,), (1,))),
    "a zip bomb": lambda folder: in_a_zip(b"\x80\x02}.", compress=True, _0=b"\0" * 10**8),
    "a zip without data": lambda folder: in_a_zip(b"N.").replace(b"data.pkl", b"dato.pkl"),
    "cut off": lambda folder: pickle.dumps({"a": 1})[:-3],
    "no pickle": lambda folder: b"GIF89a and so on",
    "nothing": lambda folder: b"",
    "a pointer": lambda folder: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "nested a million deep": lambda folder: b"(" * 10**6 + b".",
    "lists ten thousand deep": lambda folder: b"]" * 10**4 + b"a" * (10**4 - 1) + b".",
    "a key of tuples a hundred thousand deep": lambda folder: b"}N" + b"\x85" * 10**5 + b"Ns.",
    "a key that holds itself twice, sixty times over": lambda folder: b"}" + doubled(60) + b"Ns.",
    "a set of it": lambda folder: b"cbuiltins\nset\n(](" + doubled(60) + b"etR.",
    "the same by dup": lambda folder: b"}N" + b"2\x86" * 60 + b"Ns.",
    "a heavy key, often": lambda folder: b"}" + doubled(20) + b"p99\nNs" + b"g99\nNs" * 1000 + b".",
    "a list for another, sixty times over": lambda folder: doubled(60, b"]p%d\n(g%d\ng%d\ne") + b".",
    "fewer on the stack than are taken": lambda folder: b"N\x87.",
    "a mark where an object should be": lambda folder: b"(\x85.",
    "a memory of nothing": lambda folder: b"p0\n.",
    "a memory that is not there": lambda folder: b"g7\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_run(tmp_path: Path, name: str) -> None:
    path = written(HOSTILE[name](tmp_path), tmp_path / "a.pt")
    with pytest.raises(InputError) as refusal:
        read_torch_file(path)
    assert str(path) in str(refusal.value)
    assert not (tmp_path / MARK).exists()


def test_it_says_what_wanted_to_be_called(tmp_path: Path) -> None:
    path = saved({"a": Runs(tmp_path)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt wants to call posix\.system: .* nothing was run"):
        read_torch_file(path)
    assert not (tmp_path / MARK).exists()
    with pytest.raises(InputError, match="Git-LFS pointer, not the file itself; fetch it with git lfs pull"):
        read_torch_file(written(HOSTILE["a pointer"](tmp_path), tmp_path / "b.pt"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lists ten thousand deep", "it holds things within things, 1000 deep, as no checkpoint does; fetch it again"),
        ("the same by dup", "it repeats itself so often that it holds more than 10,000,000 things, as no checkpoint"),
        ("a mark where an object should be", "cannot be read (ValueError: a mark lies where an object should be)"),
        ("a memory of nothing", "cannot be read (ValueError: nothing is on its stack)"),
    ],
)
def test_what_is_endless_or_damaged_is_told_apart_from_what_runs(tmp_path: Path, name: str, words: str) -> None:
    path = written(HOSTILE[name](tmp_path), tmp_path / "a.pt")
    with pytest.raises(InputError) as refusal:
        read_torch_file(path)
    assert words in str(refusal.value)
    assert "runs programs" not in str(refusal.value)


def test_things_that_are_there_twice_are_read(tmp_path: Path) -> None:
    """Shared parts and parts within themselves, as modules with their parents and tied weights are."""
    shape: tuple[Any, ...] = (3, 3)
    node: dict[str, Any] = {"shapes": [shape] * 1000, "names": ["a"] * 1000}
    node["self"] = node
    found = read_torch_file(saved({"nodes": [node, node], "key": {(shape, shape): 1}}, tmp_path / "a.pt"))
    assert found["nodes"][0] is found["nodes"][1] is found["nodes"][0]["self"]
    assert found["key"] == {((3, 3), (3, 3)): 1}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("two\nlines\x1b[31m", r"two\nlines\x1b[31m"),
        ("x" * 61, "x" * 57 + "..."),
        ("x" * 60, "x" * 60),
        ("größe", "größe"),
        ([[[[[[[[1]]]]]]]], "[[[[[[[...]]]]]]]"),
        (10**5000, "an endless int"),
        (None, "None"),
    ],
    ids=range(7),
)
def test_words_of_strangers_are_one_short_line(value: Any, words: str) -> None:
    assert shown(value) == words


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2, 2), (4, 1), 0),
        ((4,), (1,), 1),
        ((10**6, 10**6), (0, 0), 0),
        ((-1,), (1,), 0),
        ((2,), (1, 1), 0),
    ],
    ids=str,
)
def test_a_tensor_that_reaches_beyond_its_storage(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    path = written(in_a_zip(tensor_pickle(4, size, stride, offset), _0=b"\0" * 16), tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"the tensor w is damaged: its size .* does not fit the 4 numbers"):
        read_weights(path)


def test_refusals_are_quick_and_small(tmp_path: Path) -> None:
    """In under a second each, and under 200 MB beyond torch, in a process of its own."""
    for number, make in enumerate(HOSTILE.values()):
        written(make(tmp_path), tmp_path / f"{number}.pt")
    program = """
import resource, sys, time, torch
from pathlib import Path
from diffcov.errors import InputError
from diffcov.store.foreign.torch_files import read_torch_file
def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, slowest = used(), 0.0
for path in sorted(Path(sys.argv[1]).glob("*.pt")):
    begun = time.monotonic()
    try:
        read_torch_file(path)
    except InputError:
        pass
    else:
        raise SystemExit(f"{path} was read")
    slowest = max(slowest, time.monotonic() - begun)
print(slowest, used() - before)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    slowest, megabytes = map(float, done.stdout.split())
    assert slowest < 5, "a machine that is busy is allowed more than the second that it takes at most"
    assert megabytes < 200
    assert not (tmp_path / MARK).exists()
