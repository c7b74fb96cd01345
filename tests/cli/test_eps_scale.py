"""--eps-scale: recorded, fitted once, fitted again when what it was fitted for is no longer there."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import Cli
from diffcov.covariance.registry import make_covariance
from diffcov.data import Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import even
from diffcov.engines.sampler import Sampler
from diffcov.engines.scale.search import FittedScale
from diffcov.errors import InputError
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import RunFolder
from diffcov.store.scale import load_scale
from diffcov.study.known import known_covariance
from diffcov.study.opening import Opened
from diffcov.study.scale import Scaling
from oracles.listening import Recorder

Done = Callable[..., Any]
Fits = Callable[..., bool]


@dataclass
class Spied:
    """Calls of a fit, and what it finds."""

    calls: list[dict[str, Any]]
    scale: float
    tried: tuple[tuple[float, float], ...]


SAMPLE = ("sample", "--steps", 3, "--count", 2, "--covariance", "spectral")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale from 8 samples instead of 512."""
    monkeypatch.setattr("diffcov.study.scale.SAMPLES", 8)


@pytest.fixture
def fits(full_run: Path, cli: Cli) -> Fits:
    """Sample with a fitted scale; whether that made a fit."""

    def sampled(*words: str) -> bool:
        result = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--force", *words)
        assert result.exit_code == 0, result.stderr
        return "fitting the scale" in result.stderr

    return sampled


def pixels(result: Any) -> bytes:
    """Of the sheet; its text says more than what decides them."""
    with Image.open(result["grid"]) as sheet:
        return sheet.tobytes()


def test_a_number_is_recorded(full_run: Path, done: Done) -> None:
    found = done(*SAMPLE, "--run", full_run, "--eps-scale", "1.5")
    assert (found["sampler"]["eps_scale"], found["eps_scale_value"]) == (1.5, 1.5)
    assert found["out"].endswith("spectral-ddpm-even3-eps1.5-seed0")
    plain = done(*SAMPLE, "--run", full_run)
    assert (plain["sampler"]["eps_scale"], plain["eps_scale_value"]) == (1.0, 1.0)
    assert not (full_run / "eps-scale").exists(), "nothing was fitted"


def test_one_is_no_scale(full_run: Path, done: Done, tmp_path: Path) -> None:
    plain = done(*SAMPLE, "--run", full_run)
    one = done(*SAMPLE, "--run", full_run, "--eps-scale", "1.0", "--out", tmp_path / "one")
    assert pixels(plain) == pixels(one)


def test_a_fitted_scale_is_kept_and_used_again(full_run: Path, cli: Cli, done: Done, tmp_path: Path) -> None:
    first = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--json")
    assert first.exit_code == 0, first.stderr
    (kept,) = (full_run / "eps-scale").glob("spectral-ddpm-even3-*.safetensors")
    assert re.search(r"fitting the scale of eps_hat for spectral-ddpm-even3\S*: some 64 samples", first.stderr)
    before = kept.read_bytes()
    again = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--out", tmp_path / "again", "--json")
    assert "fitting the scale" not in again.stderr
    assert re.search(r"eps_hat of spectral-ddpm-even3\S* stays as predicted", again.stderr)
    assert kept.read_bytes() == before
    one, two = (json.loads(result.stdout) for result in (first, again))
    (part,) = done("inspect", kept)["parts"]
    assert (part["kind"], part["scale"]) == ("eps-scale", one["eps_scale_value"])
    assert one["sampler"]["eps_scale"] == part["eps_scale"]
    assert part["eps_scale"]["fitted"]["samples"] == 8
    assert 0 < part["contrast off by about"] <= part["at scale 1"]
    assert (part["trunk"], part["grid"]) == (one["mean"]["digest"], one["sampler"]["grid"])
    assert part["path"] in [other["path"] for other in done("inspect", full_run)["parts"]]
    assert one["eps_scale_value"] == two["eps_scale_value"]
    assert pixels(one) == pixels(two)


@pytest.mark.parametrize(
    "changed",
    [("--solver", "ddim"), ("--grid", "1,30,50"), ("--last-noise", "off"), ("--no-clip-x0",), ("--precision", "bf16")],
)
def test_other_samplers_have_scales_of_their_own(full_run: Path, fits: Fits, changed: tuple[str, ...]) -> None:
    assert fits()
    assert not fits()
    assert fits(*changed)
    assert not fits(*changed)


