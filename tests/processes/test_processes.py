"""Two processes give what one gives: every command of a run, in one session of each, over gloo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import FEW_KNOTS, TINY, listing, run_cli
from diffcov.processes.base import ALONE, Processes
from processes.launch import HERE, ended, torchrun

SAME_BATCHES = 1e-9
"""Relative: the same numbers are added in another order."""
OTHER_BATCHES = 1e-5
"""Relative: float32 in the network, over other batches."""
LOSS = 1e-4

TRAIN = ("train-mean", *TINY, "--dropout", "0", "--flip", "--log-every", "1", "--iterations", "50")
NPR = ("--kind", "npr")
FEW = ("--samples", "3", *FEW_KNOTS)
COMMANDS: dict[str, tuple[str, ...]] = {
    "sweep": ("estimate-var", "--force", "--calls", "120", "--batch-size", "16"),
    "single": ("estimate-var", "--force", "--batch-size", "16", *FEW),
    "add": ("estimate-var", "--add", "--samples", "1", "--batch-size", "16", "--knot-samples", "3"),
    "fit": ("fit-var-head", "--force", "--iterations", "4", "--batch-size", "9", "--log-every", "1", *NPR),
    "sample": ("sample", "--steps", "4", "--count", "11", "--batch-size", "4", "--format", "npz"),
    "evaluate": (
        "evaluate", "--steps", "3", "--count", "40", "--images", "7", "--batch-size", "4", "--json", "--covariance",
        "corrected,npr", "--metrics", "nll,calibration,exposure,ode-nll,distances", "--features", "spectrum",
    ),
    "trajectory": ("trajectory", "--candidates", "6", "--batch-size", "4", "--covariance", "corrected"),
    "compare": (
        "compare", "--steps", "3", "--count", "40", "--images", "6", "--covariance", "corrected,npr", "--features",
        "spectrum", "--batch-size", "8", "--solver", "ddpm", "--samplers", "none",
    ),
    "refused": ("trajectory", "--candidates", "6", "--covariance", "corrected"),
    "small batch": ("train-mean", "--force", "--accumulate", "1000", "--iterations", "1"),
}  # fmt: skip
"""By a name of the test's own; all work on copies of one run."""


@dataclass(frozen=True)
class Sessions:
    """The same commands by one process and by two.

    Attributes:
        one, two: their folders, with "run" and "trained" in each.
        said: by rank of the two, what ``program.py`` kept.
        alone: what the one said, by the command's name.
    """

    one: Path
    two: Path
    said: list[dict[str, Any]]
    alone: dict[str, Any]

    def of(self, name: str, rank: int = 0) -> Any:
        """What a rank of the two said of a command."""
        return self.said[rank]["commands"][[*COMMANDS, "train", "resume"].index(name)]


def words(folder: Path) -> list[list[str]]:
    """All commands, in a folder; the last two train, and go on with what one process began."""
    run, trained = str(folder / "run"), str(folder / "trained")
    on_run = [[*command, "--run", run] for command in COMMANDS.values()]
    went_on = ["train-mean", "--resume", "--iterations", "6", "--run", str(folder / "begun")]
    return [*on_run, [*TRAIN, "--run", trained], went_on]


