"""Two fits of heads in one run: both go on, both resume, and no kind has two owners."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from at_once import at_once
from conftest import FEW_KNOTS
from diffcov.store.ownership import owned_run
from diffcov.store.state import load_state, read_progress, save_state

FAST = ("--batch-size", 8, "--patience", 0, "--log-every", 1)


@pytest.fixture(scope="session")
def measured_once(trained: Path, tmp_path_factory: pytest.TempPathFactory, done: Callable[..., Any]) -> Path:
    """A run with mean, table and spectrum, and no head yet. Read only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("measured") / "run")
    done("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS)
    return run


@pytest.fixture
def run(measured_once: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(measured_once, tmp_path / "run")


def states(run: Path) -> dict[str, tuple[list[str], int, bool]]:
    """By name: kinds, iterations, and whether it is finished."""
    found = {}
    for path in sorted((run / "state").glob("heads*")):
        settings, done = read_progress(path)
        found[path.stem] = (settings["kind"], done.iteration, done.finished)
    return found


def unfinished(run: Path, state: str) -> None:
    """Make a fit that has ended one that was stopped."""
    path = run / "state" / f"{state}.safetensors"
    tensors, settings, progress = load_state(path)
    save_state(path, tensors, settings, replace(progress, finished=False))


def lines(run: Path) -> list[tuple[str, int]]:
    """The part and the iteration of each line of the log of fits."""
    found = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["part"], line["iteration"]) for line in found if line["command"] == "fit-var-head"]


@contextmanager
def at_work(run: Path, *tasks: str) -> Iterator[None]:
    """As if another process did this in the run."""
    with owned_run(run, "fit-var-head", *tasks):
        yield


def test_a_fit_beside_another_has_a_state_of_its_own(done: Callable[..., Any], run: Path) -> None:
    with at_work(run, "head-npr", "heads"):
        done("fit-var-head", "--run", run, "--kind", "sn", "--iterations", 2, *FAST)
    assert states(run) == {"heads-sn": (["sn"], 2, True)}
    assert done("fit-var-head", "--run", run, "--resume", "--kind", "sn", "--iterations", 3)["iterations"] == 3
    assert states(run) == {"heads-sn": (["sn"], 3, True)}
    done("fit-var-head", "--run", run, "--kind", "sn", "--iterations", 1, "--force", *FAST)
    assert states(run) == {"heads-sn": (["sn"], 1, True)}, "the same state again, though heads is free"


def test_an_unfinished_fit_keeps_its_state(done: Callable[..., Any], run: Path) -> None:
    done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 2, *FAST)
    unfinished(run, "heads")
    done("fit-var-head", "--run", run, "--kind", "banded,sn", "--iterations", 1, *FAST)
    assert states(run) == {"heads": (["npr"], 2, False), "heads-sn-banded": (["sn", "banded"], 1, True)}
    assert lines(run) == [("npr", 1), ("npr", 2), ("sn,banded", 1)]
    assert done("fit-var-head", "--run", run, "--resume", "--iterations", 3)["heads"].keys() == {"npr"}
    assert lines(run) == [("npr", 1), ("npr", 2), ("sn,banded", 1), ("npr", 3)]


def test_a_finished_fit_gives_its_state_to_the_next(done: Callable[..., Any], run: Path) -> None:
    done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 2, *FAST)
    done("fit-var-head", "--run", run, "--kind", "sn", "--iterations", 1, *FAST)
    assert states(run) == {"heads": (["sn"], 1, True)}
    assert lines(run) == [("npr", 1), ("npr", 2), ("sn", 1)], "what was done before is still told"


def test_kinds_of_an_unfinished_fit_are_not_begun_in_another(refused: Callable[..., str], cli: Any, run: Path) -> None:
    cli("fit-var-head", "--run", run, "--kind", "npr,sn", "--iterations", 2, *FAST)
    unfinished(run, "heads")
    words = ["fit-var-head", "--run", run, "--kind", "sn,banded", "--iterations", 1, *FAST]
    assert "holds an unfinished training (iteration 2)" in refused(1, *words)
    assert cli(*words, "--force").exit_code == 0
    assert states(run) == {"heads": (["sn", "banded"], 1, True)}


