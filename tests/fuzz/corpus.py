"""Small whole files of every kind that is read, to be broken."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from diffcov.store.datasets import load_images
from diffcov.store.foreign.recognise import read_foreign
from diffcov.study.describe import describe
from oracles.foreign import tiny_unet

__all__ = ["KINDS", "Kind"]

ASSETS = Path(__file__).parents[1] / "assets"


class Kind:
    """A kind of file.

    Args:
        read: the reader.
        name: what the file is called, inside a folder of its own; the reader is given it, or that folder if ``whole``.
        make: writes a good one.
        whole: whether the folder is what is read.
    """

    def __init__(
        self, read: Callable[[Path], object], name: str, make: Callable[[Path], object], whole: bool = False
    ) -> None:
        self.read, self.name, self.make, self.whole = read, name, make, whole

    def place(self, folder: Path) -> Path:
        """What the reader is given."""
        return folder if self.whole else folder / self.name


def _pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _picture(form: str, size: tuple[int, int] = (8, 8)) -> bytes:
    out = io.BytesIO()
    Image.fromarray(_pixels(*size, 3)).save(out, form)
    return out.getvalue()


def _idx(path: Path) -> None:
    path.write_bytes(struct.pack(">IIII", 0x803, 12, 8, 8) + _pixels(12, 8, 8).tobytes())


def _npz(path: Path) -> None:
    np.savez(path, x_train=_pixels(6, 8, 8, 3), y_train=np.arange(6) % 2, x_test=_pixels(2, 8, 8, 3), y_test=[0, 1])


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for number in range(3):
            out.writestr(f"{number % 2}/{number}.png", _picture("PNG"))
        out.writestr("dataset.json", json.dumps({"labels": [[f"{n % 2}/{n}.png", n % 2] for n in range(3)]}))


def _cifar(path: Path) -> None:
    with tarfile.open(path, "w:gz") as out:
        for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
            content = b"".join(bytes([n % 10]) + _pixels(3072).tobytes() for n in range(2))
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))


def _parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.array([{"bytes": _picture("PNG"), "path": None}] * 3)
    pq.write_table(pa.table({"image": image, "label": [0, 1, 0]}), path)


def _state() -> dict[str, Any]:
    return {f"{name}.weight": torch.randn(8, 3, 3, 3) for name in ("input_blocks.0.0", "out.2")}


def _old_torch(path: Path) -> None:
    torch.save(_state(), path, _use_new_zipfile_serialization=False)


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"ema": {"a": 1}, "kwargs": {"b": [2.0]}}))


def _diffusers(path: Path) -> None:
    tiny_unet().save_pretrained(path.parent)


def _safetensors(path: Path) -> None:
    save_file(_state(), path)


def _ours(name: str) -> Kind:
    content = (ASSETS / "run-of-before" / name).read_bytes()
    plain = Path(name).name
    return Kind(describe, plain, lambda path: path.write_bytes(content))


KINDS: Mapping[str, Kind] = {
    **{
        f"ours, {name}": _ours(f"{name}.safetensors")
        for name in ("mean", "variance", "spectrum", "matrices", "head-npr", "head-banded", "trajectory-corrected")
    },
    "ours, state": _ours("state/mean.safetensors"),
    "idx": Kind(lambda path: load_images(str(path)), "train-images-idx3-ubyte", _idx),
    "npy": Kind(lambda path: load_images(str(path)), "images.npy", lambda path: np.save(path, _pixels(6, 8, 8, 3))),
    "npz": Kind(lambda path: load_images(str(path)), "images.npz", _npz),
    "zip of pictures": Kind(lambda path: load_images(str(path)), "images.zip", _zip),
    "CIFAR archive": Kind(lambda path: load_images(str(path)), "cifar-10-binary.tar.gz", _cifar),
    "folder of PNG": Kind(
        lambda path: load_images(str(path)), "a.png", lambda path: path.write_bytes(_picture("PNG")), True
    ),
    "folder of JPEG": Kind(
        lambda path: load_images(str(path)), "a.jpg", lambda path: path.write_bytes(_picture("JPEG")), True
    ),
    "parquet": Kind(lambda path: load_images(str(path)), "train-00000.parquet", _parquet, True),
    "foreign safetensors": Kind(read_foreign, "model.safetensors", _safetensors),
    "torch file": Kind(read_foreign, "model.pt", lambda path: torch.save(_state(), path)),
    "torch file of old": Kind(read_foreign, "model.pth", _old_torch),
    "pickle": Kind(read_foreign, "model.pkl", _pickle),
    "configuration of diffusers": Kind(read_foreign, "config.json", _diffusers, True),
}
"""By name."""
