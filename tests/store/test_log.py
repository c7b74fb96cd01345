"""The run's log: lines of several commands, rewound when work is done again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from diffcov.errors import OutputError
from diffcov.store.log import RunLog


def lines(path: Path) -> list[tuple[str, int]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["command"], line["iteration"]) for line in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """train-mean at 1..3, fit-var-head at 1 and 2, in turns."""
    found = tmp_path / "run" / "log.jsonl"
    for iteration in (1, 2, 3):
        RunLog(found, "train-mean").append({"iteration": iteration, "loss": 0.5})
        if iteration < 3:
            RunLog(found, "fit-var-head").append({"iteration": iteration})
    return found


def test_append_keeps_order_and_values(path: Path) -> None:
    assert lines(path) == [
        ("train-mean", 1), ("fit-var-head", 1), ("train-mean", 2), ("fit-var-head", 2), ("train-mean", 3),
    ]  # fmt: skip
    assert json.loads(path.read_text().splitlines()[0]) == {"command": "train-mean", "iteration": 1, "loss": 0.5}


@pytest.mark.parametrize(
    ("iteration", "kept"), [(-1, []), (0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])]
)
def test_rewind_keeps_this_command_up_to_the_iteration_and_others_whole(
    path: Path, iteration: int, kept: list[int]
) -> None:
    RunLog(path, "train-mean").rewind(iteration)
    assert [i for command, i in lines(path) if command == "train-mean"] == kept
    assert [i for command, i in lines(path) if command == "fit-var-head"] == [1, 2]


def test_a_line_cut_by_a_kill_is_dropped(path: Path) -> None:
    with path.open("a") as opened:
        opened.write('{"command": "train-mean", "iterat')
    log = RunLog(path, "train-mean")
    log.rewind(2)
    log.append({"iteration": 3})
    assert [i for command, i in lines(path) if command == "train-mean"] == [1, 2, 3]


@pytest.mark.parametrize("junk", ["null", "3", '"text"', "[1]"])
def test_foreign_lines_do_not_stop_a_training(path: Path, junk: str) -> None:
    with path.open("a") as opened:
        opened.write(junk + "\n")
    before = path.read_text().splitlines()
    RunLog(path, "train-mean").rewind(2)
    assert path.read_text().splitlines() == [line for line in before if '"iteration": 3' not in line]
    assert path.read_text().splitlines()[-1] == junk


def test_rewind_of_nothing_writes_nothing(tmp_path: Path) -> None:
    RunLog(tmp_path / "run" / "log.jsonl", "train-mean").rewind(5)
    assert list(tmp_path.iterdir()) == []


def test_a_refusing_file_system(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match=r"could not write .*log\.jsonl"):
        RunLog(tmp_path / "run" / "log.jsonl", "train-mean").append({"iteration": 1})


def test_no_line_of_another_command_is_lost_while_the_log_is_rewound(path: Path) -> None:
    """Rewinding writes the file anew; a line that comes meanwhile waits for its turn."""

    def append() -> None:
        for iteration in range(100, 150):
            RunLog(path, "fit-var-head").append({"iteration": iteration})

    thread = threading.Thread(target=append)
    thread.start()
    while thread.is_alive():
        RunLog(path, "train-mean").rewind(2)
    thread.join()
    assert [iteration for command, iteration in lines(path) if command == "fit-var-head"] == [1, 2, *range(100, 150)]
    assert [one.name for one in path.parent.iterdir()] == ["log.jsonl"]
