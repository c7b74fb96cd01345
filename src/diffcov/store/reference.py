"""Reference statistics on disk: mean and covariance of features in the npz layout that the field's tools share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcov.digest import digest_of_values
from diffcov.errors import InputError, NonFiniteError
from diffcov.store.atomic import written
from diffcov.store.zips import BadZipFile, damage_is_bad_zip, open_zip

__all__ = ["ReferenceFile", "load_reference", "reference_key", "reference_path", "save_reference"]

ASYMMETRY = 1e-6
"""Relative; float32 statistics of other tools stay far below."""

MEMBERS = ("mu", "sigma", "count", "features", "key", "images", "digest")
"""Names of the arrays; the last is the digest of the others."""


@dataclass(frozen=True)
class ReferenceFile:
    """Statistics as read from disk.

    Attributes:
        mean: (F,) float64.
        covariance: (F, F) float64.
        count: images behind them; 0 if the file does not say.
        key: see :func:`reference_key`; empty in files of other tools.
        images: digest of the images behind them; empty in files of other tools, and in those of earlier versions.
        sealed: whether the file says a digest of its numbers, and they have it; None if it says none.
    """

    mean: Tensor
    covariance: Tensor
    count: int
    key: str
    images: str = ""
    sealed: bool | None = None


def reference_key(features: str, images: str) -> str:
    """sha256 (hex) of the digests of a feature space and of the images."""
    return hashlib.sha256(f"{features}|{images}".encode()).hexdigest()


def reference_path(folder: Path, features: str, key: str) -> Path:
    """``folder``/reference-<features>-<first 12 of the key>.npz."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", features)
    return folder / f"reference-{name}-{key[:12]}.npz"


def save_reference(
    path: Path, mean: Tensor, covariance: Tensor, count: int, features: str, key: str, images: str = ""
) -> None:
    """Write ``mu``, ``sigma`` (float64), and where they came from. OutputError if the file system refuses."""
    arrays: dict[str, Any] = {
        "mu": mean.double().numpy(), "sigma": covariance.double().numpy(), "count": np.int64(count),
        "features": np.str_(features), "key": np.str_(key), "images": np.str_(images),
    }  # fmt: skip
    arrays["digest"] = np.str_(_digest(arrays))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as out:
            np.savez(out, **arrays)

    written(path, write)


def load_reference(path: Path, dims: int | None, features: str) -> ReferenceFile:
    """Read ``mu`` and ``sigma``; everything else may be missing.

    Args:
        path: the npz.
        dims: F, of the features that it will be compared with; None takes it as the file has it.
        features: their name, for the message.

    Raises:
        InputError: missing, damaged, without ``mu`` or ``sigma``, of another shape, or not symmetric.
        NonFiniteError: NaN or infinity.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}; --reference takes an npz with mu and sigma")
    arrays = _arrays(path)
    missing = [name for name in ("mu", "sigma") if name not in arrays]
    if missing:
        raise InputError(
            f"{path} holds no {' and no '.join(missing)} (found: {', '.join(arrays) or 'nothing'}); "
            "reference statistics are mu (F,) and sigma (F, F)"
        )
    mean, covariance = (_numbers(path, name, arrays[name]) for name in ("mu", "sigma"))
    dims = mean.numel() if dims is None else dims
    if tuple(mean.shape) != (dims,) or tuple(covariance.shape) != (dims, dims):
        raise InputError(
            f"{path} holds mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)}, but {features} has {dims} "
            f"features; give statistics of the same features, or others with --features"
        )
    if float((covariance - covariance.T).abs().max()) > ASYMMETRY * float(covariance.abs().max()):
        raise InputError(f"sigma in {path} is not symmetric, so it is no covariance; make the file again")
    count = arrays.get("count")
    known = count is not None and count.shape == () and count.dtype.kind in "iu"
    told = {name: str(arrays.get(name, "")) for name in ("key", "images", "digest")}
    sealed = _digest(arrays) == told["digest"] if told["digest"] else None
    return ReferenceFile(mean, covariance, int(count) if known else 0, told["key"], told["images"], sealed)  # type: ignore[arg-type]


def _digest(arrays: Mapping[str, Any]) -> str:
    """sha256 (hex) of all arrays but itself: names, types, shapes and bytes."""
    parts = {name: np.asarray(arrays[name]) for name in MEMBERS[:-1] if name in arrays}
    return digest_of_values(
        [[name, one.dtype.str, one.shape, hashlib.sha256(one.tobytes()).hexdigest()] for name, one in parts.items()]
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    try:
        # Not numpy.load: it leaves the file open when the archive is damaged.
        with damage_is_bad_zip(), open_zip(path) as archive:
            for name in archive.namelist():
                if name.removesuffix(".npy") in MEMBERS:
                    with archive.open(name) as member:
                        array = np.lib.format.read_array(member, allow_pickle=False)
                    found[name.removesuffix(".npy")] = array
    except (BadZipFile, OSError) as error:
        raise InputError(f"{path} is no complete npz of plain numbers ({error}); make it again") from error
    return found


def _numbers(path: Path, name: str, array: NDArray[Any]) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} in {path} holds {array.dtype} values, and statistics are real numbers")
    if not np.isfinite(array).all():
        raise NonFiniteError(f"{name} in {path} holds NaN or infinity; make it again from healthy features")
    return torch.from_numpy(array.astype(np.float64))
