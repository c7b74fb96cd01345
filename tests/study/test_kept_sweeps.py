"""A measurement that is killed on its way goes on with its next round, and ends with the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import diffcov.study.keeping
from diffcov.store.artifact import read_header
from diffcov.study.estimate import estimate_var
from diffcov.study.requests.measure import EstimateRequest, SearchRequest
from diffcov.study.requests.shared import Place
from diffcov.study.search import search_grids
from oracles.listening import Heard, Recorder


class Stops(Exception):
    """Somebody pulls the plug."""


class Unplugged(Recorder):
    """Pulls it once so many images of a sweep are done."""

    def __init__(self, title: str, images: int) -> None:
        super().__init__()
        self.title, self.images = title, images

    @contextmanager
    def progress(self, title: str, total: float | None, unit: str) -> Iterator[Heard]:
        task = Pulled(title, total, unit)
        task.last = self.images if title == self.title else 10**9
        self.tasks.append(task)
        yield task


class Pulled(Heard):
    """The task that is stopped."""

    last: int = 0

    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        super().update(done, message, total)
        if done > self.last:
            raise Stops


SINGLE: dict[str, Any] = {"samples": 3, "knots": 6, "knot_samples": 40, "batch_size": 4}
CASES: dict[
    str, tuple[dict[str, Any], str, int, str, int]
] = {  # what is asked, the sweep that is stopped and after how many images, what is said, images that are not again
    "all times": (SINGLE, "table", 50, "11 of 50 times", 33),
    "knots": (SINGLE, "spectrum, image-gaussian, matrices", 90, "2 of 6 times", 80),
    "curves": (
        {"calls": 2000, "batch_size": 32},
        "table, spectrum, image-gaussian, matrices",
        1200,
        "images are measured",
        700,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_goes_on(mean_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 0.0)
    values, title, after, said, least = CASES[case]
    stopped = tmp_path / "stopped"
    shutil.copytree(mean_run, stopped)
    estimate_var(EstimateRequest(Place(run=mean_run), **values), whole := Recorder())
    assert title in [task.title for task in whole.tasks], [task.title for task in whole.tasks]
    request = EstimateRequest(Place(run=stopped), **values)
    with pytest.raises(Stops):
        estimate_var(request, Unplugged(title, after))
    again = Recorder()
    estimate_var(request, again)
    assert any(note.startswith("going on: ") and said in note for note in again.notes), "\n".join(again.notes)
    task = next(task for task in again.tasks if task.title == title)
    assert task.told[0][0] > least
    for file in ("variance", "spectrum", "image-gaussian", "matrices"):
        mine, theirs = (read_header(run / f"{file}.safetensors")["digest"] for run in (stopped, mean_run))
        assert mine == theirs, file
    assert not list(stopped.rglob("*.unfinished"))


def test_a_search_of_times_goes_on(full_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 0.0)
    stopped = shutil.copytree(full_run, tmp_path / "stopped")
    values: dict[str, Any] = {"covariance": "corrected", "images": 4, "batch_size": 16}
    whole = search_grids(SearchRequest(Place(run=full_run), **values))
    with pytest.raises(Stops):
        search_grids(SearchRequest(Place(run=stopped), **values), Unplugged("terms", 100))
    again = Recorder()
    found = search_grids(SearchRequest(Place(run=stopped), **values), again)
    assert "going on: 96 of 200 looks are done" in again.notes
    assert again.tasks[0].told[0][0] > 96
    assert found.digest == whole.digest
    assert not list(stopped.rglob("*.unfinished"))
