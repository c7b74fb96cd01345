"""Who writes a run or a folder: one at a time, known by name, and forgotten when it dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diffcov.errors import OutputError
from diffcov.store import ownership
from diffcov.store.ownership import MEAN, Owner, owned, owned_run, owner_of

HOLD = """
import sys, time
from pathlib import Path
from diffcov.store.ownership import owned
with owned(Path(sys.argv[1]), "it", "diffcov train-mean", "wait"):
    print("mine", flush=True)
    time.sleep(60)
"""
TAKE_TURNS = """
import sys
from pathlib import Path
from diffcov.errors import OutputError
from diffcov.store.ownership import owned
folder, done = Path(sys.argv[1]), 0
while done < 100:
    try:
        with owned(folder / "lock", "it", "diffcov", "wait", wait=60):
            seen = folder / "inside"
            seen.touch(exist_ok=False)
            seen.unlink()
            done += 1
    except FileExistsError:
        sys.exit("two owners")
"""


def holder(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds a lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "mine\n"
    return other


def test_the_owner_is_named_and_a_killed_one_is_forgotten(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    other = holder(lock)
    found = owner_of(lock)
    assert found is not None
    assert (found.command, found.pid, found.host) == ("diffcov train-mean", other.pid, socket.gethostname())
    message = rf"the run is being written by diffcov train-mean \(process {other.pid} on .*, since 20.*\); wait"
    with pytest.raises(OutputError, match=message), owned(lock, "the run", "me", "wait", wait=0):
        raise AssertionError("two owners")
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert lock.is_file(), "what a killed owner leaves"
    assert owner_of(lock) is None
    with owned(lock, "the run", "diffcov tune", "wait") as locked:
        assert locked
        assert json.loads(lock.read_text())["command"] == "diffcov tune"
    assert not lock.exists()


def test_many_processes_take_turns(tmp_path: Path) -> None:
    """Locks are removed and made anew all the time; two owners at once would meet in a file."""
    racers = [
        subprocess.Popen([sys.executable, "-c", TAKE_TURNS, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [racer.communicate()[1] for racer in racers] == [""] * 4
    assert [racer.returncode for racer in racers] == [0] * 4


def test_who_waits_long_enough_gets_it(tmp_path: Path) -> None:
    entered, leave, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with owned(tmp_path / "lock", "it", "first", "wait"):
            entered.set()
            leave.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(10)
    threading.Timer(0.2, leave.set).start()
    with owned(tmp_path / "lock", "it", "second", "wait", wait=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_nothing_is_left_of_a_run_that_was_never_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), owned_run(tmp_path / "deep" / "run", "train-mean", MEAN):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_in_a_run_stays(tmp_path: Path) -> None:
    with owned_run(tmp_path / "run", "train-mean", MEAN):
        (tmp_path / "run" / "mean.safetensors").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mean.safetensors"]


def test_what_a_killed_owner_left_in_a_run_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "run" / ".owners").mkdir(parents=True)
    (tmp_path / "run" / ".owners" / f"{MEAN}.lock").touch()
    with owned_run(tmp_path / "run", "train-mean", MEAN):
        assert (tmp_path / "run" / ".owners" / f"{MEAN}.lock").is_file()
    assert list((tmp_path / "run").iterdir()) == []


def test_tasks_of_different_names_work_side_by_side_and_none_beside_the_mean(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with owned_run(run, "fit-var-head", "heads-npr", "heads-sn"):
        with owned_run(run, "fit-var-head", "heads-ocm"):
            pass
        with pytest.raises(OutputError, match=r"run \(heads-sn\) is being written by diffcov fit-var-head"):
            owned_run(run, "fit-var-head", "heads-sn").__enter__()
        with pytest.raises(OutputError, match=r"run \(heads-npr\) is being written by diffcov fit-var-head"):
            owned_run(run, "train-mean", MEAN).__enter__()
    with owned_run(run, "train-mean", MEAN):
        with pytest.raises(OutputError, match=r"run \(mean\) is being written by diffcov train-mean"):
            owned_run(run, "fit-var-head", "heads-npr").__enter__()
        with pytest.raises(OutputError, match=r"run \(mean\)"):
            owned_run(run, "train-mean", MEAN).__enter__()
    assert not (run / ".owners").exists()


def test_without_locks_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "fcntl", None)
    lock = tmp_path / "lock"
    with owned(lock, "it", "first", "wait") as first, owned(lock, "it", "second", "wait") as second:
        assert (first, second) == (False, False)
    assert owner_of(lock) is None
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_owner_is_not_yet_written_is_held_all_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with owned(lock, "it", "first", "wait"):
        lock.write_text("")
        assert owner_of(lock) == Owner("another process", 0, "an unknown machine", "just now")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"could not write the set: .*; nothing was changed"),
        owned(tmp_path / "file" / "lock", "the set", "me", "wait"),
    ):
        raise AssertionError("written")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system that takes no files")
def test_a_folder_that_takes_no_files_is_given_up() -> None:
    """There it is as if the folder went away each time, and once this was tried for ever."""
    with (
        pytest.raises(OutputError, match=r"could not write the set: .*; nothing was changed"),
        owned(Path("/proc/lock"), "the set", "me", "wait"),
    ):
        raise AssertionError("written")


def test_a_lock_is_held_and_given_back_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for the owner's name then; a lock that stayed held would shut everybody out for good."""

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with owned(tmp_path / "lock", "it", "first", "wait") as locked:
            assert locked
            assert owner_of(tmp_path / "lock") is not None
    with owned(tmp_path / "lock", "it", "second", "wait", wait=0) as locked:
        assert locked
