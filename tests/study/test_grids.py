"""Which times an experiment visits, from a name or a list alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription
from diffcov.diffusion.grids import ALIASES, GRIDS
from diffcov.diffusion.optimal import OptimalGrids
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, UsageError
from diffcov.statistics.table import VarianceTable
from diffcov.store.binding import Trunk
from diffcov.store.grids import GridsFile, load_grids, save_grids
from diffcov.store.run import RunFolder
from diffcov.study.grids import NAMED, check_made_for, grid_name, open_optimal, pick_grid

SCHEDULE, DATA = NoiseSchedule.cosine(20), DataDescription(1, 8, 8)
TRUNK, OTHER = (Trunk(digit * 64, None, SCHEDULE.spec, DATA.as_dict()) for digit in "ab")


def corrected(norm: float = 0.5) -> Covariance:
    """Of a table that holds one number everywhere."""
    table = VarianceTable(*(torch.full((21,), norm, dtype=torch.float64) for _ in range(5)))
    return registry.load("corrected")(Ingredients.of(SCHEDULE, DATA, table))


def saved(run: RunFolder, covariance: str = "corrected") -> GridsFile:
    """Times of K = 1..3 among 2, 5 and 9 of 20, searched with :func:`corrected` and the clip."""
    cost = torch.tensor([torch.inf, 3.0, 2.0, 1.0], dtype=torch.float64)
    found = OptimalGrids(20, cost, torch.tensor([9, 2, 9, 2, 5, 9], dtype=torch.int32))
    path = run.grids(covariance)
    terms, prior = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    made_of, config = corrected().made_of, {"clip_x0": True}
    save_grids(path, found, terms, prior, torch.tensor([2, 5, 9]), covariance, TRUNK.digest, made_of, config)
    return load_grids(path)


@pytest.mark.parametrize("name", GRIDS)
def test_words_are_their_functions(name: str) -> None:
    assert pick_grid(name, SCHEDULE, 4) == GRIDS[name](SCHEDULE, 4)


@pytest.mark.parametrize(("earlier", "name"), ALIASES.items())
def test_earlier_names_are_understood(earlier: str, name: str) -> None:
    assert grid_name(earlier) == name
    assert pick_grid(earlier, SCHEDULE, 4) == GRIDS[name](SCHEDULE, 4)
    assert pick_grid(earlier, SCHEDULE, 4).name == name


def test_optimal_reads_the_file(tmp_path: Path) -> None:
    optimal = saved(RunFolder(tmp_path))
    assert [pick_grid("optimal", SCHEDULE, K, optimal).times for K in (1, 2, 3)] == [(9,), (2, 9), (2, 5, 9)]
    assert pick_grid("optimal", SCHEDULE, 2, optimal).name == "optimal"
    for steps in (0, 4):
        with pytest.raises(UsageError, match=f"among 3 times, and {steps} steps were asked for"):
            pick_grid("optimal", SCHEDULE, steps, optimal)


def test_a_list_is_taken_as_it_stands() -> None:
    assert pick_grid("1, 7,20", SCHEDULE, None).times == (1, 7, 20)
    assert pick_grid("1,7,20", SCHEDULE, 3).name == "explicit"
    with pytest.raises(UsageError, match="--steps 2 was asked for, but --grid lists 3 times; leave one out"):
        pick_grid("1,7,20", SCHEDULE, 2)


@pytest.mark.parametrize("name", GRIDS)
def test_a_named_grid_is_spread_up_to_a_start(name: str) -> None:
    """As if the schedule ended there."""
    found = pick_grid(name, SCHEDULE, 4, start=13)
    assert found.T == SCHEDULE.T
    assert found.name == name
    assert found.times == GRIDS[name](SCHEDULE.until(13), 4).times
    assert found.times[-1] <= 13
    for start in (3, 21):
        with pytest.raises(UsageError, match=rf"^4 steps that start at t = {start} need a start in 4..T=20"):
            pick_grid(name, SCHEDULE, 4, start=start)


def test_told_times_start_at_their_last(tmp_path: Path) -> None:
    assert pick_grid("1,7,12", SCHEDULE, None, start=12).times == (1, 7, 12)
    for text, steps in (("1,7,12", None), ("optimal", 2)):
        optimal = saved(RunFolder(tmp_path)) if text == "optimal" else None
        with pytest.raises(UsageError, match=r"^--start 11 was asked for, and these times end at (12|9); leave one"):
            pick_grid(text, SCHEDULE, steps, optimal, 11)


@pytest.mark.parametrize("name", [*NAMED, *ALIASES])
def test_words_need_steps(name: str) -> None:
    with pytest.raises(UsageError, match=f"--grid {name} needs --steps"):
        pick_grid(name, SCHEDULE, None)


def test_optimal_is_not_for_every_command() -> None:
    with pytest.raises(UsageError, match="is for sample and evaluate"):
        pick_grid("optimal", SCHEDULE, 3)


@pytest.mark.parametrize("text", ["best", "1,x", "", "1,,2", "1.5"])
def test_other_words(text: str) -> None:
    with pytest.raises(
        UsageError,
        match=f"must be one of {', '.join(NAMED)} or times such as 1,500,1000",
    ):
        pick_grid(text, SCHEDULE, None)


def test_only_optimal_opens_a_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert open_optimal("even", run, "corrected", TRUNK) is None
    assert open_optimal("1,5", run, "corrected", TRUNK) is None
    with pytest.raises(InputError, match="run: diffcov trajectory --covariance corrected"):
        open_optimal("optimal", run, "corrected", TRUNK)
    written = saved(run)
    found = open_optimal("optimal", run, "corrected", TRUNK)
    assert found is not None
    assert (found.digest, found.fitted) == (written.digest, corrected().made_of)
    with pytest.raises(InputError, match=f"made for another mean .trunk {'a' * 12}, this model is {'b' * 12}."):
        open_optimal("optimal", run, "corrected", OTHER)


def test_bound_to_the_table_or_head(tmp_path: Path) -> None:
    optimal = saved(RunFolder(tmp_path))
    check_made_for(None, corrected(), True, 1.0)
    check_made_for(optimal, corrected(), True, 1.0)
    head = {**corrected().made_of, "head-npr.safetensors": "e5" * 32}
    for fitted in (corrected(norm=0.25).made_of, {}, head):
        with pytest.raises(InputError, match="diffcov trajectory --covariance corrected --force"):
            check_made_for(replace(optimal, fitted=fitted), corrected(), True, 1.0)


def test_bound_to_the_clip(tmp_path: Path) -> None:
    optimal = saved(RunFolder(tmp_path))
    with pytest.raises(InputError, match=r"searched with --clip-x0, and this is without it; .*--covariance corrected"):
        check_made_for(optimal, corrected(), False, 1.0)
    unclipped = replace(optimal, config={"clip_x0": False})
    check_made_for(unclipped, corrected(), False, 1.0)
    with pytest.raises(InputError, match="searched without --clip-x0, and this is with it"):
        check_made_for(unclipped, corrected(), True, 1.0)


def test_bound_to_the_guidance(tmp_path: Path) -> None:
    """Grids of the version before know of none."""
    optimal = saved(RunFolder(tmp_path))
    with pytest.raises(InputError, match=r"searched at guidance 1, and this is 1.5; .* --guidance 1.5 --force"):
        check_made_for(optimal, corrected(), True, 1.5)
    guided = replace(optimal, config={"clip_x0": True, "guidance": 1.5})
    check_made_for(guided, corrected(), True, 1.5)
    with pytest.raises(InputError, match=r"searched at guidance 1.5, and this is 1;"):
        check_made_for(guided, corrected(), True, 1.0)
