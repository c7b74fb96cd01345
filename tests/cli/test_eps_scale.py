"""--eps-scale: recorded, fitted once, fitted again when what it was fitted for is no longer there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli

Done = Callable[..., Any]
Fits = Callable[..., bool]
SAMPLE = ("sample", "--steps", 3, "--count", 2, "--covariance", "spectral")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale from 8 samples instead of 512."""
    monkeypatch.setattr("diffcov.cli.eps_scale_choice.SAMPLES", 8)


@pytest.fixture
def fits(full_run: Path, cli: Cli) -> Fits:
    """Sample with a fitted scale; whether that made a fit."""

    def sampled(*words: str) -> bool:
        result = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--force", *words)
        assert result.exit_code == 0, result.stderr
        return "is divided by" in result.stderr

    return sampled


def pixels(result: Any) -> bytes:
    return Path(result["grid"]).read_bytes()


def test_a_number_is_recorded(full_run: Path, done: Done) -> None:
    found = done(*SAMPLE, "--run", full_run, "--eps-scale", "1.5")
    assert (found["eps_scale"], found["eps_scale_value"]) == ("1.5", 1.5)
    assert found["out"].endswith("spectral-ddpm-even3-seed0-eps1.5")
    plain = done(*SAMPLE, "--run", full_run)
    assert (plain["eps_scale"], plain["eps_scale_value"]) == ("1", 1.0)
    assert not (full_run / "eps-scale").exists(), "nothing was fitted"


def test_one_is_no_scale(full_run: Path, done: Done, tmp_path: Path) -> None:
    plain = done(*SAMPLE, "--run", full_run)
    one = done(*SAMPLE, "--run", full_run, "--eps-scale", "1.0", "--out", tmp_path / "one")
    assert pixels(plain) == pixels(one)


def test_a_fitted_scale_is_kept_and_used_again(full_run: Path, cli: Cli, done: Done, tmp_path: Path) -> None:
    first = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--json")
    assert first.exit_code == 0, first.stderr
    assert "eps_hat of spectral-ddpm-even3 is divided by" in first.stderr
    kept = full_run / "eps-scale" / "spectral-ddpm-even3.safetensors"
    before = kept.read_bytes()
    again = cli(*SAMPLE, "--run", full_run, "--eps-scale", "fitted", "--out", tmp_path / "again", "--json")
    assert "is divided by" not in again.stderr
    assert kept.read_bytes() == before
    one, two = (json.loads(result.stdout) for result in (first, again))
    (part,) = done("inspect", kept)["parts"]
    assert (part["kind"], part["scale"], part["samples"]) == ("eps-scale", one["eps_scale_value"], 8)
    assert 0 < part["contrast off by"] <= part["at scale 1"]
    assert (part["trunk"], part["times"]) == (one["mean"]["digest"], one["times"])
    assert part["path"] in [other["path"] for other in done("inspect", full_run)["parts"]]
    assert one["eps_scale_value"] == two["eps_scale_value"]
    assert pixels(one) == pixels(two)


@pytest.mark.parametrize(
    "changed", [("--process", "ddim"), ("--trajectory", "1,30,50"), ("--last-noise", "off"), ("--no-clip-x0",)]
)
def test_other_samplers_have_scales_of_their_own(full_run: Path, fits: Fits, changed: tuple[str, ...]) -> None:
    assert fits()
    assert not fits()
    assert fits(*changed)
    assert not fits(*changed)


def test_another_spectrum_wants_another_scale(full_run: Path, cli: Cli, fits: Fits) -> None:
    assert fits()
    again = cli("estimate-var", "--run", full_run, "--force", "--seed", 9, "--samples", 1, "--knot-samples", 2)
    assert again.exit_code == 0, again.stderr
    assert fits()


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "some", ""])
@pytest.mark.parametrize("command", ["sample", "evaluate", "compare"])
def test_what_is_no_scale_is_refused(full_run: Path, refused: Callable[..., str], text: str, command: str) -> None:
    message = refused(2, command, "--run", full_run, "--eps-scale", text)
    assert message == f"--eps-scale must be a positive number or fitted, found {text!r}"


def test_evaluate_and_compare_draw_with_it(full_run: Path, done: Done) -> None:
    words = ("--covariance", "spectral", "--count", 64, "--images", 2, "--features", "pixels", "--eps-scale")
    found = done("evaluate", "--run", full_run, "--metrics", "distances", "--steps", 3, *words, "1.3")
    plain = done("evaluate", "--run", full_run, "--metrics", "distances", "--steps", 3, *words, "1")
    assert found["eps_scale"] == "1.3"
    assert found["distances"]["covariances"] != plain["distances"]["covariances"]
    scaled = done("compare", "--run", full_run, "--steps", 3, "--process", "ddpm", *words, "1.3")
    (cell,) = scaled["cells"]
    assert scaled["settings"]["eps_scale"] == "1.3"
    assert cell["eps_scale_value"] == 1.3
    assert cell["fid"] == pytest.approx(found["distances"]["covariances"]["spectral"]["fid"])
    again = done("compare", "--run", full_run, "--steps", 3, "--process", "ddpm", *words, "1")
    assert again["cells"][0]["fid"] != cell["fid"], "parts of another scale are other parts"
    assert "eps_hat" in Path(scaled["report"]).read_text(encoding="utf-8")
