"""Reference statistics: exact, readable by plain numpy, and nothing odd gets in."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffcov.errors import InputError, NonFiniteError, OutputError
from diffcov.store.reference import load_reference, reference_key, reference_path, save_reference

MEAN = torch.tensor([0.1, -2.0, 3.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.1], [0.0, 0.1, 1e-9]], dtype=torch.float64)
GOOD: dict[str, Any] = {"mu": MEAN.numpy(), "sigma": COVARIANCE.numpy()}


def test_round_trip_is_exact(tmp_path: Path) -> None:
    save_reference(tmp_path / "r.npz", MEAN, COVARIANCE, 1797, "pixels", "a1b2")
    found = load_reference(tmp_path / "r.npz", 3, "pixels")
    assert torch.equal(found.mean, MEAN)
    assert torch.equal(found.covariance, COVARIANCE)
    assert (found.count, found.key) == (1797, "a1b2")
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_plain_numpy_reads_it(tmp_path: Path) -> None:
    save_reference(tmp_path / "r.npz", MEAN, COVARIANCE, 1797, "pixels", "a1b2")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as plain:
        assert set(plain) == {"mu", "sigma", "count", "features", "key", "images", "digest"}
        assert plain["mu"].dtype == plain["sigma"].dtype == np.float64
        np.testing.assert_array_equal(plain["mu"], MEAN.numpy())
        np.testing.assert_array_equal(plain["sigma"], COVARIANCE.numpy())
        assert (int(plain["count"]), str(plain["features"])) == (1797, "pixels")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_other_tools(tmp_path: Path, dtype: type[np.floating[Any]]) -> None:
    arrays = {name: array.astype(dtype) for name, array in GOOD.items()}
    np.savez_compressed(tmp_path / "theirs.npz", **arrays, mu_s=np.zeros(7), labels=np.array(["a"], dtype=object))
    found = load_reference(tmp_path / "theirs.npz", 3, "inception")
    assert (found.count, found.key) == (0, "")
    assert found.mean.dtype == found.covariance.dtype == torch.float64
    np.testing.assert_array_equal(found.covariance, GOOD["sigma"].astype(dtype))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mu": None}, InputError, "holds no mu .found: sigma"),
        ({"mu": None, "sigma": None}, InputError, "holds no mu and no sigma .found: nothing"),
        ({"mu": np.zeros(4)}, InputError, r"holds mu \(4,\) and sigma \(3, 3\), but pixels has 3 features"),
        ({"mu": np.zeros((1, 3))}, InputError, r"holds mu \(1, 3\)"),
        ({"sigma": np.ones(3)}, InputError, r"and sigma \(3,\)"),
        ({"sigma": np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])}, InputError, "not symmetric"),
        ({"mu": np.array([0, np.nan, 0])}, NonFiniteError, "mu in .* holds NaN or infinity"),
        ({"sigma": np.full((3, 3), np.inf)}, NonFiniteError, "sigma in .* holds NaN or infinity"),
        ({"mu": np.array(["a", "b", "c"])}, InputError, "mu in .* holds <U1 values"),
        ({"sigma": np.eye(3).astype(complex)}, InputError, "sigma in .* holds complex128 values"),
        ({"mu": np.array([1, 2, 3], dtype=object)}, InputError, "no complete npz of plain numbers"),
    ],
)
def test_refusals(tmp_path: Path, changed: dict[str, Any], error: type[Exception], message: str) -> None:
    arrays = {name: array for name, array in {**GOOD, **changed}.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(error, match=message) as caught:
        load_reference(tmp_path / "bad.npz", 3, "pixels")
    assert "bad.npz" in str(caught.value)


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    with pytest.raises(InputError, match=r"no such file: .*; --reference takes an npz"):
        load_reference(path, 3, "pixels")
    save_reference(path, MEAN, COVARIANCE, 5, "pixels", "")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="no complete npz"):
        load_reference(path, 3, "pixels")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu.npy", b"text")
    with pytest.raises(InputError, match="no complete npz"):
        load_reference(path, 3, "pixels")


def test_a_full_disk_leaves_nothing(tmp_path: Path, full_disk: Any) -> None:
    with full_disk(100), pytest.raises(OutputError, match="could not write"):
        save_reference(tmp_path / "r.npz", MEAN, COVARIANCE, 5, "pixels", "")
    assert list(tmp_path.iterdir()) == []


def test_names_tell_features_and_images_apart(tmp_path: Path) -> None:
    key = reference_key("f", "i")
    assert len({key, reference_key("i", "f"), reference_key("f", "j"), reference_key("g", "i")}) == 4
    assert reference_path(tmp_path, "my net (2).pt", key) == tmp_path / f"reference-my-net-2-.pt-{key[:12]}.npz"