@pytest.fixture(scope="module")
def sessions(finished: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for folder in (one, two):
        shutil.copytree(finished, folder / "run")
        shutil.copytree(trained, folder / "begun")
    (two / "commands.json").write_text(json.dumps(words(two)), encoding="utf-8")
    alone = {}
    with torchrun(HERE / "program.py", two) as launched:
        for name, command in zip([*COMMANDS, "train", "resume"], words(one), strict=True):
            found = run_cli(*command)
            alone[name] = {"code": found.exit_code, "stdout": found.stdout, "stderr": found.stderr}
        code, _, stderr = ended(launched, 120)
    assert code == 0, stderr
    said = [json.loads((two / f"said-{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    yield Sessions(one, two, said, alone)


def close(mine: Any, theirs: Any, tolerance: float, where: str = "") -> None:
    """Compare nested plain values; times that something took and paths are not compared."""
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), where
        for key in mine.keys() - {"seconds", "path", "run", "command", "parts", "search_seconds"}:
            close(mine[key], theirs[key], tolerance, f"{where}.{key}")
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), where
        for k, pair in enumerate(zip(mine, theirs, strict=True)):
            close(*pair, tolerance, f"{where}[{k}]")
    elif isinstance(mine, float):
        assert mine == pytest.approx(theirs, rel=tolerance, abs=tolerance), where
    elif "digest" not in where and "made_of" not in where:
        assert mine == theirs, where


def compare_files(sessions: Sessions, name: str, tolerance: float) -> None:
    mine, theirs = (load_file(folder / "run" / name) for folder in (sessions.two, sessions.one))
    assert mine.keys() == theirs.keys()
    for key, tensor in mine.items():
        largest = float(theirs[key].double().abs().nan_to_num().max())
        torch.testing.assert_close(tensor, theirs[key], rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def test_one_process_alone_has_everything() -> None:
    assert ALONE.first and ALONE.share(7) == range(7) and ALONE.dealt([3, 1]) == [0, 1]
    assert ALONE.gathered(lambda: 5) == [5] and ALONE.once(lambda: 5) == ALONE.agreed(5) == 5


@pytest.mark.parametrize("count", (0, 1, 2, 3, 10, 11))
@pytest.mark.parametrize("size", (1, 2, 3, 7))
def test_shares_and_hands_are_all_of_it_once_and_even(count: int, size: int) -> None:
    shares, hands = [], []
    for rank in range(size):
        one = Processes()
        one.rank, one.size = rank, size
        shares.append(list(one.share(count)))
        hands.append(one.dealt([1.0] * count))
    assert list(chain(*shares)) == sorted(chain(*hands)) == list(range(count))
    for parts in (shares, hands):
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_processes_do_together(sessions: Sessions) -> None:
    first, second = (said["primitives"] for said in sessions.said)
    assert (first.pop("shares"), second.pop("shares")) == ([[0, 0], [0, 0], [0, 3]], [[0, 0], [0, 1], [3, 7]])
    assert (first.pop("dealt"), second.pop("dealt")) == ([1, 2], [0, 3, 4])
    assert first == second
    assert first["gathered"] == [[0, 1], [1, 1]], "inside of a share each is alone"
    assert (first["from_first"], first["agreed"]) == (0, 0)
    assert first["summed"] == [[[11.0] * 3] * 2, [1.0], 10.0]
    assert first["errors"] == ["of rank 1", "of the first"]
    assert first["written"] == [1, "0"], "the second reads what the first wrote"
    assert first["nested"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("refused", "small batch")])
def test_commands_succeed_on_both(sessions: Sessions, name: str) -> None:
    for found in (sessions.alone[name], sessions.of(name), sessions.of(name, 1)):
        assert found["code"] == 0, found["stderr"]


def test_files_are_the_same(sessions: Sessions) -> None:
    """And no others are left, not even for a moment's use."""
    assert listing(sessions.one / "run").keys() == listing(sessions.two / "run").keys()


@pytest.mark.parametrize("name", ("variance", "spectrum", "matrices", "image-gaussian"))
def test_statistics(sessions: Sessions, name: str) -> None:
    """Of single times, twice 3 and 1; those of the curves are compared below, and were replaced."""
    compare_files(sessions, f"{name}.safetensors", SAME_BATCHES if name != "matrices" else OTHER_BATCHES)


def test_a_sweep_that_chooses_its_times(sessions: Sessions) -> None:
    """It went where it went alone, for what it prints is the same to the last digit."""
    mine, theirs = (said["stderr"].split("standard error") for said in (sessions.of("sweep"), sessions.alone["sweep"]))
    assert mine[1:] and mine[1].split(";")[0] == theirs[1].split(";")[0]


def test_heads(sessions: Sessions) -> None:
    """By their losses and nats: what has no gradient but rounding is moved at random by AdamW, and moves nothing."""
    logs = [(folder / "run" / "log.jsonl").read_text(encoding="utf-8") for folder in (sessions.two, sessions.one)]
    mine, theirs = ([json.loads(line) for line in log.splitlines()] for log in logs)
    fitted = [line for line in mine if line["command"] == "fit-var-head" and line["part"] == "npr"]
    assert len(fitted) == 5, "4 iterations, and an evaluation before them"
    numbers = {"loss", "grad_norm", "held_out", "smoothed"}
    for line, other in zip(mine, theirs, strict=True):
        close({k: line.get(k) for k in numbers}, {k: other.get(k) for k in numbers}, LOSS)


def test_images(sessions: Sessions) -> None:
    (one,) = (sessions.one / "run" / "samples").rglob("samples.npz")
    (two,) = (sessions.two / "run" / "samples").rglob("samples.npz")
    mine, theirs = (np.load(path)["arr_0"].astype(int) for path in (two, one))
    assert mine.shape == (11, 8, 8, 1)
    assert abs(mine - theirs).max() <= 1 and (mine != theirs).mean() < 0.01, "a level apart where it was rounded"


def test_evaluation(sessions: Sessions) -> None:
    close(
        *(json.loads(said["stdout"]) for said in (sessions.of("evaluate"), sessions.alone["evaluate"])), OTHER_BATCHES
    )


def test_both_ranks_know_the_same(sessions: Sessions) -> None:
    assert sessions.of("evaluate")["stdout"] == sessions.of("evaluate", 1)["stdout"]


def test_comparison(sessions: Sessions) -> None:
    results = [folder / "run" / "compare" / "compare.json" for folder in (sessions.two, sessions.one)]
    close(*(json.loads(path.read_text(encoding="utf-8")) for path in results), OTHER_BATCHES)


def test_grids(sessions: Sessions) -> None:
    compare_files(sessions, "trajectory-corrected.safetensors", OTHER_BATCHES)


def test_a_refusal_is_the_same_and_ends_both(sessions: Sessions) -> None:
    for name in ("refused", "small batch"):
        codes = {said["code"] for said in (sessions.of(name), sessions.of(name, 1))}
        assert len(codes) == 1 and codes != {0}
    assert "already exists" in sessions.of("refused")["stderr"]
    cut = "a batch of 128 images cannot be cut into {}--accumulate 1000 parts; give a larger --batch-size, or fewer"
    assert cut.format("2 processes and ") in sessions.of("small batch")["stderr"]
    assert cut.format("") in sessions.alone["small batch"]["stderr"]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if line["command"] == "train-mean"]


def test_training(sessions: Sessions) -> None:
    mine, theirs = (losses(folder / "trained") for folder in (sessions.two, sessions.one))
    assert len(mine) == 50
    assert mine == pytest.approx(theirs, rel=LOSS)


def test_a_state_holds_nothing_of_processes(sessions: Sessions) -> None:
    states = [folder / "trained" / "state" / "mean.safetensors" for folder in (sessions.one, sessions.two)]
    one, two = map(load_file, states)
    assert {name: tensor.shape for name, tensor in one.items()} == {name: tensor.shape for name, tensor in two.items()}


def test_one_process_goes_on_with_what_two_began_and_two_with_what_one_began(sessions: Sessions) -> None:
    assert sessions.of("resume")["code"] == sessions.alone["resume"]["code"] == 0
    assert losses(sessions.two / "begun") == pytest.approx(losses(sessions.one / "begun"), rel=LOSS)
    run = shutil.copytree(sessions.two / "trained", sessions.two / "alone")
    for where in (run, sessions.one / "trained"):
        found = run_cli("train-mean", "--resume", "--iterations", 53, "--log-every", 1, "--run", where)
        assert found.exit_code == 0, found.stderr
    assert losses(run)[50:] == pytest.approx(losses(sessions.one / "trained")[50:], rel=LOSS)


@pytest.mark.slow
def test_a_search_for_a_sampler_and_a_fitted_scale(finished: Path, tmp_path: Path) -> None:
    """The same candidates with the same distances, so the same recipe; the same scale from the same probes."""
    one, two = (shutil.copytree(finished, tmp_path / name / "run") for name in ("one", "two"))
    features = ("--covariance", "corrected", "--features", "spectrum")
    tune = ("tune", "--steps", "3", "--few", "16", "--count", "64", "--no-starts", *features)
    scaled = ("evaluate", "--steps", "3", "--count", "40", "--metrics", "distances", "--eps-scale", "fitted", *features)
    told = [[*tune, "--run", str(two)], [*scaled, "--json", "--run", str(two)]]
    (two.parent / "commands.json").write_text(json.dumps(told), encoding="utf-8")
    with torchrun(HERE / "program.py", two.parent) as launched:
        assert run_cli(*tune, "--run", one).exit_code == 0
        alone = run_cli(*scaled, "--json", "--run", one)
        assert alone.exit_code == 0
        code, _, stderr = ended(launched, 300)
    assert code == 0, stderr
    said = json.loads((two.parent / "said-0.json").read_text(encoding="utf-8"))["commands"]
    close(json.loads(said[1]["stdout"]), json.loads(alone.stdout), OTHER_BATCHES)
    (recipe,) = (one / "recipes").glob("*.json")
    found = [json.loads((run / "recipes" / recipe.name).read_text(encoding="utf-8")) for run in (two, one)]
    close(*found, OTHER_BATCHES)
