"""A mean with classes, from its training to judged samples: which class each image has, and guidance towards it."""

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
from torch import Tensor

from conftest import FEW_KNOTS, TINY, Cli
from diffcov.covariance import registry
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.guided import Guided
from diffcov.diffusion.grids import even
from diffcov.engines.classes import Classes
from diffcov.engines.forward import measure
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw
from diffcov.engines.sweep import estimate
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.table import VarianceTable
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean, save_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import RunFolder
from diffcov.study.known import known_covariance

Json = dict[str, Any]
Done = Callable[..., Json]
DIGITS = 10
SAMPLE = ("sample", "--steps", 4, "--covariance", "npr", "--format", "npz,folder", "--force")


def train(cli: Cli, run: Path, *options: object) -> None:
    """Three iterations; then weights everywhere, since a network begins as one that says 0 of every class."""
    trained = cli("train-mean", "--run", run, *TINY, "--iterations", 3, "--classes", *options)
    assert trained.exit_code == 0, trained.stderr
    found = load_mean(run / "mean.safetensors")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in found.model.parameters():
            parameter.normal_(0, 0.3)
    save_mean(run / "mean.safetensors", found.model.network, found.spec, found.training)


def know(cli: Cli, run: Path, *options: object) -> None:
    """Statistics and a head, of images and iterations that are few."""
    for command in (
        ["estimate-var", "--samples", 2, *FEW_KNOTS],
        ["fit-var-head", "--kind", "npr", "--iterations", 1, "--batch-size", 8],
    ):
        result = cli(*command, "--run", run, "--force", *options)
        assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def classy(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mean that knows ten classes and images without one, with statistics and a head. Read only."""
    run = tmp_path_factory.mktemp("classy") / "run"
    train(cli, run, "--label-dropout", 0.2)
    know(cli, run)
    return run


@pytest.fixture
def run(classy: Path, tmp_path: Path) -> Path:
    """A copy, to change."""
    return shutil.copytree(classy, tmp_path / "run")


@pytest.fixture(scope="module")
def strict(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mean that has never seen an image without a class. Read only."""
    run = tmp_path_factory.mktemp("strict") / "run"
    train(cli, run)
    return run


def pixels(found: Json) -> Tensor:
    """(N, C, H, W) grey levels."""
    with np.load(Path(found["out"]) / "samples.npz") as kept:
        return torch.from_numpy(kept["arr_0"]).permute(0, 3, 1, 2)


def sheet(found: Json) -> np.ndarray[Any, Any]:
    """(rows, columns, 8, 8) levels on the sheet: digits are five screen pixels a side, in frames of two."""
    with Image.open(found["grid"]) as picture:
        grey = np.asarray(picture.convert("L"), dtype=float)[2:, 2:]
    height, width = grey.shape
    tiles = grey[: height // 42 * 42, : width // 42 * 42].reshape(height // 42, 42, width // 42, 42)
    return np.round(tiles[:, 0:40:5, :, 0:40:5].transpose(0, 2, 1, 3) * 16 / 255)


# --- training


def test_the_run_says_that_it_knows_classes(classy: Path, strict: Path, done: Done) -> None:
    (mean,) = (part for part in done("inspect", classy)["parts"] if part["kind"] == "mean")
    assert (mean["classes"], mean["needs_labels"]) == (DIGITS, False)
    assert load_mean(strict / "mean.safetensors").spec.reading.needs_labels


# --- which class each image has


def test_an_image_depends_on_its_number_and_its_class_alone(run: Path, done: Done) -> None:
    """Image i is that of the same number of any other set that asks the same class of it."""
    words = (*SAMPLE, "--run", run, "--count", DIGITS)
    alone = torch.stack([pixels(done(*words, "--class", number)) for number in range(DIGITS)])
    assert len({tuple(one.flatten().tolist()) for one in alone[:, 0]}) == DIGITS, "the class matters"
    every, unasked = done(*words, "--class", "all"), done(*words)
    assert torch.equal(pixels(every), alone[range(DIGITS), range(DIGITS)])
    assert torch.equal(pixels(unasked), pixels(every))
    assert unasked["sampler_digest"] == every["sampler_digest"]
    two = pixels(done(*words, "--class", "0,1"))
    assert torch.equal(two, alone[[0, 1] * 5, range(DIGITS)])
    assert torch.equal(pixels(done(*words, "--class", 0, "--class", 1)), two)


@pytest.mark.parametrize(
    ("options", "name", "classes", "folder"),
    [
        (["--class", "3"], "3", [3], "npr-ddpm-even4-class3-seed0"),
        (["--class", "4,0"], "4-0", [4, 0], "npr-ddpm-even4-class4-0-seed0"),
        (["--class", "all"], "all", list(range(DIGITS)), "npr-ddpm-even4-seed0"),
        ([], "all", list(range(DIGITS)), "npr-ddpm-even4-seed0"),
    ],
    ids=["one", "two", "all", "unasked"],
)
def test_classes_are_recorded(
    run: Path, done: Done, options: list[str], name: str, classes: list[int], folder: str
) -> None:
    found = done(*SAMPLE, "--run", run, "--count", 2, *options)
    assert found["sampler"]["classes"] == {"name": name, "classes": classes}
    assert Path(found["out"]).name == folder
    assert json.loads((Path(found["out"]) / "manifest.json").read_text())["sampler"] == found["sampler"]


def test_batches_and_restarts_keep_the_classes(run: Path, done: Done) -> None:
    words = (*SAMPLE, "--run", run, "--class", "2,7,5")
    whole = pixels(done(*words, "--count", 8))
    assert torch.equal(pixels(done(*words, "--count", 8, "--batch-size", 3)), whole)
    assert torch.equal(pixels(done(*words, "--count", 5, "--first", 3)), whole[3:])


@pytest.mark.parametrize(
    ("options", "count", "first", "rows"),
    [
        (["--class", "3"], 4, 0, [[0, 1, 2, 3]]),
        (["--class", "0,1"], 6, 0, [[0, 2, 4], [1, 3, 5]]),
        (["--class", "0,1"], 7, 0, [[0, 2, 4, 6], [1, 3, 5, None]]),
        (["--class", "5,0,9"], 6, 4, [[2, 5], [0, 3], [1, 4]]),
        (["--class", "all"], 20, 0, [[row, 10 + row] for row in range(DIGITS)]),
        ([], 10, 0, [[row] for row in range(DIGITS)]),
    ],
    ids=["one", "two", "one left over", "from the fifth", "all", "unasked"],
)
def test_the_sheet_has_a_row_a_class(
    run: Path, done: Done, options: list[str], count: int, first: int, rows: list[list[int | None]]
) -> None:
    """A class drawn less often has black at the end of its row."""
    found = done(*SAMPLE, "--run", run, "--count", count, "--first", first, *options)
    expected = pixels(found)[:, 0].numpy()
    shown = sheet(found)
    assert shown.shape[:2] == (len(rows), len(rows[0]))
    for row, numbers in enumerate(rows):
        for column, number in enumerate(numbers):
            image = np.zeros((8, 8)) if number is None else expected[number]
            assert np.array_equal(shown[row, column], image), (row, column)


def test_samples_keep_their_classes(run: Path, done: Done) -> None:
    """As ``arr_1`` of the npz, and beside the images as StyleGAN's data sets have them."""
    found = done(*SAMPLE, "--run", run, "--count", 5, "--first", 2, "--class", "5,0,9")
    with np.load(Path(found["out"]) / "samples.npz") as kept:
        assert kept["arr_1"].tolist() == [9, 5, 0, 9, 5]
    labels = json.loads((Path(found["out"]) / "images" / "dataset.json").read_text())["labels"]
    assert labels == [[f"{2 + i:06d}.png", label] for i, label in enumerate([9, 5, 0, 9, 5])]
    assert (Path(found["out"]) / "images" / "000006.png").is_file()
    plain = done("train-mean", "--run", run.parent / "plain", *TINY, "--iterations", 1)
    assert plain
    words = ("sample", "--run", run.parent / "plain", "--covariance", "small", "--steps", 2, "--count", 3)
    found = done(*words, "--format", "npz,folder")
    with np.load(Path(found["out"]) / "samples.npz") as kept:
        assert list(kept) == ["arr_0"]
    assert not (Path(found["out"]) / "images" / "dataset.json").exists()


def test_fewer_images_than_classes_stand_as_they_come(run: Path, done: Done) -> None:
    found = done(*SAMPLE, "--run", run, "--count", 4)
    assert np.array_equal(sheet(found).reshape(-1, 8, 8), pixels(found)[:, 0].numpy())


# --- guidance


def test_guidance_is_two_looks_mixed(run: Path, done: Done) -> None:
    """The samples are those of the guided mean; 1 is the mean itself, and at 0 the class has no say."""
    words = (*SAMPLE, "--run", run, "--count", 6)
    plain = done(*words)
    mean = load_mean(run / "mean.safetensors")
    npr = known_covariance(RunFolder(run), "npr", mean, ()).covariance
    for W in (2.5, -1.0):
        found = done(*words, "--guidance", W)
        sampler = Sampler(
            Clipped(Guided(mean.model, W)), npr, DDPM(), even(50, 4), 2.0, Classes.all(DIGITS)
        )  # fmt: skip
        assert torch.equal(pixels(found), draw(sampler, 6))
        assert found["sampler_digest"] == sampler.digest
        assert not torch.equal(pixels(found), pixels(plain))
    one = done(*words, "--guidance", "1.0")
    assert (one["out"], one["sampler_digest"]) == (plain["out"], plain["sampler_digest"])
    none = [pixels(done(*words, "--guidance", 0, "--class", number)) for number in (3, 8)]
    assert torch.equal(none[0], none[1])


def test_guidance_is_recorded_with_two_calls_a_look(run: Path, done: Done) -> None:
    words = (*SAMPLE, "--run", run, "--count", 6, "--batch-size", 4)
    plain, guided = done(*words), done(*words, "--guidance", 2)
    assert (plain["looks"], plain["network_calls"], plain["sampler"]["guidance"]) == (8, 8, 1.0)
    assert (guided["looks"], guided["network_calls"], guided["sampler"]["guidance"]) == (8, 16, 2.0)
    assert Path(guided["out"]).name == "npr-ddpm-even4-guided2-seed0"


def warnings(result: Any) -> list[str]:
    return [line.removeprefix("warning: ") for line in result.stderr.splitlines() if line.startswith("warning: ")]


def test_what_was_not_measured_at_this_guidance_is_warned_of(run: Path, cli: Cli, done: Done) -> None:
    """Statistics and heads belong to the mean through one guidance, whichever it is."""
    words = ("sample", "--run", run, "--steps", 2, "--count", 1, "--force")
    held = [name for name, lacking in RunFolder(run).available().items() if lacking is None]
    needy = [name for name in held if registry.load(name).needs]
    assert len(needy) > 3
    for measured, other in ((1, 2), (2, 1)):
        if measured == 2:
            know(cli, run, "--guidance", 2)
        for name in held:
            options = ("--covariance", name, "--guidance")
            assert warnings(cli(*words, *options, measured)) == []
            assert done(*words, *options, measured)["covariance_measured_at_this_guidance"] is True
            found = warnings(cli(*words, *options, other))
            if name in needy:
                advice = f"measure and fit with --guidance {other}"
                assert found == [f"guidance is {other}, and it was another when {name} was measured; {advice}"]
            else:
                assert found == []
            assert done(*words, *options, other)["covariance_measured_at_this_guidance"] is (name not in needy)
    for command in ("evaluate", "compare"):
        result = cli(
            command, "--run", run, "--covariance", "small,analytic,npr", "--steps", 2, "--images", 2,
            *(["--count", 0] if command == "compare" else []),
        )  # fmt: skip
        (warning,) = warnings(result)
        assert warning.startswith("guidance is 1, and it was another when analytic, npr was measured;")


def tensors(run: Path, name: str) -> str:
    """The digest of a file's tensors; its header also holds what was asked."""
    return artifact.read_header(run / f"{name}.safetensors")["digest"]


def test_statistics_of_the_guided_mean_are_others(classy: Path, run: Path, cli: Cli) -> None:
    know(cli, run, "--guidance", 3)
    for name in ("variance", "spectrum", "matrices", "head-npr"):
        assert tensors(run, name) != tensors(classy, name), name
    mean = load_mean(run / "mean.safetensors")
    examples = load_images("digits").examples
    by_hand = estimate(Guided(mean.model, 3.0), examples, [VarianceTable], range(1, 51), 2, seed=0)[VarianceTable]
    assert tensors(run, "variance") == by_hand.digest


def test_adding_goes_on_at_the_guidance_that_was_measured(run: Path, cli: Cli, done: Done) -> None:
    words = ("estimate-var", "--run", run, "--knot-samples", 0)
    done(*words, "--samples", 3, "--guidance", 3, "--force")
    whole = artifact.read(run / "variance.safetensors", "variance-table").tensors
    done(*words, "--samples", 2, "--guidance", 3, "--force")
    done(*words, "--samples", 1, "--add")
    more = artifact.read(run / "variance.safetensors", "variance-table")
    assert more.metadata["config"]["view"]["guidance"] == 3
    for name, expected in whole.items():
        torch.testing.assert_close(more.tensors[name], expected, rtol=1e-9, atol=0)


# --- judged


def test_the_bound_is_that_of_each_image_s_own_class(run: Path, done: Done) -> None:
    mean = load_mean(run / "mean.safetensors")
    examples = load_images("digits", 12, "test").examples
    npr = known_covariance(RunFolder(run), "npr", mean, ()).covariance
    words = ("evaluate", "--run", run, "--covariance", "npr", "--steps", 5, "--images", 12, "--guidance")
    for W, denoiser in ((1, mean.model), (2, Guided(mean.model, 2.0))):
        grid = even(50, 5)
        meter = LikelihoodMeter(mean.model.schedule, mean.model.data, {"npr": npr}, [grid], 12)
        measure(Clipped(denoiser), examples, [meter])
        expected = meter.result("npr", grid).as_dict()["bits_per_dim"]
        found = done(*words, W)
        assert found["guidance"] == W
        assert found["measured_at_this_guidance"] == {"npr": W == 1}
        assert found["nll"]["npr"]["bits_per_dim"] == pytest.approx(expected, rel=1e-6)


def test_judged_samples_have_the_classes_of_the_data(run: Path, done: Done) -> None:
    words = ("--run", run, "--covariance", "npr", "--steps", 3, "--images", 2, "--count", 64, "--features", "pixels")
    alone = done("evaluate", *words, "--metrics", "distances", "--guidance", 2)["distances"]["covariances"]["npr"]
    found = done("compare", *words, "--solver", "ddpm", "--guidance", 2)
    (cell,) = found["cells"]
    assert {key: cell[key] for key in ("fid", "kid")} == {key: pytest.approx(alone[key]) for key in ("fid", "kid")}
    assert found["settings"]["view"]["guidance"] == 2
    assert found["settings"]["network_calls_a_look"] == 2
    assert found["covariances"]["npr"]["measured_at_this_guidance"] is False
    labels = load_images("digits").labels
    assert labels is not None
    mean = load_mean(run / "mean.safetensors")
    npr = known_covariance(RunFolder(run), "npr", mean, ()).covariance
    sampler = Sampler(Clipped(Guided(mean.model, 2.0)), npr, DDPM(), even(50, 3), 2.0, Classes.like(labels))
    part = artifact.read(run / "compare" / "parts" / f"{sampler.label}.safetensors", "comparison-part")
    assert part.metadata["identity"]["sampler"] == sampler.as_dict()
    assert torch.equal(part.tensors["pixels"], draw(sampler, len(part.tensors["pixels"])))


def test_a_fitted_scale_belongs_to_its_guidance_and_its_classes(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcov.study.scale.SAMPLES", 8)
    words = ("sample", "--run", run, "--steps", 2, "--count", 1, "--covariance", "small", "--eps-scale", "fitted")
    for kept, options in enumerate(((), ("--guidance", 2), ("--class", 3), ("--class", "3,4")), start=1):
        for fits in (True, False):
            result = cli(*words, "--force", *options)
            assert result.exit_code == 0, result.stderr
            assert ("fitting the scale" in result.stderr) == fits
        assert len(RunFolder(run).all_scales()) == kept


def test_a_table_says_that_samples_were_guided(run: Path, cli: Cli) -> None:
    words = ("--run", run, "--covariance", "small", "--count", 64, "--images", 2, "--steps", 2, "--features", "pixels")
    for command in (("evaluate", "--metrics", "distances"), ("compare", "--solver", "ddpm", "--force")):
        for W in (2, 1):
            result = cli(*command, *words, "--guidance", W)
            assert result.exit_code == 0, result.stderr
            assert ("guidance 2" in " ".join(result.stderr.split())) == (W == 2)


# --- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--class", "10"], "the mean knows the classes 0..9, and class 10 was asked for"),
        (["--class", "0,12,3"], "the mean knows the classes 0..9, and class 12 was asked for"),
        (["--class", "3,3"], "classes are named once each, found [3, 3]"),
        (["--class", "-1"], "--class takes class numbers with commas between, such as 0,1,2, or all; found '-1'"),
        (["--class", ""], "--class takes class numbers"),
        (["--guidance", "inf"], "guidance takes a number, found inf"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_cannot_be(refused: Callable[..., str], run: Path, options: list[str], words: str) -> None:
    assert words in refused(2, "sample", "--run", run, "--count", 1, *options)


def test_a_mean_that_must_have_a_class_cannot_be_guided(
    refused: Callable[..., str], done: Done, strict: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(strict, tmp_path / "run")
    for command in (["sample"], ["evaluate"], ["compare", "--count", 0], ["estimate-var"]):
        message = refused(2, *command, "--run", run, "--guidance", 2)
        assert "guidance needs a mean that has seen images without a label" in message
        assert "--label-dropout 0.1" in message
    assert done("sample", "--run", run, "--count", 3, "--steps", 2)["sampler"]["classes"]["name"] == "all"


def test_images_without_their_labels_are_refused(
    cli: Cli, refused: Callable[..., str], done: Done, tmp_path: Path
) -> None:
    """Files have 256 levels, so the mean is trained on one."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "three.npz", images=images, labels=np.arange(12) % 3)
    np.savez(tmp_path / "two.npz", images=images, labels=np.arange(12) % 2)
    np.savez(tmp_path / "four.npz", images=images, labels=np.arange(12) % 4)
    np.savez(tmp_path / "none.npz", images=images)
    run = tmp_path / "run"
    train(cli, run, "--data", tmp_path / "three.npz")
    words = ("--run", run, "--covariance", "large", "--steps", 2)
    for name, found in (("none", "no"), ("four", "4")):
        data = tmp_path / f"{name}.npz"
        for command in (["evaluate"], ["compare", "--count", 0], ["trajectory"]):
            message = refused(3, *command, *words[: 4 if command == ["trajectory"] else 6], "--data", data)
            assert f"the mean knows 3 classes and {data} has {found} labelled ones" in message
    assert done("evaluate", *words)["images"]["count"] == 12
    few = done("evaluate", *words, "--data", tmp_path / "two.npz")
    assert few["images"]["count"] == 12, "not every class need occur"


def test_classes_of_images_without_labels_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", images=np.zeros((4, 8, 8, 1), dtype=np.uint8))
    run = tmp_path / "run"
    message = refused(3, "train-mean", "--run", run, "--data", tmp_path / "none.npz", "--classes", "--iterations", 1)
    assert f"--classes needs labels, and {tmp_path / 'none.npz'} has none that tell images apart" in message
    assert not run.exists()


def test_a_mean_without_classes_takes_none_and_cannot_be_guided(refused: Callable[..., str], full_run: Path) -> None:
    for asked in ("3", "all"):
        message = refused(2, "sample", "--run", full_run, "--class", asked)
        assert "--class was given, and this mean knows no classes" in message
        assert f"diffcov train-mean --run {full_run} --classes" in message
    judging = ["--features", "pixels", "--count", 64, "--covariance", "small"]
    for command in (["sample"], ["evaluate", "--metrics", "distances", *judging], ["compare", *judging],
                    ["estimate-var", "--force"], ["fit-var-head", "--force"]):  # fmt: skip
        message = refused(2, *command, "--run", full_run, "--guidance", 2)
        assert "guidance needs a mean with classes, and this one has none" in message
