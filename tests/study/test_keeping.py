"""Work that is stopped goes on with what was kept, bit for bit, and with nothing that was kept of other work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import diffcov.study.keeping
import diffcov.study.kept_images
from diffcov.denoiser.base import View
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import even
from diffcov.engines.distances.distances import Reference
from diffcov.engines.distances.features import FeatureSpace, features_of, pixels
from diffcov.engines.distances.frechet import Gaussian
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sampler import Sampler, ScaleFit
from diffcov.engines.sampling import generate
from diffcov.solver.ddpm import DDPM
from diffcov.store.ownership import owned
from diffcov.store.parts import Part, PartsFolder
from diffcov.study.drawn import Against, draw
from diffcov.study.keeping import Helpful, Interval, KeptState, kept_beside
from diffcov.study.kept_images import DRAWN, Pieces, drawn_on
from diffcov.study.kept_pass import measured_on
from diffcov.study.wishes import Nowhere
from oracles.listening import Heard, Recorder
from oracles.tiny import DATA, tiny_covariance, tiny_examples, tiny_images, tiny_model

MODEL = tiny_model(20)
SAMPLER = Sampler(Clipped(MODEL), tiny_covariance("corrected", MODEL), DDPM(), even(20, 3), None)
COUNT, BATCH = 10, 4


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is kept now and then is kept each time."""
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 0.0)


@pytest.fixture
def kept(tmp_path: Path) -> PartsFolder:
    return PartsFolder(tmp_path / "kept", force=True)


def calls(run: Callable[[], Any]) -> int:
    """Calls of the network."""
    before = len(MODEL.network.batches)
    run()
    return len(MODEL.network.batches) - before


def pieces(keeper: Any, sampler: Sampler = SAMPLER, count: int = COUNT) -> Pieces:
    return Pieces(keeper, "images", {"sampler": sampler.as_dict(), "count": count})


def images(keeper: Any, say: Recorder, sampler: Sampler = SAMPLER) -> Iterator[Tensor]:
    return drawn_on(pieces(keeper, sampler), sampler, COUNT, batch_size=BATCH, say=say)


def whole(sampler: Sampler = SAMPLER) -> Tensor:
    return torch.cat(list(generate(sampler, COUNT, batch_size=BATCH)))


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_images_go_on_where_they_were_stopped(kept: PartsFolder, batches: int) -> None:
    say = Recorder()
    first = images(kept, say)
    for _ in range(batches):
        next(first)
    del first  # no time to say or keep anything: what a kill leaves
    found: list[Tensor] = []
    drawn = calls(lambda: found.extend(images(kept, say)))
    assert torch.equal(torch.cat(found), whole())
    assert drawn == 3 * (3 - batches), "three steps of each batch that was missing"
    assert say.said(f"going on: {min(batches * BATCH, COUNT)} of 10 images are there")


