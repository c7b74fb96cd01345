"""What was kept of long work stays until what it became is written: a write that is refused costs none of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import diffcov.study.keeping
import diffcov.study.scale
from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import even
from diffcov.engines.sampler import Sampler
from diffcov.errors import OutputError
from diffcov.solver.ddim import DDIM
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.parts import PartsFolder
from diffcov.store.run import RunFolder
from diffcov.study.bench import Bench
from diffcov.study.opening import Opened
from diffcov.study.scale import Scaling
from oracles.listening import Recorder
from oracles.tiny import tiny_covariance

REFUSED = "it is a folder; nothing was changed"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is kept now and then is kept each time."""
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 0.0)


@pytest.fixture
def bench(trained: Path, tmp_path: Path) -> Bench:
    """Twelve digits to measure on, eight samples to draw, and no distances."""
    run, say = RunFolder(trained), Recorder()
    mean, images = load_mean(run.mean), load_images("digits", 12)
    covariances = {"small": tiny_covariance("small", mean.model)}
    held_out = Opened(images.examples, {"digest": images.digest()}, images)
    return Bench(
        PartsFolder(tmp_path / "compare", force=False), mean, covariances, 0, 4, View(clip_x0=True),
        Scaling(1.0, run, mean, 4, say), say, held_out, count=8,
    )  # fmt: skip


def listening(bench: Bench) -> tuple[Bench, Recorder]:
    say = Recorder()
    return replace(bench, listener=say), say


def left(bench: Bench) -> list[str]:
    assert isinstance(bench.keeper, PartsFolder)
    return [path.name for path in (bench.keeper.path / "parts").iterdir()]


def test_images_stay_until_the_samples_are_written(bench: Bench, tmp_path: Path) -> None:
    sampler = bench.sampler("small", DDIM(), even(bench.mean.model.schedule.T, 2))
    in_the_way = tmp_path / "compare" / "parts" / f"{sampler.label}.safetensors"
    in_the_way.mkdir(parents=True)
    with pytest.raises(OutputError, match=REFUSED):
        bench.drawn(sampler)
    in_the_way.rmdir()
    again, say = listening(bench)
    again.drawn(sampler)
    assert say.said("going on: 8 of 8 images are there")
    assert left(bench) == [in_the_way.name], "and go then"


def test_sums_stay_until_the_parts_are_written(bench: Bench, tmp_path: Path) -> None:
    grid = even(bench.mean.model.schedule.T, 3)
    in_the_way = tmp_path / "compare" / "parts" / f"forward-{grid.label}.safetensors"
    in_the_way.mkdir(parents=True)
    with pytest.raises(OutputError, match=REFUSED):
        bench.fulfil([bench.norms(grid)])
    in_the_way.rmdir()
    again, say = listening(bench)
    again.fulfil([again.norms(grid)])
    assert say.said("going on: 36 of 36 looks are done")
    assert left(bench) == [in_the_way.name], "and go then"


def test_mismatches_stay_until_the_scale_is_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffcov.study.scale, "SAMPLES", 8)
    run, say = RunFolder(shutil.copytree(trained, tmp_path / "run")), Recorder()
    mean = load_mean(run.mean)
    scaling = Scaling("fitted", run, mean, 8, say)
    sampler = Sampler(
        through(mean.model, View(clip_x0=True)), tiny_covariance("small", mean.model), DDIM(),
        even(mean.model.schedule.T, 2), None, scale_fit=scaling.plan(),
    )  # fmt: skip
    in_the_way = run.scale(f"{sampler.way}-{sampler.digest[:12]}")
    in_the_way.mkdir(parents=True)
    with pytest.raises(OutputError, match=REFUSED):
        scaling.applied(sampler)
    in_the_way.rmdir()
    assert not say.said("going on")
    scaling.applied(sampler)
    assert say.said("going on: samples at the scale")
    assert [path.name for path in in_the_way.parent.iterdir()] == [in_the_way.name], "and go then"
