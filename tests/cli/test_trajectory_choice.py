"""Which times a command visits, from its options alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcov.cli.trajectory_choice import NAMED, check_made_for, open_optimal, pick_trajectory
from diffcov.diffusion.grid import TRAJECTORIES, Searched
from diffcov.errors import InputError, UsageError
from diffcov.store.run import Run
from diffcov.store.trajectory import TrajectoryFile, load_trajectories, save_trajectories

TRUNK, OTHER = "a1" * 32, "b2" * 32
FITTED = {"variance.safetensors": "c3" * 32}


def saved(run: Run, covariance: str = "corrected") -> TrajectoryFile:
    """Times of K = 1..3 among 2, 5 and 9 of 20."""
    cost = torch.tensor([torch.inf, 3.0, 2.0, 1.0], dtype=torch.float64)
    found = Searched(20, cost, torch.tensor([9, 2, 9, 2, 5, 9], dtype=torch.int32))
    path = run.trajectories(covariance)
    terms, prior = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    save_trajectories(path, found, terms, prior, torch.tensor([2, 5, 9]), covariance, TRUNK, FITTED, {})
    return load_trajectories(path)


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_words_are_their_functions(name: str) -> None:
    assert pick_trajectory(name, 20, 4) == TRAJECTORIES[name](20, 4)


def test_optimal_reads_the_file(tmp_path: Path) -> None:
    optimal = saved(Run(tmp_path))
    assert [pick_trajectory("optimal", 20, K, optimal).times for K in (1, 2, 3)] == [(9,), (2, 9), (2, 5, 9)]
    assert pick_trajectory("optimal", 20, 2, optimal).name == "optimal"
    for steps in (0, 4):
        with pytest.raises(UsageError, match=f"among 3 times, and {steps} steps were asked for"):
            pick_trajectory("optimal", 20, steps, optimal)


def test_a_list_is_taken_as_it_stands() -> None:
    assert pick_trajectory("1, 7,20", 20, None).times == (1, 7, 20)
    assert pick_trajectory("1,7,20", 20, 3).name == "explicit"
    with pytest.raises(UsageError, match="--steps 2 was asked for, but --trajectory lists 3 times; leave one out"):
        pick_trajectory("1,7,20", 20, 2)


@pytest.mark.parametrize("name", NAMED)
def test_words_need_steps(name: str) -> None:
    with pytest.raises(UsageError, match=f"--trajectory {name} needs --steps"):
        pick_trajectory(name, 20, None)


def test_optimal_is_not_for_every_command() -> None:
    with pytest.raises(UsageError, match="is for sample and evaluate"):
        pick_trajectory("optimal", 20, 3)


@pytest.mark.parametrize("text", ["best", "1,x", "", "1,,2", "1.5"])
def test_other_words(text: str) -> None:
    with pytest.raises(UsageError, match="must be one of even, ddim, quad, optimal or times such as 1,500,1000"):
        pick_trajectory(text, 20, None)


def test_only_optimal_opens_a_file(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert open_optimal("even", run, "corrected", TRUNK) is None
    assert open_optimal("1,5", run, "corrected", TRUNK) is None
    with pytest.raises(InputError, match="run: diffcov trajectory --covariance corrected"):
        open_optimal("optimal", run, "corrected", TRUNK)
    written = saved(run)
    found = open_optimal("optimal", run, "corrected", TRUNK)
    assert found is not None
    assert (found.digest, found.fitted) == (written.digest, FITTED)
    with pytest.raises(InputError, match="made for other weights"):
        open_optimal("optimal", run, "corrected", OTHER)


def test_bound_to_the_table_or_head(tmp_path: Path) -> None:
    optimal = saved(Run(tmp_path))
    check_made_for(None, "corrected", FITTED)
    check_made_for(optimal, "corrected", dict(FITTED))
    for fitted in ({"variance.safetensors": "d4" * 32}, {}, {**FITTED, "head-npr.safetensors": "e5" * 32}):
        with pytest.raises(InputError, match="diffcov trajectory --covariance corrected --force"):
            check_made_for(optimal, "corrected", fitted)