def test_a_kind_has_one_owner(refused: Callable[..., str], run: Path) -> None:
    with at_work(run, "head-npr", "head-sn", "heads"):
        for kinds in (["--kind", "sn"], ["--kind", "sn,ocm"], []):
            told = refused(1, "fit-var-head", "--run", run, *kinds, "--iterations", 1, *FAST).replace(
                f" --run {run}", ""
            )
            assert f"is being written by diffcov fit-var-head (process {os.getpid()} on" in told
            assert "wait until it has ended" in told


def test_a_fit_that_is_going_on_is_not_resumed(
    refused: Callable[..., str], done: Callable[..., Any], run: Path
) -> None:
    done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 2, *FAST)
    for words in (["--kind", "npr"], []):
        with at_work(run, "heads", "head-npr"):
            told = refused(1, "fit-var-head", "--run", run, "--resume", "--iterations", 3, *words)
            assert "is being written by" in told


def test_of_several_fits_the_one_that_nobody_is_at_is_resumed(
    refused: Callable[..., str], done: Callable[..., Any], run: Path
) -> None:
    done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 1, *FAST)
    with at_work(run, "heads", "head-npr"):
        done("fit-var-head", "--run", run, "--kind", "sn", "--iterations", 2, *FAST)
        assert done("fit-var-head", "--run", run, "--resume", "--iterations", 3)["heads"].keys() == {"sn"}
    told = refused(2, "fit-var-head", "--run", run, "--resume", "--iterations", 4)
    assert (
        told
        == f"{run} holds several fits that can go on, npr (iteration 1) and sn (iteration 3); say which by its --kind"
    )
    unfinished(run, "heads")
    assert done("fit-var-head", "--run", run, "--resume", "--iterations", 4)["heads"].keys() == {"npr"}


def test_a_damaged_state_is_named(refused: Callable[..., str], cli: Any, run: Path) -> None:
    words = ["fit-var-head", "--run", run, "--kind", "npr", "--iterations", 1, *FAST]
    assert cli(*words).exit_code == 0
    (run / "state" / "heads.safetensors").write_bytes(b"half")
    for more in (words, ["fit-var-head", "--run", run, "--resume"]):
        assert "state/heads.safetensors" in refused(3, *more)
    assert cli(*words, "--force").exit_code == 0


@pytest.mark.slow
def test_two_kinds_at_the_same_time(done: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    """Each as if it had been alone, to the bit; each line of the log is whole."""
    alone = shutil.copytree(run, tmp_path / "alone")
    for kind in ("npr", "sn"):
        done("fit-var-head", "--run", alone, "--kind", kind, "--iterations", 16, *FAST)
    codes, told = at_once(
        *(["fit-var-head", "--run", run, "--kind", kind, "--iterations", 12, *FAST] for kind in ("npr", "sn"))
    )
    assert codes == [0, 0], told
    found = states(run)
    assert {tuple(kinds) for kinds, _, _ in found.values()} <= {("npr",), ("sn",)}
    assert sorted(lines(run)) == sorted((kind, i) for kind in ("npr", "sn") for i in range(1, 13))
    assert not (run / ".owners").exists()
    if len(found) == 2:  # the first had not ended before the second one began
        words = ["fit-var-head", "--run", run, "--resume", "--log-every", 1, "--iterations", 16, "--kind"]
        assert at_once([*words, "npr"], [*words, "sn"])[0] == [0, 0]
        assert sorted(lines(run)) == sorted((kind, i) for kind in ("npr", "sn") for i in range(1, 17))
        for kind in ("npr", "sn"):
            mine, theirs = ((one / f"head-{kind}.safetensors").read_bytes() for one in (run, alone))
            start = [8 + int.from_bytes(one[:8], "little") for one in (mine, theirs)]  # the header holds seconds
            assert mine[start[0] :] == theirs[start[1] :]


def test_two_trainings_in_one_run(tmp_path: Path, run: Path) -> None:
    """The second one is refused by the first one's name; what the first one does is whole."""
    words = ["train-mean", "--run", run, "--resume", "--iterations", 15, "--log-every", 1]
    codes, told = at_once(words, words)
    assert sorted(codes) in ([0, 1], [0, 0]), told
    if 1 in codes:
        assert "run (mean) is being written by diffcov train-mean" in told.replace(
            f"diffcov train-mean --run {run}", "diffcov train-mean"
        )
    iterations = [json.loads(line)["iteration"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert iterations == sorted(set(iterations))
    assert iterations[-1] == 15
