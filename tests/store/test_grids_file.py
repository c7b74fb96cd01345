"""Optimal grids on disk: the same numbers, bound to the mean they were searched for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.engines.meters.decomposition import Decomposition, shortest_paths
from diffcov.errors import InputError, NonFiniteError
from diffcov.store import artifact
from diffcov.store.binding import Trunk
from diffcov.store.grids import load_grids, save_grids

TRUNK, OTHER = "a1b2c3d4e5f6" + "0" * 52, "f6e5d4c3b2a1" + "1" * 52
FITTED = {"variance.safetensors": "c3" * 32}
OWN = Trunk(TRUNK, None, {}, {})
CONFIG = {"seed": 3, "images": {"source": "digits", "count": 2}}


def decomposition() -> Decomposition:
    """Random terms between five of forty times."""
    draw = torch.Generator().manual_seed(0)
    allowed = torch.ones(6, 6, dtype=torch.bool).triu(1)
    terms = torch.rand(6, 6, generator=draw, dtype=torch.float64).masked_fill(~allowed, torch.inf)
    prior = torch.rand(6, generator=draw, dtype=torch.float64)
    prior[0] = torch.inf
    return Decomposition(40, 64, torch.tensor([2, 9, 17, 30, 38]), terms, prior)


def saved(path: Path, **replaced: Tensor) -> str:
    """Written as the command does; some tensors may be replaced, with a digest that is right."""
    found = decomposition()
    digest = save_grids(
        path, shortest_paths(found), found.terms, found.prior, found.candidates, "corrected", TRUNK, FITTED, CONFIG
    )
    if replaced:
        read = artifact.read(path, "optimal-trajectories", finite=False)
        digest = artifact.write(path, read.kind, {**read.tensors, **replaced}, read.metadata)
    return digest


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "trajectory-corrected.safetensors"
    digest, made = saved(path), decomposition()
    searched = shortest_paths(made)
    for trunk in (None, OWN):
        found = load_grids(path, trunk)
        assert (found.covariance, found.trunk, found.fitted, found.config) == ("corrected", TRUNK, FITTED, CONFIG)
        assert found.digest == digest
        assert (found.found.T, found.found.longest) == (40, 5)
        for mine, other in (
            (found.found.cost, searched.cost),
            (found.found.packed, searched.packed),
            (found.terms, made.terms),
            (found.candidates, made.candidates),
        ):
            assert mine.dtype == other.dtype
            assert torch.equal(mine, other)
        for K in range(1, 6):
            grid = found.found.grid(K)
            assert grid == searched.grid(K)
            assert made.cost(grid) == pytest.approx(float(found.found.cost[K]), rel=1e-12)


def test_another_trunk_names_both_digests_and_the_remedy(tmp_path: Path) -> None:
    saved(path := tmp_path / "t.safetensors")
    with pytest.raises(InputError) as caught:
        load_grids(path, Trunk(OTHER, None, {}, {}))
    message = str(caught.value)
    assert all(word in message for word in (str(path), TRUNK[:12], OTHER[:12]))
    assert "diffcov trajectory --covariance corrected --force" in message


@pytest.mark.parametrize("name", ["terms", "prior", "cost"])
def test_nan(tmp_path: Path, name: str) -> None:
    saved(path := tmp_path / "t.safetensors")
    tensor = artifact.read(path, "optimal-trajectories", finite=False).tensors[name].clone()
    tensor.view(-1)[2] = torch.nan
    saved(path, **{name: tensor})
    with pytest.raises(NonFiniteError, match=f"holds NaN in {name}"):
        load_grids(path)


@pytest.mark.parametrize(
    "replaced",
    [
        {"times": torch.arange(1, 15, dtype=torch.int32)},
        {"times": torch.arange(1, 17, dtype=torch.int32)},
        {"cost": torch.tensor([torch.inf, 1, 2, 3, 4, torch.inf], dtype=torch.float64)},
        {"cost": torch.tensor([torch.inf, 1, 2], dtype=torch.float64)},
    ],
    ids=["too few times", "too many times", "a cost that cannot be", "fewer costs than paths"],
)
def test_an_incomplete_set(tmp_path: Path, replaced: dict[str, Tensor]) -> None:
    saved(path := tmp_path / "t.safetensors", **replaced)
    with pytest.raises(InputError, match="holds no complete set of grids"):
        load_grids(path)


@pytest.mark.parametrize("name", ["terms", "candidates", "cost", "times"])
def test_a_missing_tensor(tmp_path: Path, name: str) -> None:
    saved(path := tmp_path / "t.safetensors")
    read = artifact.read(path, "optimal-trajectories", finite=False)
    tensors = {key: value for key, value in read.tensors.items() if key != name}
    artifact.write(path, read.kind, tensors, read.metadata)
    with pytest.raises(InputError, match=f"lacks what this diffcov needs .*{name}"):
        load_grids(path)


@pytest.mark.parametrize("name", ["T", "trunk", "covariance", "fitted", "config"])
def test_a_header_that_lacks_something(tmp_path: Path, name: str) -> None:
    saved(path := tmp_path / "t.safetensors")
    read = artifact.read(path, "optimal-trajectories", finite=False)
    metadata: dict[str, Any] = {key: value for key, value in read.metadata.items() if key != name}
    artifact.write(path, read.kind, read.tensors, metadata)
    with pytest.raises(InputError, match=f"lacks what this diffcov needs .*{name}"):
        load_grids(path)


def test_another_kind_and_a_flipped_bit(tmp_path: Path) -> None:
    artifact.write(tmp_path / "a.safetensors", "head", {"w": torch.ones(1)}, {})
    with pytest.raises(InputError, match="is a 'head' file, but a 'optimal-trajectories' file is needed"):
        load_grids(tmp_path / "a.safetensors")
    saved(path := tmp_path / "t.safetensors")
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"t\.safetensors"):
        load_grids(path)
