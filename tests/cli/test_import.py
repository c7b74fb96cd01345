"""``diffcov import``: a published model becomes a run's mean; wrong readings are found on real images, or refused."""

from __future__ import annotations

import importlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import FEW_KNOTS, Cli
from diffcov.store.checkpoint import load_mean
from oracles.foreign import tiny_pipeline

Json = dict[str, Any]
Done = Callable[..., Json]
TRAINED = Path(__file__).parents[1] / "assets" / "run-of-before" / "mean.safetensors"
"""A trained network of ours (T = 50, one head): its weights have the names of improved-diffusion."""
TOLD = ("--schedule", "linear", "--timesteps", 50)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights alone, as somebody would publish them."""
    path = tmp_path_factory.mktemp("published") / "ema.pt"
    torch.save(load_file(TRAINED), path)
    return path


def taken(found: Json) -> dict[str, str]:
    """The way that was taken of each open question."""
    return {way["name"]: way["word"] for way in found["ways"] if way["taken"]}


def test_what_no_file_says_is_found_on_images(weights: Path, tmp_path: Path, done: Done, cli: Cli) -> None:
    """The family's custom is four heads, this network has one, and 64 digits tell."""
    run = tmp_path / "run"
    found = done("import", weights, "--data", "digits", "--run", run, *TOLD)
    ways = {"times": "0..1000 for any T", "heads": "one head", "order of q, k, v": "heads first", "prediction": "eps"}
    assert taken(found) == ways
    scores = {(way["name"], way["word"]): way["score"] for way in found["ways"]}
    assert scores["heads", "one head"] < scores["heads", "4 heads"]
    facts = {fact["name"]: fact for fact in found["facts"]}
    assert facts["heads"] == {"name": "heads", "value": "one head", "source": "tried on images"}
    assert facts["prediction"]["source"] == "the custom of guided-diffusion"
    assert scores["times", "0..1000 for any T"] < 0.9 * scores["times", "0..T-1"]
    assert found["check"]["score"] < 0.8
    assert len(found["check"]["error"]) == 8
    mine, original = load_mean(run / "mean.safetensors"), load_mean(TRAINED)
    x = torch.randn(3, 1, 8, 8)
    for t in (1, 25, 50):
        torch.testing.assert_close(mine.model.output(x, t), original.model.output(x, t), rtol=1e-5, atol=1e-5)
    assert mine.spec.reading == original.spec.reading
    said = cli("inspect", run, "--all").stdout
    for word in ("imported", "check", "heads", "openai"):
        assert word in said


def test_every_command_goes_on_from_it(weights: Path, tmp_path: Path, done: Done) -> None:
    run = tmp_path / "run"
    done("import", weights, "--data", "digits", "--run", run, *TOLD)
    assert set(done("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS)) == {
        "table", "spectrum", "matrices", "image-gaussian",
    }  # fmt: skip
    done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 1, "--batch-size", 8)
    drawn = done("sample", "--run", run, "--steps", 3, "--count", 2, "--covariance", "npr", "--format", "npz")
    with np.load(Path(drawn["out"]) / "samples.npz") as kept:
        assert kept["arr_0"].shape == (2, 8, 8, 1)
    assert done("evaluate", "--run", run, "--covariance", "npr", "--steps", 3, "--images", 4)["nll"]["npr"]
    assert done("inspect", run)["problems"] == []


@pytest.mark.parametrize(
    "wrong",
    [["--prediction", "v"], ["--prediction", "x0"], ["--schedule", "cosine"], ["--time-scale", "200"]],
    ids=" ".join,
)
def test_a_wrong_reading_is_refused(
    weights: Path, tmp_path: Path, refused: Callable[..., str], wrong: list[str]
) -> None:
    words = dict(zip(TOLD[::2], TOLD[1::2], strict=True)) | dict(zip(wrong[::2], wrong[1::2], strict=True))
    options = [one for pair in words.items() for one in pair]
    message = refused(3, "import", weights, "--data", "digits", "--run", tmp_path / "run", *options)
    assert "times the error of a Gaussian" in message
    assert "--no-check" in message


def test_a_wrong_sign_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    state = load_file(TRAINED)
    torch.save({**state, "out.2.weight": -state["out.2.weight"], "out.2.bias": -state["out.2.bias"]}, tmp_path / "a.pt")
    message = refused(3, "import", tmp_path / "a.pt", "--data", "digits", "--run", tmp_path / "run", *TOLD)
    assert "times the error of a Gaussian" in message


def test_random_weights_are_refused_and_let_pass_without_the_check(
    tmp_path: Path, refused: Callable[..., str], done: Done
) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "theirs")
    words = ("import", tmp_path / "theirs", "--data", "digits", "--run", tmp_path / "run")
    assert "times the error of a Gaussian" in refused(3, *words)
    found = done(*words, "--no-check")
    assert (found["check"], found["ways"], found["family"]) == (None, [], "diffusers")
    reading = load_mean(tmp_path / "run" / "mean.safetensors").spec.reading
    assert (reading.data.levels, reading.data.shape) == (17, (1, 8, 8))


