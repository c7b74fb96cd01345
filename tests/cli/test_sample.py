"""``sample``: images, manifest, the choice of covariance, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import FEW_KNOTS
from diffcov.covariance import registry
from diffcov.covariance.ingredients import FittedHead
from diffcov.covariance.registry import make_covariance
from diffcov.denoiser.base import View
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.digest import digest_of_tensors, digest_of_values
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.noise import GivenNoise, generator
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import load_mean
from diffcov.store.head import load_head, save_head
from diffcov.store.run import RunFolder
from diffcov.store.statistics import load_statistic
from oracles.offered import OF_ANY_MEAN


def reading(run: Path) -> Reading:
    return load_mean(run / "mean.safetensors").spec.reading


def spectrum_digest(run: Path) -> str:
    return load_statistic(run / "spectrum.safetensors", Spectrum).digest


def pixels(folder: str | Path) -> np.ndarray:
    with np.load(Path(folder) / "samples.npz") as found:
        return np.asarray(found["arr_0"])


def test_json_files_and_manifest(done: Callable[..., Any], full_run: Path) -> None:
    found = done(
        "sample", "--run", full_run, "--steps", 5, "--count", 6, "--batch-size", 4, "--covariance", "npr",
        "--format", "npz", "--format", "folder", "--seed", 3, "--first", 10,
    )  # fmt: skip
    out = Path(found["out"])
    assert out.parent == full_run / "samples"
    assert found["grid"] == str(out / "grid.png")
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == ["grid.png", *(f"images/{i:06d}.png" for i in range(10, 16)), "manifest.json", "samples.npz"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest.pop("files")) == [name for name in names if name != "manifest.json"]
    assert len(manifest.pop("digest")) == 64
    assert manifest == {key: value for key, value in found.items() if key not in ("out", "grid", "seconds")}
    mean, head = load_mean(full_run / "mean.safetensors"), load_head(full_run / "head-npr.safetensors")
    assert head.digest == digest_of_tensors(head.head.state_dict())
    assert manifest["sampler"] == {
        "mean": mean.digest, "precision": "fp32", "clip_x0": True, "eps_scale": 1.0, "guidance": 1.0,
        "solver": {"name": "ddpm", "eta": 1.0},
        "covariance": {"name": "npr", "made_of": {"head-npr.safetensors": head.digest}},
        "grid": {"name": "even", "times": [1, 13, 26, 38, 50]},
        "last_noise_levels": 2.0, "classes": None, "seed": 3, "noise": 3,
    }  # fmt: skip
    assert manifest["sampler_digest"] == digest_of_values(manifest["sampler"])
    assert (manifest["covariance"], manifest["solver"], manifest["first"]) == ("npr", "ddpm", 10)
    assert (manifest["steps"], manifest["count"], manifest["looks"], manifest["network_calls"]) == (5, 6, 10, 10)
    assert manifest["mean"]["digest"] == mean.digest
    assert manifest["reading"] == mean.spec.reading.as_dict()
    assert manifest["covariance_measured_at_this_guidance"] is True
    assert pixels(out).shape == (6, 8, 8, 1)
    assert pixels(out).max() <= 16
    with Image.open(out / "images" / "000012.png") as shown:
        assert np.array_equal(np.asarray(shown), np.round(pixels(out)[2, :, :, 0] * (255 / 16)))


def test_what_was_drawn_by_the_first_generator_can_be_drawn_again(
    done: Callable[..., Any], refused: Callable[..., str], mean_run: Path
) -> None:
    """A manifest from before there were several says nothing of it, and nor does that of --noise 1."""
    words = ["sample", "--run", mean_run, "--steps", 3, "--count", 2, "--format", "npz"]
    new, old = done(*words), done(*words, "--noise", 1)
    assert new["sampler"]["noise"] == 3
    assert "noise" not in old["sampler"]
    assert old["out"] == new["out"].replace("-seed0", "-noise1-seed0")
    model = load_mean(mean_run / "mean.safetensors").model
    sampler = Sampler.of(through(model, View(clip_x0=True)), make_covariance("small", model), steps=3)
    streams = [generator(0, "sample", i) for i in range(2)]
    draws = [torch.stack([torch.randn(1, 8, 8, generator=stream) for stream in streams]) for _ in range(3)]
    expected = model.data.decode(sample(sampler, GivenNoise(draws)))
    assert np.array_equal(pixels(Path(old["out"])), expected.permute(0, 2, 3, 1).numpy())
    assert not np.array_equal(pixels(Path(new["out"])), pixels(Path(old["out"])))
    assert "--noise must be 1, 2 or 3, found 4" in refused(2, *words, "--noise", 4)


def test_stdout_is_the_grid(cli: Any, mean_run: Path) -> None:
    result = cli("sample", "--run", mean_run, "--steps", 3, "--count", 4)
    assert result.exit_code == 0
    assert result.stdout.strip().endswith("grid.png")
    assert Path(result.stdout.strip()).is_file()
    assert "warning: the run holds no variance table and no head" in result.stderr


def test_default_steps_are_fifty_or_fewer(done: Callable[..., Any], mean_run: Path) -> None:
    assert done("sample", "--run", mean_run, "--count", 1)["steps"] == 50


def test_auto_takes_the_documented_order(done: Callable[..., Any], full_run: Path, tmp_path: Path) -> None:
    """Take away what it chose, and it chooses the next."""
    chosen: list[str] = []

    def held(name: str) -> bool:
        return all(path.is_file() for path in RunFolder(full_run).needed_by(name))

    while not chosen or chosen[-1] != "small":
        expected = next(name for name in registry.PREFERENCE if name in OF_ANY_MEAN and held(name))
        found = done("sample", "--run", full_run, "--steps", 2, "--count", 1, "--out", tmp_path / f"out-{len(chosen)}")
        assert found["covariance"] == expected
        chosen.append(expected)
        for path in RunFolder(full_run).needed_by(expected):
            path.unlink()
    assert chosen[0] == registry.PREFERENCE[0], "the run held everything"
    assert chosen == [name for name in registry.PREFERENCE if name in chosen]
    heads = [name for name in registry.PREFERENCE if registry.load(name).needs == (FittedHead,)]
    assert set(heads) <= set(chosen), "no head stands for another"


@pytest.mark.parametrize("name", OF_ANY_MEAN)
def test_every_covariance(done: Callable[..., Any], full_run: Path, name: str) -> None:
    assert done("sample", "--run", full_run, "--steps", 3, "--count", 2, "--covariance", name)["covariance"] == name


@pytest.mark.parametrize("name", OF_ANY_MEAN)
def test_what_holds_the_clipped_error_is_warned_of_without_the_clip(cli: Any, full_run: Path, name: str) -> None:
    """Spectrum and matrices, and whatever is relative to them."""
    clipped = {Spectrum, ResidualMatrices} & set(registry.load(name).needs)
    words = ["sample", "--run", full_run, "--steps", 2, "--count", 1, "--covariance", name]
    assert "warning" not in cli(*words).stderr
    result = cli(*words, "--no-clip-x0")
    assert result.exit_code == 0, result.stderr
    assert (f"warning: {name} hold the error of the clipped x0_hat" in result.stderr) == bool(clipped)


def test_batches_restarts_and_repeats_give_the_same_images(
    done: Callable[..., Any], full_run: Path, tmp_path: Path
) -> None:
    def draw(name: str, *options: object) -> np.ndarray:
        words = ["sample", "--run", full_run, "--steps", 6, "--format", "npz", "--out", tmp_path / name]
        return pixels(done(*words, *options)["out"])

    whole = draw("whole", "--count", 8)
    assert np.array_equal(draw("again", "--count", 8), whole)
    assert np.array_equal(draw("cut", "--count", 8, "--batch-size", 3), whole)
    parts = [draw("head", "--count", 3), draw("tail", "--count", 5, "--first", 3)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(draw("other", "--count", 8, "--seed", 1), whole)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--solver", "ddim"], {"solver": {"name": "ddim", "eta": 0.0}}),
        (["--solver", "ddim", "--eta", "0.5"], {"solver": {"name": "ddim", "eta": 0.5}}),
        (["--solver", "ddpm", "--eta", "1"], {"solver": {"name": "ddpm", "eta": 1.0}}),
        (["--process", "ddim"], {"solver": {"name": "ddim", "eta": 0.0}}),
        (["--grid", "quad"], {"grid": {"name": "quad", "times": [1, 5, 18, 41]}}),
        (["--grid", "stride"], {"grid": {"name": "stride", "times": [1, 13, 25, 37]}}),
        (["--grid", "ddim"], {"grid": {"name": "stride", "times": [1, 13, 25, 37]}}),
        (["--grid", "2,20,40,50"], {"grid": {"name": "explicit", "times": [2, 20, 40, 50]}}),
        (["--trajectory", "2,20,40,50"], {"grid": {"name": "explicit", "times": [2, 20, 40, 50]}}),
        (["--last-noise", "off"], {"last_noise_levels": None}),
        (["--last-noise", "0.5"], {"last_noise_levels": 0.5}),
        (["--last-noise", "auto"], {"last_noise_levels": 2.0}),
        (["--solver", "ddim", "--last-noise", "auto"], {"last_noise_levels": 1.0}),
        (["--no-clip-x0"], {"clip_x0": False}),
        (["--precision", "bf16"], {"precision": "bf16"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_arrive(
    done: Callable[..., Any], full_run: Path, options: list[str], expected: dict[str, object]
) -> None:
    found = done("sample", "--run", full_run, "--steps", 4, "--count", 2, *options)
    assert found["steps"] == 4
    assert {name: found["sampler"][name] for name in expected} == expected


def test_a_list_of_times_needs_no_steps(done: Callable[..., Any], mean_run: Path) -> None:
    assert done("sample", "--run", mean_run, "--count", 1, "--grid", "1,25,50")["steps"] == 3


def test_one_image_of_a_network_down_to_one_pixel(cli: Any, done: Callable[..., Any], tmp_path: Path) -> None:
    """8 channels at 1 x 1: a group norm of single values."""
    run = tmp_path / "run"
    trained = cli(
        "train-mean", "--run", run, "--channels", 8, "--multipliers", "1,1,1,1", "--blocks", 1, "--heads", 1,
        "--attention", "none", "--timesteps", 50, "--batch-size", 8, "--iterations", 1,
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    assert done("sample", "--run", run, "--steps", 2, "--count", 1)["count"] == 1


# --- a chain that begins where images still show


def test_noise_that_enters_late_is_warned_of_once(cli: Any, done: Callable[..., Any], full_run: Path) -> None:
    """26 of 50 by two strides, where alpha_bar is 0.055; a chain that begins with the Gaussian of images is right."""
    words = ["sample", "--run", full_run, "--count", 1, "--covariance", "small", "--solver", "ddim", "--out"]
    late = cli(*words, full_run / "late", "--steps", 2, "--grid", "stride")
    warning = (
        "warning: the chain begins at t = 26 of 50, where alpha_bar is 0.055: pure noise enters there, although images "
        "still have 23 % of their contrast; take a grid that ends at T such as --grid even, or begin with a draw from "
        "the Gaussian of the images by --start 26\n"
    )
    assert late.stderr.count(warning) == 1
    assert json.loads((full_run / "late" / "manifest.json").read_text())["begins"] == {
        "time": 26, "alpha_bar": pytest.approx(0.055, rel=0.01), "with_noise": True,
    }  # fmt: skip
    assert "the chain begins" not in cli(*words, full_run / "even", "--steps", 2).stderr
    started = cli(*words, full_run / "started", "--steps", 2, "--start", 26)
    assert started.exit_code == 0, started.stderr
    assert "the chain begins" not in started.stderr
    begins = json.loads((full_run / "started" / "manifest.json").read_text())["begins"]
    assert (begins["time"], begins["with_noise"]) == (26, False)
    listed = cli(*words, full_run / "listed", "--grid", "1,20")
    assert "the chain begins at t = 20 of 50, where alpha_bar is 0.19" in listed.stderr


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_judges_warn_of_it_too(cli: Any, full_run: Path, command: str) -> None:
    words = {"evaluate": ["--steps", 2, "--metrics", "nll"], "compare": ["--steps", "2,50", "--count", 0]}[command]
    told = cli(command, "--run", full_run, "--covariance", "small", "--grid", "stride", "--images", 2, *words)
    assert told.exit_code == 0, told.stderr
    assert told.stderr.count("the chain begins at t = 26 of 50") == 1
    assert "the chain begins at t = 50" not in told.stderr


# --- refusals


def test_no_run(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(3, "sample", "--run", tmp_path / "absent")
    assert "no mean model" in message
    assert f"diffcov train-mean --run {tmp_path / 'absent'}" in message


@pytest.mark.parametrize("name", [name for name in OF_ANY_MEAN if registry.load(name).needs])
def test_what_a_covariance_lacks(refused: Callable[..., str], mean_run: Path, name: str) -> None:
    """Of several things the first to be made is named."""
    message = refused(3, "sample", "--run", mean_run, "--covariance", name)
    remedies = {
        VarianceTable: ("a variance table", f"diffcov estimate-var --run {mean_run}"),
        Spectrum: ("a spectrum", f"diffcov estimate-var --run {mean_run}"),
        ResidualMatrices: ("residual matrices", f"diffcov estimate-var --run {mean_run} --full"),
        FittedHead: ("a fitted head", f"diffcov fit-var-head --run {mean_run} --kind {name}"),
    }
    what, remedy = next(found for kind, found in remedies.items() if kind in registry.load(name).needs)
    assert message == f"the {name} covariance needs {what} and none was found; run: {remedy}"


@pytest.mark.parametrize(
    ("file", "covariance", "option"),
    [("variance", "analytic", ""), ("spectrum", "spectral", ""), ("spectrum", "banded", ""),
     ("matrices", "full", "--full ")],
)  # fmt: skip
def test_statistics_of_another_mean(
    refused: Callable[..., str], full_run: Path, stranger: Path, file: str, covariance: str, option: str
) -> None:
    shutil.copy(stranger / f"{file}.safetensors", full_run)
    message = refused(3, "sample", "--run", full_run, "--covariance", covariance)
    assert f"{file}.safetensors" in message
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in message
    assert f"diffcov estimate-var --run {full_run} {option}--force" in message


def test_a_head_over_another_spectrum(refused: Callable[..., str], cli: Any, full_run: Path) -> None:
    """The head says how much louder or softer than the spectrum: over another one it says something else."""
    before = spectrum_digest(full_run)
    again = cli("estimate-var", "--run", full_run, "--samples", 2, *FEW_KNOTS, "--seed", 8, "--force")
    assert again.exit_code == 0, again.stderr
    message = refused(3, "sample", "--run", full_run, "--covariance", "banded")
    assert "head-banded.safetensors was fitted over another spectrum.safetensors" in message
    for digest in (before, spectrum_digest(full_run)):
        assert digest[:12] in message
    assert f"diffcov fit-var-head --run {full_run} --kind banded --force" in message
    for name in ("npr", "spectral", "full"):
        made = cli("sample", "--run", full_run, "--steps", 2, "--count", 1, "--covariance", name)
        assert made.exit_code == 0, made.stderr


@pytest.mark.parametrize("name", registry.heads())
def test_the_head_of_another_mean(refused: Callable[..., str], full_run: Path, stranger: Path, name: str) -> None:
    shutil.copy(stranger / f"head-{name}.safetensors", full_run)
    message = refused(3, "sample", "--run", full_run, "--covariance", name)
    for run in (full_run, stranger):
        assert load_mean(run / "mean.safetensors").digest[:12] in message
    assert f"diffcov fit-var-head --run {full_run} --kind {name} --force" in message


def test_a_head_under_another_s_name(refused: Callable[..., str], full_run: Path) -> None:
    """An NPR head read as SN would give nonsense without a word."""
    shutil.copy(full_run / "head-npr.safetensors", full_run / "head-sn.safetensors")
    message = refused(3, "sample", "--run", full_run, "--covariance", "sn")
    assert "head-sn.safetensors holds a head for npr, not for sn" in message
    assert f"diffcov fit-var-head --run {full_run} --kind sn" in message


def test_a_table_that_lacks_the_asked_times(refused: Callable[..., str], cli: Any, mean_run: Path) -> None:
    cli("estimate-var", "--run", mean_run, "--samples", 2, "--steps", 5, *FEW_KNOTS)
    assert cli("sample", "--run", mean_run, "--steps", 5, "--count", 1, "--covariance", "analytic").exit_code == 0
    message = refused(3, "sample", "--run", mean_run, "--steps", 7, "--covariance", "analytic")
    assert "no entry for t=9 (it holds 5 of 50 times)" in message
    assert f"diffcov estimate-var --run {mean_run} --force" in message


def test_an_existing_set(refused: Callable[..., str], cli: Any, mean_run: Path) -> None:
    words = ["sample", "--run", mean_run, "--steps", 3, "--count", 2]
    cli(*words)
    message = refused(1, *words)
    assert "already exists" in message
    assert "--force" in message
    assert cli(*words, "--force").exit_code == 0


def test_an_existing_out(refused: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    message = refused(1, "sample", "--run", mean_run, "--out", tmp_path / "out", "--count", 1)
    assert f"{tmp_path / 'out'} exists and is not a set of samples (no manifest.json)" in message


def test_force_never_deletes_a_folder_that_is_no_sample_set(
    refused: Callable[..., str], mean_run: Path, tmp_path: Path
) -> None:
    """--out . --force must not empty the working folder, nor --out RUN --force the run."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years")
    (tmp_path / "a file").write_text("mine")
    for out in (tmp_path / "thesis", mean_run, tmp_path / "a file"):
        message = refused(1, "sample", "--run", mean_run, "--steps", 2, "--count", 1, "--out", out, "--force")
        assert f"{out} exists and is not a set of samples (no manifest.json); choose another --out" in message


