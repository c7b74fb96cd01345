"""Rankings of a comparison: one a number of steps and group, and each cell's paired difference to its lowest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.study.ranking import ABOVE, rank

COUNT = 400


def cell(name: str, solver: str, steps: int, fid: float | None) -> dict[str, Any]:
    return {"covariance": name, "solver": solver, "steps": steps, "fid": fid}


def influence(seed: int) -> Tensor:
    """Of a standard error of 1/20."""
    drawn = torch.randn(COUNT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn - drawn.mean()) / drawn.std()


def test_each_group_and_number_of_steps_has_its_own() -> None:
    cells = [
        cell("a", "ddpm", 5, 3.0),
        cell("b", "ddpm", 5, 2.0),
        cell("a", "ddim", 5, 2.05),
        cell("a", "ddpm", 9, 1.0),
    ]
    influences = {(one["covariance"], one["solver"], one["steps"]): influence(i) for i, one in enumerate(cells)}
    samplers = [{"sampler": "unipc", "steps": 5, "fid": 1.0}]
    found = rank(cells, influences, samplers, {("unipc", 5): influence(9)})
    assert [(one["steps"], one["of"], one["solver"], one["lowest"], one["level"]) for one in found] == [
        (5, "covariances", "ddpm", "b", ["b"]),
        (5, "covariances", "ddim", "a", ["a"]),
        (5, "samplers", None, "unipc", ["unipc"]),
        (5, "all", None, "unipc", ["unipc"]),
        (9, "covariances", "ddpm", "a", ["a"]),
        (9, "all", None, "ddpm with a", ["ddpm with a"]),
    ]
    assert found[0]["fid_stderr"] == pytest.approx(1 / 20)
    assert found[3]["above"].keys() == {"ddpm with a", "ddpm with b", "ddim with a"}
    assert found[3]["above"]["ddim with a"]["difference"] == pytest.approx(1.05)
    assert found[3]["above"]["ddim with a"]["stderr"] == pytest.approx(2**0.5 / 20, rel=0.1)
    assert [cells[0][key] for key in ABOVE] == ["b", 1.0, pytest.approx(2**0.5 / 20, rel=0.1)]
    assert [cells[1][key] for key in ABOVE] == ["b", None, None]


def test_errors_are_those_of_the_cells_that_are_compared() -> None:
    """Each cell's own: of its covariance, solver and number of steps."""
    kinds = [(name, solver, steps) for steps in (5, 9) for solver in ("ddpm", "ddim") for name in "ab"]
    cells = [cell(*kind, 3.0 - i) for i, kind in enumerate(kinds)]
    of = {kind: (i + 1) * influence(i) for i, kind in enumerate(kinds)}
    others = [("u", 5), ("v", 5), ("u", 9), ("v", 9)]
    samplers = [{"sampler": name, "steps": steps, "fid": 9.0 + i} for i, (name, steps) in enumerate(others)]
    theirs = {kind: (21 + i) * influence(20 + i) for i, kind in enumerate(others)}
    found = rank(cells, of, samplers, theirs)
    assert len(found) == 8
    for one in found:
        named: dict[str, Tensor] = {}
        if one["of"] != "samplers":
            mine = {kind: value for kind, value in of.items() if kind[2] == one["steps"]}
            mine = {kind: value for kind, value in mine.items() if one["solver"] in (None, kind[1])}
            together = one["of"] == "all"
            named |= {f"{kind[1]} with {kind[0]}" if together else kind[0]: value for kind, value in mine.items()}
        if one["of"] != "covariances":
            named |= {name: value for (name, steps), value in theirs.items() if steps == one["steps"]}
        lowest = named.pop(one["lowest"])
        assert one["fid_stderr"] == pytest.approx(float(lowest.std()) / COUNT**0.5)
        paired = {name: float((value - lowest).std()) / COUNT**0.5 for name, value in named.items()}
        assert {name: above["stderr"] for name, above in one["above"].items()} == pytest.approx(paired)


def test_shared_noise_decides() -> None:
    """0.1 apart with errors of 0.05 each: level with noise of their own, and told apart on the same noise."""
    for theirs, level in ((influence(1), ["a", "b"]), (1.1 * influence(0), ["a"])):
        cells = [cell("a", "ddpm", 5, 3.0), cell("b", "ddpm", 5, 3.1)]
        found = rank(cells, {("a", "ddpm", 5): influence(0), ("b", "ddpm", 5): theirs}, [], {})
        assert found[0]["level"] == level


def test_without_distances_there_is_none() -> None:
    cells = [cell("a", "ddpm", 5, None)]
    assert rank(cells, {}, [], {}) == []
    assert [cells[0][key] for key in ABOVE] == [None, None, None]