def test_overrides_settle_what_was_open(weights: Path, tmp_path: Path, done: Done) -> None:
    found = done(
        "import", weights, "--data", "digits", "--run", tmp_path / "run", *TOLD, "--time-offset", 1, "--time-scale", 20
    )
    assert "times" not in taken(found)
    facts = {fact["name"]: fact for fact in found["facts"]}
    assert facts["times"]["value"] == "(t - 1) * 20"
    assert facts["schedule"]["source"] == "--schedule, --timesteps"


def test_without_images_nothing_is_tried(
    weights: Path, tmp_path: Path, done: Done, refused: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    assert "--no-check" in refused(2, "import", weights, "--run", run)
    found = done("import", weights, "--no-check", "--size", "8,8", "--run", run)
    assert (found["check"], found["ways"]) == (None, [])
    message = refused(3, "estimate-var", "--run", run)
    assert "give images of their kind with --data" in message


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--size", "1,2,3"], 2, "--size takes height and width"),
        (["--range", "1"], 2, "--range takes two numbers"),
        (["--range", "a,b"], 2, "--range takes two numbers"),
        (["--prediction", "score"], 2, "--prediction takes eps, v, x0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be(
    weights: Path, tmp_path: Path, refused: Callable[..., str], options: list[str], code: int, words: str
) -> None:
    message = refused(code, "import", weights, "--data", "digits", "--run", tmp_path / "run", *options)
    assert words in message


def test_images_of_another_kind(tmp_path: Path, refused: Callable[..., str]) -> None:
    tiny_pipeline({"sample_size": 16}).save_pretrained(tmp_path / "theirs")
    message = refused(3, "import", tmp_path / "theirs", "--data", "digits", "--run", tmp_path / "run")
    assert "digits holds images of 8x8" in message


def test_classes_need_labels(tmp_path: Path, refused: Callable[..., str]) -> None:
    tiny_pipeline({"num_class_embeds": 10}).save_pretrained(tmp_path / "theirs")
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 255, (80, 8, 8, 1), dtype=np.uint8))
    message = refused(3, "import", tmp_path / "theirs", "--data", tmp_path / "images.npy", "--run", tmp_path / "run")
    assert "wants a class with every image" in message


def test_a_mean_that_is_there_is_kept(weights: Path, full_run: Path, refused: Callable[..., str]) -> None:
    assert "already exists" in refused(1, "import", weights, "--data", "digits", "--run", full_run)


def test_nothing_to_import(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "import what?" in refused(2, "import", "--run", tmp_path / "run")
    assert "there is nothing at" in refused(3, "import", tmp_path / "no", "--no-check", "--run", tmp_path / "run")


def test_what_was_imported_is_written_down(weights: Path, tmp_path: Path, done: Done) -> None:
    done("import", weights, "--data", "digits", "--run", tmp_path / "run", *TOLD)
    training = load_mean(tmp_path / "run" / "mean.safetensors").training
    assert training["imported"]["from"] == str(weights)
    assert training["imported"]["family"] == "openai"
    assert training["data"]["source"] == "digits"
    assert json.dumps(training["check"])
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert done("inspect", tmp_path / "elsewhere")["problems"] == []


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.slow
def test_the_strangers_digits_and_their_sibling(
    tmp_path: Path, cli: Cli, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through TorchScript and one command; the model of fashion is warned of on digits."""
    if not (SHARED / "foreign" / "ddpm_mnist.pt").is_file():
        pytest.skip("the strangers' files are not here")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    stranger = importlib.import_module("stranger")
    scores = {}
    for name in ("mnist", "fashion"):
        network = stranger.mean_of(SHARED / "foreign" / f"ddpm_{name}.pt").network
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network, (torch.randn(2, 1, 28, 28), torch.tensor([3.0, 500.0])))
            torch.jit.save(traced, tmp_path / f"{name}.pt")
        words = ("import", tmp_path / f"{name}.pt", "--trust", "--data", SHARED / "mnist", "--run", tmp_path / name)
        found = done(*words)
        assert taken(found) == {"prediction": "eps", "schedule": "linear", "times": "0..T-1"}
        scores[name] = found["check"]["score"], found["check"]["worst"]
    assert scores["mnist"][0] < 0.35
    assert scores["fashion"][0] > 1.4 * scores["mnist"][0]
    assert scores["fashion"][1] > 1.3
    assert "these may not be its images" in cli(*words, "--force").stderr


def test_a_name_on_the_hub_is_fetched(tmp_path: Path, done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the hub's own library, and no more of it than is read."""
    tiny_pipeline().save_pretrained(tmp_path / "cache")
    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options["allow_patterns"]))
        return str(tmp_path / "cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    found = done("import", "somebody/ddpm-digits", "--data", "digits", "--no-check", "--run", tmp_path / "run")
    assert found["family"] == "diffusers"
    ((name, patterns),) = asked
    assert name == "somebody/ddpm-digits"
    assert "unet/*" in patterns


def test_without_a_network_a_name_is_one_sentence(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise ConnectionError("[Errno -3] Temporary failure in name resolution\nand so on")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    message = refused(3, "import", "somebody/ddpm-digits", "--no-check", "--run", tmp_path / "run")
    assert "could be fetched from the hub ([Errno -3] Temporary failure in name resolution); give a file" in message


def test_a_mean_of_ours_is_no_foreign_one(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Its header says how it is read, which an import would guess."""
    message = refused(3, "import", TRAINED, "--data", "digits", "--run", tmp_path / "run")
    assert "was written by diffcov: its run is ready as it is" in message