@pytest.mark.parametrize("changed", [("--seed", "5"), ("--first", "7"), ("--batch-size", "1"), ("--count", "3")])
def test_other_images_of_a_sampler_have_its_scale(full_run: Path, fits: Fits, changed: tuple[str, ...]) -> None:
    """A fit draws noise of its own, whatever the seed of the samples."""
    assert fits()
    assert not fits(*changed)


@pytest.mark.parametrize("constant", ["SAMPLES", "FIT"])
def test_another_way_to_fit_finds_another_scale(
    full_run: Path, fits: Fits, monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    assert fits()
    monkeypatch.setattr(f"diffcov.study.scale.{constant}", 9)
    assert fits()


def test_another_spectrum_wants_another_scale(full_run: Path, cli: Cli, fits: Fits) -> None:
    assert fits()
    again = cli("estimate-var", "--run", full_run, "--force", "--seed", 9, "--samples", 1, "--knot-samples", 2)
    assert again.exit_code == 0, again.stderr
    assert fits()


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> Spied:
    """A fit that finds what one asks for, and what it was given. Tiny networks predict little noise: far off 1."""
    calls: list[dict[str, Any]] = []

    def fit(sampler: Any, mean: Any, images: Any, **words: Any) -> FittedScale:
        calls.append({"sampler": sampler, "images": len(images), **words})
        scale = spy.scale
        return FittedScale(scale, spy.tried)

    spy = Spied(calls, 0.012345678901, ((1.0, 0.3), (1.01, 0.1)))
    monkeypatch.setattr("diffcov.study.scale.fit_scale", fit)
    return spy


def test_sample_divides_by_what_was_fitted(full_run: Path, done: Done, spied: Spied, tmp_path: Path) -> None:
    ddim = (*SAMPLE, "--run", full_run, "--solver", "ddim")
    fitted = done(*ddim, "--eps-scale", "fitted", "--batch-size", 5)
    asked = done(*ddim, "--eps-scale", "0.012345678901", "--out", tmp_path / "asked")
    plain = done(*ddim)
    assert fitted["sampler"]["eps_scale"].keys() == {"fitted"}
    assert asked["sampler"]["eps_scale"] == fitted["eps_scale_value"] == asked["eps_scale_value"] == 0.012345678901
    assert pixels(fitted) == pixels(asked) != pixels(plain)
    (call,) = spied.calls
    assert (call["count"], call["batch_size"], call["images"]) == (
        8,
        5,
        load_mean(full_run / "mean.safetensors").training["data"]["count"],
    )
    assert call["sampler"].label == "spectral-ddim-even3-epsfitted-seed0"
    assert fitted["out"].endswith("spectral-ddim-even3-epsfitted-seed0")
    (kept,) = (full_run / "eps-scale").glob("spectral-ddim-even3-*.safetensors")
    (part,) = done("inspect", kept)["parts"]
    assert (part["scale"], part["contrast off by about"], part["at scale 1"]) == (0.012345678901, 0.1, 0.3)


def test_evaluate_and_compare_use_what_sample_fitted(full_run: Path, done: Done, spied: Spied) -> None:
    done(*SAMPLE, "--run", full_run, "--eps-scale", "fitted")
    words = ("--covariance", "spectral", "--count", 64, "--images", 2, "--features", "pixels", "--steps", 3)
    scaled = ("--run", full_run, *words, "--eps-scale")
    evaluated = done("evaluate", *scaled, "fitted", "--metrics", "distances")
    (cell,) = done("compare", *scaled, "fitted", "--solver", "ddpm")["cells"]
    assert len(spied.calls) == 1
    asked = done("evaluate", *scaled, "0.012345678901", "--metrics", "distances")
    assert evaluated["eps_scale_values"] == asked["eps_scale_values"] == {"spectral": 0.012345678901}
    assert evaluated["distances"] == asked["distances"]
    assert (cell["eps_scale_value"], cell["fid"]) == (
        0.012345678901,
        pytest.approx(asked["distances"]["covariances"]["spectral"]["fid"]),
    )


def test_alternating_uses_keep_both_scales(full_run: Path, done: Done, spied: Spied) -> None:
    for _ in range(2):
        for words in ((), ("--last-noise", "off"), ("--no-clip-x0",)):
            done(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--force", *words)
    assert len(spied.calls) == 3


def test_a_part_is_known_by_what_its_scale_depends_on(
    full_run: Path, cli: Cli, done: Done, spied: Spied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fit is made for a part that is there, even when its scale is gone; a part of another fit is not taken."""
    words = ("compare", "--run", full_run, "--covariance", "spectral", "--count", 64, "--images", 2,
             "--features", "pixels", "--steps", 3, "--solver", "ddpm", "--eps-scale", "fitted")  # fmt: skip
    done(*words)
    shutil.rmtree(full_run / "eps-scale")
    (cell,) = done(*words)["cells"]
    assert (cell["eps_scale_value"], len(spied.calls)) == (0.012345678901, 1)
    monkeypatch.setattr("diffcov.study.scale.FIT", 99)
    other = cli(*words)
    assert other.exit_code == 1
    assert "was measured with another version (2 -> 99)" in other.stderr
    assert len(spied.calls) == 1
    spied.scale = 1.5
    (cell,) = done(*words, "--force")["cells"]
    assert cell["eps_scale_value"] == 1.5


def test_what_was_found_is_told_each_time(full_run: Path, cli: Cli, spied: Spied) -> None:
    off = "contrast is 30.0% off the data's"
    cases: list[tuple[tuple[str, ...], float, float, float, str]] = [
        ((), 1.0678, 1.07, 0.1, f"is divided by 1.0678: {off} without, about 10.0% with it"),
        (("--last-noise", "off"), 1.0, 1.07, 0.29, f"stays as predicted: {off}, and no scale takes 15% of that away"),
        (("--no-clip-x0",), 1.0, math.exp(0.2), 0.1, f"stays as predicted: {off}, and no scale within the search's"),
    ]
    for words, scale, probe, mismatch, told in cases:
        spied.scale, spied.tried = scale, ((1.0, 0.3), (probe, mismatch))
        for _ in range(2):
            result = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--force", *words)
            assert result.exit_code == 0
            assert told in " ".join(result.stderr.split())
            assert ("warning: eps_hat of" in result.stderr) == (probe > 1.2)
    assert len(spied.calls) == 3


def test_a_damaged_scale_is_told_and_fitted_again(full_run: Path, cli: Cli, done: Done, spied: Spied) -> None:
    done(*SAMPLE, "--run", full_run, "--eps-scale", "fitted")
    (kept,) = (full_run / "eps-scale").glob("*.safetensors")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-8])
    result = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--force")
    assert result.exit_code == 0
    assert f"warning: {kept}" in result.stderr
    assert "the scale is fitted again" in result.stderr
    assert len(spied.calls) == 2
    assert load_scale(kept).found.scale == spied.scale


@pytest.mark.parametrize(("digest", "told"), [("other", "and those have changed"), (None, "and they cannot be read")])
def test_without_the_images_of_the_mean_nothing_is_fitted(
    full_run: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, digest: str | None, told: str
) -> None:
    def opened(run: Any, mean: Any, listener: Any) -> Opened:
        if digest is None:
            raise InputError("no such file or folder: gone.npz; give images with --data")
        return Opened(
            Examples(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), {"digest": digest}, load_images("digits", 2)
        )

    monkeypatch.setattr("diffcov.study.scale.training_examples", opened)
    message = refused(3, *SAMPLE, "--run", full_run, "--eps-scale", "fitted")
    assert message.startswith("--eps-scale fitted compares samples with the images that the mean was trained on, ")
    assert told in message
    assert message.endswith("restore them, or take --eps-scale 1 or another number")
    assert "--data" not in message


def test_tables_say_that_eps_hat_was_scaled(full_run: Path, cli: Cli) -> None:
    words = ("--run", full_run, "--covariance", "spectral", "--count", 64, "--images", 2, "--steps", 3)
    for command in (("evaluate", "--metrics", "distances"), ("compare", "--solver", "ddpm", "--force")):
        for scale in ("1.3", "1"):
            result = cli(*command, *words, "--features", "pixels", "--eps-scale", scale)
            assert result.exit_code == 0, result.stderr
            assert ("eps-scale 1.3" in result.stderr) == (scale == "1.3")


def test_one_number_has_one_name(full_run: Path, done: Done) -> None:
    outs = [done(*SAMPLE, "--run", full_run, "--eps-scale", text, "--force")["out"] for text in ("1.50", "1.5")]
    assert outs[0] == outs[1]
    assert done(*SAMPLE, "--run", full_run, "--eps-scale", "1.0", "--force")["out"].endswith(
        "spectral-ddpm-even3-seed0"
    )


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "some", ""])
@pytest.mark.parametrize("command", ["sample", "evaluate", "compare"])
def test_what_is_no_scale_is_refused(full_run: Path, refused: Callable[..., str], text: str, command: str) -> None:
    message = refused(2, command, "--run", full_run, "--eps-scale", text)
    assert message == f"--eps-scale must be a positive number or fitted, found {text!r}"


def test_evaluate_and_compare_draw_with_it(full_run: Path, done: Done) -> None:
    words = ("--covariance", "spectral", "--count", 64, "--images", 2, "--features", "pixels", "--eps-scale")
    found = done("evaluate", "--run", full_run, "--metrics", "distances", "--steps", 3, *words, "1.3")
    plain = done("evaluate", "--run", full_run, "--metrics", "distances", "--steps", 3, *words, "1")
    assert found["eps_scale"] == 1.3
    assert found["distances"]["covariances"] != plain["distances"]["covariances"]
    scaled = done("compare", "--run", full_run, "--steps", 3, "--solver", "ddpm", *words, "1.3")
    (cell,) = scaled["cells"]
    assert scaled["settings"]["view"]["eps_scale"] == 1.3
    assert cell["eps_scale_value"] == 1.3
    assert cell["fid"] == pytest.approx(found["distances"]["covariances"]["spectral"]["fid"])
    again = done("compare", "--run", full_run, "--steps", 3, "--solver", "ddpm", *words, "1")
    assert again["cells"][0]["fid"] != cell["fid"], "parts of another scale are other parts"
    assert "eps_hat" in Path(scaled["report"]).read_text(encoding="utf-8")


def test_all_that_a_fit_depends_on_is_in_its_identity(full_run: Path, spied: Spied) -> None:
    """Any other mean, table, sampler, precision, data or fit has a scale of its own; another batch size has not."""
    run = RunFolder(full_run)
    mean = load_mean(run.mean)
    T = mean.model.schedule.T
    small, analytic = (known_covariance(run, name, mean, ()).covariance for name in ("small", "analytic"))
    table = analytic.ingredients[VarianceTable]
    of_another_table = make_covariance("analytic", mean.model, table.merge(table))
    scaling = Scaling("fitted", run, mean, 64, Recorder())
    own = scaling.plan()
    assert own is not None
    clipped, half, other = (through(load_mean(run.mean).model, View(clip_x0=True)) for _ in range(3))
    half.inner.autocast = torch.bfloat16
    with torch.no_grad():
        next(other.parameters()).add_(1)
    sampler = Sampler(clipped, small, DDIM(0.5), even(T, 3), 2.0, scale_fit=own)
    others = [
        replace(sampler, covariance=analytic),
        replace(sampler, covariance=of_another_table),
        replace(sampler, solver=DDPM()),
        replace(sampler, solver=DDIM(0.25)),
        replace(sampler, grid=even(T, 4)),
        replace(sampler, cap_levels=None),
        replace(sampler, denoiser=mean.model),
        replace(sampler, denoiser=half),
        replace(sampler, denoiser=other),
        replace(sampler, scale_fit=replace(own, version=own.version + 1)),
        replace(sampler, scale_fit=replace(own, samples=9)),
        replace(sampler, scale_fit=replace(own, data="ab" * 32)),
    ]
    assert len({one.digest for one in (sampler, *others)}) == 1 + len(others)
    for done, one in enumerate((sampler, *others)):
        assert len(spied.calls) == done
        scaling.applied(one)
        replace(scaling, batch_size=1).applied(replace(one, seed=3))
    assert len(spied.calls) == len(run.all_scales()) == 1 + len(others)
    assert Scaling(1.5, run, mean, 64, Recorder()).plan() is None
