"""Every writing command as it is tried: what it begins from, what is typed, and what is typed again."""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import diffcov.study.demo
import diffcov.study.first_picture
import diffcov.study.keeping
from conftest import FEW_KNOTS, TINY
from diffcov.digest import digest_of_tensors
from diffcov.engines.tuning.halving import Plan
from diffcov.store.seal import file_digest
from diffcov.store.state import read_progress
from diffcov.study import tuning_bench

TRAINED = Path(__file__).parents[1] / "assets" / "run-of-before" / "mean.safetensors"
SEVERAL = ("--covariance", "small,corrected,npr")
JUDGED = ("--images", 12, "--batch-size", 6, "--features", "pixels", "--count", 70)


@dataclass(frozen=True)
class Command:
    """A writing command.

    Attributes:
        name: for people.
        base: "none", "trained" or "full": the run that it begins from.
        words: what is typed, with RUN for the run and OUT for a folder beside it.
        before: what is typed before, in the same way, so that there is something old.
        weight: how often it is tried among a hundred; those that take longer are tried less.
    """

    name: str
    base: str
    words: tuple[object, ...]
    before: tuple[object, ...] = ()
    weight: int = 10

    def share(self, number: int) -> int:
        """How many of ``number`` tries this command gets."""
        return max(1, round(number * min(1.0, self.weight / 10)))

    def typed(self, place: Path) -> list[object]:
        return self._placed(self.words, place)

    def prepare(self, base: Path | None, place: Path, run: Callable[..., Any]) -> None:
        """Make ``place`` what the command begins from."""
        place.mkdir()
        if base is not None:
            shutil.copytree(base, place / "run")
        if "DATA" in self.before:
            drawn = np.random.default_rng(0)
            images = drawn.integers(0, 256, (160, 8, 8, 1), dtype=np.uint8)
            np.savez(place / "data.npz", images, np.arange(160) % 4)
        if "WEIGHTS" in self.words:
            torch.save(load_file(TRAINED), place / "weights.pt")
        if self.before:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = run(*self._placed(self.before, place))
            assert result.exit_code == 0, result.stderr

    def again(self, place: Path) -> list[object]:
        """What somebody types who finds it stopped."""
        words = self.typed(place)
        for task in ("mean", "heads"):
            state = place / "run" / "state" / f"{task}.safetensors"
            if words[0] == {"mean": "train-mean", "heads": "fit-var-head"}[task] and state.is_file():
                _, progress = read_progress(state)
                if not progress.finished:
                    return [words[0], "--run", place / "run", "--resume"]
        return words

    @staticmethod
    def _placed(words: tuple[object, ...], place: Path) -> list[object]:
        names = {"RUN": place / "run", "OUT": place / "out", "WEIGHTS": place / "weights.pt"}
        names |= {"DATA": place / "data.npz", "SHEET": place / "sheet.png"}
        return [names.get(str(word), word) for word in words]


