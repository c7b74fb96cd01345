"""What one process of several says and where, without the others."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore

from diffcov.cli.several import quiet_unless_first
from diffcov.errors import InputError, Interrupted, ProcessLost, UsageError
from diffcov.processes.base import Processes, working
from diffcov.processes.joined import joined
from diffcov.processes.watch import Watch, Words, last_words
from diffcov.study.device import pick_device


@pytest.mark.parametrize(("rank", "heard"), (("0", "data"), ("1", "")))
def test_only_the_first_is_heard(
    rank: str, heard: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with quiet_unless_first():
        sys.stdout.write("data")
        sys.stderr.write("")
    assert capsys.readouterr().out == heard


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other launchers set WORLD_SIZE too."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("RANK", raising=False)
    with joined() as ours:
        assert ours.size == 1


def test_others_that_cannot_be_met_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessLost) as lost, joined():
        pass
    told = str(lost.value)
    assert told.startswith("process 1 of 2 could not meet the others at localhost:nowhere (")
    assert told.endswith("; see that all machines reach that address, and start them together")


@pytest.mark.parametrize(
    ("error", "words"),
    (
        (UsageError("no"), Words(True, "no", 2)),
        (RuntimeError("a bug\nand more"), Words(True, "RuntimeError: a bug", 1)),
        (ProcessLost.told(), Words(False, "stopped", 1)),
        (Interrupted("stopped"), Words(False, "stopped", 130)),
        (KeyboardInterrupt(), Words(False, "stopped", 130)),
    ),
)
def test_last_words(error: BaseException, words: Words) -> None:
    assert last_words(error) == words


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"BEAT": 0.02, "SILENCE": 0.3, "PATIENCE": 0.2, "GRACE": 0.3}.items():
        monkeypatch.setattr(f"diffcov.processes.watch.{name}", seconds)


def wait_for(heard: list[str]) -> str:
    ends = time.monotonic() + 5
    while not heard:
        assert time.monotonic() < ends, "nothing was heard"
        time.sleep(0.01)
    return heard[0]


def test_silence_is_heard(quick: None) -> None:
    shelf, heard = HashStore(), list[str]()
    first = Watch(shelf, 0, 2, heard.append)
    assert first.dead() == [1]
    said = wait_for(heard)
    first.stop()
    assert said == (
        "process 1 of 2 has not been heard of for 0 s (its machine is gone or cannot be reached), so the others "
        "stopped too"
    )


def test_a_pulse_is_heard_and_words_are_no_death(quick: None) -> None:
    shelf, heard = HashStore(), list[str]()
    watches = [Watch(shelf, rank, 3, heard.append) for rank in range(3)]
    assert watches[0].dead() == []
    watches[1].say(Words.done())
    watches[1].stop()
    assert watches[0].dead() == [] and watches[0].failure() is None and not heard
    assert [watch.take_the_word() for watch in watches] == [True, False, False]
    for watch in watches:
        watch.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "pulse"]


def test_a_failure_that_is_not_noticed_otherwise_ends_the_rest(quick: None) -> None:
    shelf, heard = HashStore(), list[str]()
    first, second = (Watch(shelf, rank, 2, heard.append) for rank in range(2))
    second.say(last_words(InputError("no such file")))
    second.say(Words.done())
    assert first.failure() == (1, Words(True, "no such file", 3)), "first words are the last"
    assert wait_for(heard) == "process 1 of 2: no such file"
    first.stop()
    second.stop()


def of_a_machine(size: int, local: int) -> Processes:
    ours = Processes()
    ours.rank, ours.size, ours.local_rank, ours.local_size = 1, size, 1, local
    return ours


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: True, device_count=lambda: 2))
    taken: list[str] = []
    monkeypatch.setattr(torch, "device", lambda name: taken.append(name))
    monkeypatch.setattr(torch, "zeros", lambda *shape, **more: None)
    with working(of_a_machine(4, 2)):
        pick_device("auto")
        pick_device("cuda")
    assert taken == ["cuda:1", "cuda:1"]
    with working(of_a_machine(4, 4)), pytest.raises(UsageError) as many:
        pick_device("auto")
    assert str(many.value) == (
        "4 processes run on this machine, which has 2 GPUs; start fewer with torchrun --nproc-per-node 2, or say "
        "--device cpu"
    )
    with working(of_a_machine(2, 2)), pytest.raises(UsageError) as one:
        pick_device("cuda:0")
    assert str(one.value) == (
        "--device cuda:0 is one GPU, and 2 processes run on this machine; say --device cuda, and each takes its own"
    )