def test_force_replaces_a_set_and_an_empty_folder(
    refused: Callable[..., str], done: Callable[..., Any], mean_run: Path, tmp_path: Path
) -> None:
    words = ["sample", "--run", mean_run, "--steps", 2]
    for name in ("set", "empty"):
        out = tmp_path / name
        if name == "set":
            done(*words, "--count", 3, "--out", out, "--format", "folder")
        else:
            out.mkdir()
        assert "already exists; use --force" in refused(1, *words, "--count", 1, "--out", out)
        assert done(*words, "--count", 1, "--out", out, "--force")["out"] == str(out)
        assert sorted(path.name for path in out.iterdir()) == ["grid.png", "manifest.json"]
        assert json.loads((out / "manifest.json").read_text())["count"] == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "small-ddpm-even2-seed0"),
        (["--seed", "3", "--first", "10"], "small-ddpm-even2-seed3-from10"),
        (["--last-noise", "off"], "small-ddpm-even2-lastoff-seed0"),
        (["--last-noise", "0.5"], "small-ddpm-even2-last0.5-seed0"),
        (["--last-noise", "2"], "small-ddpm-even2-seed0"),
        (["--no-clip-x0"], "small-ddpm-even2-noclip-seed0"),
        (["--grid", "1,50"], "small-ddpm-explicit2-df0660-seed0"),
        (
            ["--solver", "ddim", "--eta", "0.5", "--first", "4", "--last-noise", "off", "--no-clip-x0"],
            "small-ddim-eta0.5-even2-lastoff-noclip-seed0-from4",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_default_folders_are_named_by_what_differs(
    done: Callable[..., Any], mean_run: Path, options: list[str], name: str
) -> None:
    """So that two commands with other options do not meet in one folder."""
    found = done("sample", "--run", mean_run, "--steps", 2, "--count", 1, "--covariance", "small", *options)
    assert Path(found["out"]) == mean_run / "samples" / name


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_outs_without_a_name(
    refused: Callable[..., str], mean_run: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mean_run)
    for more in ([], ["--of", 2]):
        refused(1, "sample", "--run", mean_run, "--steps", 2, "--count", 1, "--out", out, *more)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "0"], "steps must be between 1 and T=50 (got 0)"),
        (["--steps", "51"], "steps must be between 1 and T=50 (got 51)"),
        (["--steps", "-3"], "steps must be between 1 and T=50 (got -3)"),
        (["--solver", "ddim", "--eta", "1.5"], "eta must be between 0 (DDIM) and 1 (DDPM), found 1.5"),
        (["--solver", "ddim", "--eta", "nan"], "eta must be between 0"),
        (["--eta", "1.5"], "eta must be between 0 (DDIM) and 1 (DDPM), found 1.5"),
        (["--solver", "deis", "--eta", "0.5"], "deis has no eta, but eta 0.5 was asked for"),
        (["--covariance", "large", "--solver", "ddim"], "use --solver ddpm, or another covariance"),
        (["--covariance", "best"], "unknown covariance 'best'; choose auto or one of small, large"),
        (["--last-noise", "some"], "--last-noise must be auto, off or a number"),
        (["--last-noise", "-1"], "at least 0 grey levels, found -1"),
        (["--last-noise", "nan"], "at least 0 grey levels, found nan"),
        (["--grid", "cubic"], "--grid must be one of even, stride, quad"),
        (["--grid", "50,1"], "strictly increase"),
        (["--grid", "0,50"], "must be in 1..T=50, found 0"),
        (["--grid", "1,50", "--steps", "3"], "leave one out"),
        (["--solver", "ode"], "unknown solver 'ode'; choose one of ddpm, ddim"),
        (["--format", "jpg"], "--format takes grid, folder, npz with commas between; found 'jpg'"),
        (["--guidance", "2"], "guidance needs a mean with classes, and this one has none"),
        (["--guidance", "nan"], "guidance takes a number, found nan"),
        (
            ["--class", "3"],
            "--class was given, and this mean knows no classes; train one with diffcov train-mean --run",
        ),
        (["--class", "three"], "--class takes class numbers with commas between, such as 0,1,2, or all; found 'three'"),
        (["--device", "abacus"], "--device abacus cannot be used here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_cannot_be(refused: Callable[..., str], mean_run: Path, options: list[str], words: str) -> None:
    assert words in refused(2, "sample", "--run", mean_run, *options)


@pytest.mark.parametrize(
    "options",
    [["--steps", "few"], ["--count", "0"], ["--first", "-1"], ["--batch-size", "0"], ["--guidance", "much"],
     ["--churn", "2"]],
    ids=" ".join,
)  # fmt: skip
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("sample", "--run", mean_run, *options)


def test_a_head_whose_numbers_are_none(refused: Callable[..., str], full_run: Path) -> None:
    path = full_run / "head-npr.safetensors"
    found = load_head(path)
    with torch.no_grad():
        found.head.network.out[2].bias.fill_(torch.nan)
    save_head(path, found.head, found.spec, reading(full_run), found.trunk, found.training)
    message = refused(4, "sample", "--run", full_run, "--covariance", "npr", "--count", 1)
    assert "NaN or infinity in network.out.2.bias" in message


def test_a_failure_while_sampling_leaves_nothing(refused: Callable[..., str], full_run: Path) -> None:
    """Weights that are finite in the file and infinite in use: NaN, found while the set is being written."""
    path = full_run / "head-npr.safetensors"
    found = load_head(path)
    with torch.no_grad():
        for parameter in found.head.parameters():
            parameter.fill_(3e38)
    save_head(path, found.head, found.spec, reading(full_run), found.trunk, found.training)
    message = refused(4, "sample", "--run", full_run, "--covariance", "npr", "--count", 4)
    assert "the mean model or the variance head is broken" in message


def test_full_disk(cli: Any, full_disk: Any, full_run: Path) -> None:
    with full_disk(300):
        result = cli("sample", "--run", full_run, "--steps", 2, "--count", 9)
    assert result.exit_code == 1
    assert "could not write" in result.stderr
    assert not list((full_run / "samples").glob("*"))


def test_a_solver_that_is_published_without_a_covariance_is_no_reason_to_warn(full_run: Path, cli: Any) -> None:
    """The run holds tables; that none is used is the solver's choice."""
    out = full_run / "plain"
    said = cli("sample", "--run", full_run, "--steps", 3, "--count", 1, "--solver", "dpmpp", "--out", out).stderr
    assert "dpmpp is published without a covariance" in said
    assert "warning" not in said


# --- a start below T


def test_a_start_below_T(done: Callable[..., Any], full_run: Path) -> None:
    """Named grids are spread up to it; manifest, folder and identity say so; without it images are others."""
    words = ("sample", "--run", full_run, "--steps", 3, "--count", 2, "--covariance", "small", "--format", "npz")
    found, plain = done(*words, "--start", 21), done(*words)
    assert found["sampler"]["grid"]["times"] == [1, 11, 21]
    digest = load_statistic(full_run / "image-gaussian.safetensors", ImageGaussian).digest
    assert found["sampler"]["start"] == {"name": "gaussian", "made_of": {"image-gaussian.safetensors": digest}}
    assert "start21" in Path(found["out"]).name
    assert "start" not in plain["sampler"]
    assert not np.array_equal(pixels(found["out"]), pixels(plain["out"]))
    listed = done(*words[:3], *words[5:], "--grid", "1,11,21", "--start", 21, "--out", full_run / "listed")
    assert np.array_equal(pixels(listed["out"]), pixels(found["out"]))


def test_a_start_needs_the_images(refused: Callable[..., str], mean_run: Path) -> None:
    said = refused(3, "sample", "--run", mean_run, "--steps", 3, "--start", 20)
    assert said.startswith(
        "a start below T needs a Gaussian of the images and none was found; run: diffcov estimate-var"
    )


def test_a_recipe_decides_the_start(refused: Callable[..., str], mean_run: Path) -> None:
    said = refused(2, "sample", "--run", mean_run, "--recipe", "ddim", "--start", 20)
    assert said == "a recipe decides --solver, --grid or their numbers: leave that out, or --recipe ddim"
