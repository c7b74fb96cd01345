"""A training's network is tried and compiled for as many images as one process gives it at once."""

from __future__ import annotations

from typing import Any

import pytest

from diffcov.denoiser.call import PLAIN, Way
from diffcov.denoiser.mean_model import MeanModel
from diffcov.engines.training.config import Budget
from diffcov.processes.base import Processes, working
from diffcov.study import called
from diffcov.study.listener import Silent
from diffcov.study.quickest import Work
from oracles.tiny import tiny_model


class Three(Processes):
    """The first of three."""

    size = 3


@pytest.mark.parametrize(
    ("accumulate", "together", "images"), [(1, Processes(), 64), (8, Processes(), 8), (3, Three(), 8)]
)
def test_parts_of_a_batch(monkeypatch: pytest.MonkeyPatch, accumulate: int, together: Processes, images: int) -> None:
    told: list[Work] = []

    def chosen(model: MeanModel, work: Work, *rest: Any) -> Way:
        told.append(work)
        return PLAIN

    monkeypatch.setattr(called, "choose_way", chosen)
    settings: dict[str, Any] = {"batch_size": 64, "compile": "on"}
    with working(together):
        called.call_as_begun(tiny_model(5), dict(settings), Silent(), True, accumulate)
        called.call_quickly(tiny_model(5), settings, {}, Budget(100), Silent(), True, accumulate)
    assert [work.batch for work in told] == [images, images]
    assert told[1].calls == 100 * accumulate