SAMPLING = ("--count", 20, "--batch-size", 4, "--steps", 4, "--format", "folder,npz")
COMMANDS = [
    Command("train-mean", "none", ("train-mean", "--run", "RUN", *TINY, "--iterations", 3, "--save-minutes", 0.00001)),
    Command(
        "train-mean --force", "trained",
        ("train-mean", "--run", "RUN", *TINY, "--iterations", 2, "--seed", 5, "--force"), weight=6,
    ),
    Command("train-mean --resume", "trained", ("train-mean", "--run", "RUN", "--resume", "--iterations", 5), weight=6),
    Command(
        "estimate-var", "trained",
        ("estimate-var", "--run", "RUN", "--samples", 2, *FEW_KNOTS, "--batch-size", 4),  # so that it has rounds
    ),
    Command("estimate-var curves", "trained", ("estimate-var", "--run", "RUN", "--calls", 200), weight=6),
    Command(
        "estimate-var --force", "full", ("estimate-var", "--run", "RUN", "--samples", 3, *FEW_KNOTS, "--force"),
        weight=6,
    ),
    Command(
        "fit-var-head", "full", ("fit-var-head", "--run", "RUN", "--iterations", 3, "--batch-size", 8, "--force"),
        weight=8,
    ),
    Command("sample", "full", ("sample", "--run", "RUN", *SAMPLING, "--out", "OUT"), weight=20),
    Command(
        "sample --force", "full", ("sample", "--run", "RUN", *SAMPLING, "--out", "OUT", "--force"),
        ("sample", "--run", "RUN", *SAMPLING, "--out", "OUT", "--seed", 9), weight=20,
    ),
    Command("sample --of", "full", ("sample", "--run", "RUN", *SAMPLING, "--of", 40, "--out", "OUT"), weight=6),
    Command(
        "sample --of, the last part", "full",
        ("sample", "--run", "RUN", *SAMPLING, "--first", 20, "--of", 40, "--out", "OUT"),
        ("sample", "--run", "RUN", *SAMPLING, "--of", 40, "--out", "OUT"),
    ),
    Command(
        "sample, a fitted scale", "full", ("sample", "--run", "RUN", "--steps", 2, "--eps-scale", "fitted"), weight=6,
    ),
    Command(
        "evaluate", "full",
        ("evaluate", "--run", "RUN", *SEVERAL, *JUDGED, "--steps", 2, "--metrics",
         "nll,ode-nll,distances,calibration,exposure"),
        weight=10,
    ),
    Command(
        "compare", "full",
        ("compare", "--run", "RUN", "--covariance", "small,corrected", *JUDGED, "--steps", 2, "--samplers", "none"),
        weight=6,
    ),
    Command(
        "tune", "full",
        ("tune", "--run", "RUN", "--steps", 2, "--covariance", "corrected", "--few", 16, "--count", 70, "--features",
         "pixels"),
        weight=3,
    ),
    Command(
        "evaluate, a classifier", "none",
        ("evaluate", "--run", "RUN", "--steps", 2, "--metrics", "distances", "--features", "classifier", "--count", 70),
        ("train-mean", "--run", "RUN", *TINY, "--iterations", 2, "--data", "DATA"), weight=3,
    ),
    Command(
        "trajectory", "full",
        ("trajectory", "--run", "RUN", "--covariance", "corrected", "--images", 4, "--batch-size", 32),
    ),
    Command(
        "import", "none",
        ("import", "WEIGHTS", "--data", "digits", "--run", "RUN", "--schedule", "linear", "--timesteps", 50), weight=6,
    ),
    Command("export", "full", ("export", "--run", "RUN", "--covariance", "corrected", "--out", "OUT")),
    Command("inspect --sheet", "none", ("inspect", "digits", "--sheet", "SHEET"), weight=6),
    Command("demo", "none", ("demo", "--run", "RUN", "--count", 64), weight=1),
    Command(
        "demo --train", "none",
        ("demo", "--train", "--run", "RUN", "--iterations", 2, "--head-iterations", 1, "--samples", 1,
         "--knot-samples", 4, "--count", 66),
        weight=1,
    ),
]  # fmt: skip


@contextmanager
def small() -> Iterator[None]:
    """Short searches and demonstrations, and everything kept at once that is kept now and then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcov.study.demo, "STEPS", (2, 3))
        patch.setattr(diffcov.study.demo, "TUNED_STEPS", 3)
        patch.setattr(diffcov.study.demo, "FEW", 16)
        plan = functools.partial(Plan, parents=(1,), steps=(0.25,), rungs=((2, 2),), sheets=30)
        patch.setattr(tuning_bench, "Plan", plan)
        patch.setattr(diffcov.study.keeping, "EVERY", 0.0)
        yield


def shown(path: Path) -> Any:
    """What a file holds, whole, or an error; of one that names seconds and paths only that it can be read.

    A manifest names seconds too; what it says of the files beside it is true.
    """
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        with safe_open(path, "pt") as opened:
            header = opened.metadata() or {}
        found = digest_of_tensors(tensors)
        assert header.get("digest", found) == found, path
        return None if path.parent.name == "state" else found  # a state holds its seconds
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return np.asarray(picture).tobytes()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    if path.suffix == ".npy":
        return np.load(path).tobytes()
    if path.suffix == ".json":
        told = json.loads(path.read_text())
        if isinstance(told, dict) and "files" in told:
            assert told["files"] == {name: file_digest(path.parent / name) for name in told["files"]}, path
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>"), path
    elif path.suffix == ".jsonl":  # the last line may be cut short
        for line in path.read_text().splitlines()[:-1]:
            json.loads(line)
    return None


def whole(place: Path) -> dict[str, Any]:
    """Every file that is no piece of unfinished work and no temporary one, and what it holds."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    names = [(path, path.relative_to(place)) for path in files]
    return {str(name): shown(path) for path, name in names if not any(part.startswith(".") for part in name.parts)}


def hidden(place: Path) -> list[str]:
    """Pieces, locks and temporary files."""
    return sorted(str(path.relative_to(place)) for path in place.rglob(".*"))