def test_whoever_interrupts_is_told_what_is_kept(kept: PartsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches are kept even if it was not yet time to."""
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 1e6)
    say = Recorder()
    first = images(kept, say)
    next(first), next(first)
    with pytest.raises(KeyboardInterrupt):
        first.throw(KeyboardInterrupt())
    assert say.notes == ["8 of 10 images are kept; the same command goes on with them"]
    assert torch.equal(torch.cat(list(images(kept, say))), whole())


@pytest.mark.parametrize("other", [{"seed": 1}, {"grid": even(20, 2)}, {"covariance": tiny_covariance("small", MODEL)}])
def test_images_of_another_sampler_are_not_used(kept: PartsFolder, other: dict[str, Any]) -> None:
    list(images(kept, Recorder()))
    say, sampler = Recorder(), replace(SAMPLER, **other)
    assert torch.equal(torch.cat(list(images(kept, say, sampler))), whole(sampler))
    assert not say.said("going on")


def test_images_at_another_fitted_scale_are_not_used(kept: PartsFolder) -> None:
    """A sampler whose scale is fitted is the same whatever was found; its images are not."""
    fit = ScaleFit(version=1, samples=8, data="ab" * 32)
    first, again = (replace(SAMPLER, denoiser=through(MODEL, View(True, scale)), scale_fit=fit) for scale in (1.1, 1.2))
    assert first.as_dict() == again.as_dict()
    draw(first, COUNT, None, batch_size=BATCH, keeper=kept)
    say = Recorder()
    found = draw(again, COUNT, None, batch_size=BATCH, keeper=kept, say=say)
    assert torch.equal(found.pixels, whole(again))
    assert not say.said("going on")
    draw(again, COUNT, None, batch_size=BATCH, keeper=kept, say=say)
    assert say.said("going on: 8 of 10 images are there")


def test_images_of_another_version_are_not_used(kept: PartsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(SAMPLER, COUNT, None, batch_size=BATCH, keeper=kept)
    monkeypatch.setattr(diffcov.study.kept_images, "DRAWN", DRAWN + 1)
    say = Recorder()
    draw(SAMPLER, COUNT, None, batch_size=BATCH, keeper=kept, say=say)
    assert not say.said("going on")


def test_a_damaged_piece_is_drawn_again(kept: PartsFolder) -> None:
    list(images(kept, Recorder()))
    piece = kept.path / "parts" / "images-000000004.safetensors"
    piece.write_bytes(piece.read_bytes()[:-3])
    say = Recorder()
    assert torch.equal(torch.cat(list(images(kept, say))), whole())
    assert say.said("going on: 4 of 10")


class Stops(Exception):
    """Somebody pulls the plug."""


class Pulled(Heard):
    """Pulls it in the middle of a pass."""

    def update(self, done: float, message: str = "", total: float | None = None) -> None:
        if done > 30:
            raise Stops


class Unplugged(Recorder):
    """Gives such tasks."""

    @contextmanager
    def progress(self, title: str, total: float | None, unit: str) -> Iterator[Heard]:
        yield Pulled(title, total, unit)


def test_a_set_to_be_judged_goes_on_with_its_norms(kept: PartsFolder) -> None:
    """Every look counts once, also those of images that were drawn in an earlier try."""
    space = pixels(DATA)
    seen = 0

    def extract(batch: Tensor) -> Tensor:
        nonlocal seen
        seen += len(batch)
        if seen == 3 * 32:
            raise Stops
        return space.extract(batch)

    unplugged = FeatureSpace("pixels", space.digest, space.dims, extract, space.channels)
    features = features_of(space, tiny_images(80))
    reference = Reference(Gaussian.of(features), features, 80)
    record = {"digest": "ab" * 32}
    with pytest.raises(Stops):
        draw(SAMPLER, 128, Against(unplugged, reference, record), batch_size=32, keeper=kept)
    say = Recorder()
    again = draw(SAMPLER, 128, Against(space, reference, record), batch_size=32, keeper=kept, say=say)
    plain = draw(SAMPLER, 128, Against(space, reference, record), batch_size=32)
    assert say.said("going on: 96 of 128 images are there")
    assert torch.equal(again.norms, plain.norms)
    assert torch.equal(again.pixels, plain.pixels)
    assert again.distances == plain.distances
    assert list(kept.path.rglob("*.safetensors")), "until what came of it is kept"
    again.forget()
    assert not list(kept.path.rglob("*.safetensors"))


def test_a_pass_goes_on_where_it_was_stopped(kept: PartsFolder) -> None:
    examples, grid = tiny_examples(12), even(20, 5)
    covariances = {name: tiny_covariance(name, MODEL) for name in ("small", "npr")}

    def meters() -> tuple[LikelihoodMeter, NormMeter]:
        return LikelihoodMeter(MODEL.schedule, DATA, covariances, [grid], len(examples)), NormMeter(grid.times)

    def run(both: Any, say: Any, keeper: Any = kept) -> Callable[[], None]:
        return measured_on(
            keeper, {"what": "test"}, Clipped(MODEL), examples, both,
            title="looks", seed=0, batch_size=6, say=say,
        )  # fmt: skip

    with pytest.raises(Stops):
        run(meters(), Unplugged())
    plain, say, again = meters(), Recorder(), meters()
    in_all = calls(lambda: run(plain, Recorder(), Nowhere()))
    forget: list[Callable[[], None]] = []
    assert calls(lambda: forget.append(run(again, say))) == in_all / 2
    assert say.said("going on: 30 of 60 looks are done")
    for mine, theirs in zip(again, plain, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.sums(), theirs.sums(), strict=True))
    assert list(kept.path.rglob("*.safetensors")), "until what came of it is kept"
    forget[0]()
    assert not list(kept.path.rglob("*.safetensors"))


def test_where_nothing_can_be_kept_the_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("no folder")
    say = Recorder()
    keeper = Helpful(PartsFolder(tmp_path / "kept", force=True), say)
    assert torch.equal(torch.cat(list(images(keeper, say))), whole())
    assert len(say.warnings) == 1, "said once"
    assert "could not write" in say.warnings[0]
    assert say.warnings[0].endswith("should this be stopped, what it does from here on is done again")


def test_two_of_the_same_do_not_share(tmp_path: Path) -> None:
    say = Recorder()
    with kept_beside(tmp_path / "evaluate", "ab" * 32, "diffcov evaluate", say) as one:
        one.save_part("half", {}, Part({"half": torch.ones(1)}, {}))
        with kept_beside(tmp_path / "evaluate", "ab" * 32, "diffcov evaluate", say) as other:
            assert other.part("half", {}) is None
        assert "is being written by diffcov evaluate (process " in say.notes[0]
        assert say.notes[0].endswith("nothing of this one is kept meanwhile: should this be stopped, it begins anew")
        assert one.part("half", {}) is not None
    assert not list(tmp_path.iterdir()), "done: nothing is left"


def test_what_is_kept_stays_where_the_work_fails(tmp_path: Path) -> None:
    for attempt in range(2):
        with pytest.raises(Stops), kept_beside(tmp_path / "work", "cd" * 32, "diffcov", Recorder()) as keeper:
            assert (keeper.part("half", {}) is None) == (attempt == 0)
            keeper.save_part("half", {}, Part({"half": torch.ones(1)}, {}))
            raise Stops
    (folder,) = tmp_path.iterdir()
    assert folder.name == ".work.cdcdcdcdcdcd.unfinished"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["half.safetensors"], "and no lock"


def test_a_lock_elsewhere_is_no_matter(tmp_path: Path) -> None:
    with (
        owned(tmp_path / "other.lock", "other", "diffcov", "wait"),
        kept_beside(tmp_path / "work", "ef" * 32, "diffcov", Recorder()) as keeper,
    ):
        keeper.save_part("half", {}, Part({"half": torch.ones(1)}, {}))
        assert keeper.part("half", {}) is not None


def test_a_state_is_kept_when_it_is_time(kept: PartsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    state = KeptState(kept, {"of": "this"})
    state.told(3, lambda: {"weights": torch.ones(2)})
    found = KeptState(kept, {"of": "this"}).found()
    assert found is not None
    assert torch.equal(found["weights"], torch.ones(2))
    assert KeptState(kept, {"of": "that"}).found() is None
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 1e6)
    assert not Interval().over()
    state.told(4, lambda: pytest.fail("not yet"))
