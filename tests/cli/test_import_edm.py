"""``diffcov import`` of EDM's pickles: from the file to images, a covariance and an export.

``assets/edm-digits.safetensors`` are the weights (averaged, as float16) of a SongUNet of 8 channels that was trained on
the embedded digits with EDM's loss for two minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import FEW_KNOTS, Cli
from diffcov.store.checkpoint import load_mean
from diffcov.store.foreign.recognise import read_foreign
from diffcov.study.reading_bench import built
from oracles.edm import persisted, written
from oracles.edm_cases import EDM, snapshot

Done = Callable[..., dict[str, Any]]
ASSET = Path(__file__).parents[1] / "assets" / "edm-digits.safetensors"
CONFIG = {
    "img_resolution": 8, "in_channels": 1, "out_channels": 1, "label_dim": 0, "model_channels": 8,
    "channel_mult": [1, 2], "channel_mult_emb": 2, "num_blocks": 1, "attn_resolutions": [4],
    "embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard", "dropout": 0.13,
}  # fmt: skip


def trained(folder: Path, **numbers: float) -> Path:
    state = {name: tensor.float() for name, tensor in load_file(ASSET).items()}
    network = persisted("EDMPrecond", "SongUNet", state, folder / "was-run", CONFIG, **{**EDM, **numbers})
    return written(network, folder / "network-snapshot-000512.pkl")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("edm"))


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory, done: Done) -> Path:
    run = tmp_path_factory.mktemp("edm-run") / "run"
    done("import", published, "--data", "digits", "--run", run)
    return run


def test_it_is_read_checked_and_told(published: Path, tmp_path: Path, done: Done, cli: Cli) -> None:
    run = tmp_path / "run"
    found = done("import", published, "--data", "digits", "--run", run)
    assert found["family"] == "edm"
    assert {way["word"]: way["taken"] for way in found["ways"]} == {"[-1, 1]": True, "[0, 1]": False}
    assert found["check"]["score"] < 0.8
    assert found["check"]["worst"] < 1.05
    assert not (published.parent / "was-run").exists()
    said = cli("inspect", run, "--all").stdout
    for word in ("EDMPrecond", "sigma_data", "edm", "SongUNet of EDM"):
        assert word in said
    assert done("inspect", run)["problems"] == []


def test_a_wrong_range_is_refused(published: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    """Said by hand it is not tried again."""
    words = ("import", published, "--data", "digits", "--run", tmp_path / "run", "--range", "0,1")
    assert "times the error of a Gaussian" in refused(3, *words)


@pytest.mark.parametrize("sigma_data", [0.05, 5.0])
def test_a_wrong_preconditioning_is_refused(sigma_data: float, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = trained(tmp_path, sigma_data=sigma_data)
    message = refused(3, "import", path, "--data", "digits", "--run", tmp_path / "run")
    assert "times the error of a Gaussian" in message


def test_every_command_goes_on_from_it(imported: Path, tmp_path: Path, done: Done) -> None:
    run = ("--run", imported)
    done("estimate-var", *run, "--samples", 2, *FEW_KNOTS)
    done("fit-var-head", *run, "--kind", "npr", "--iterations", 1, "--batch-size", 8)
    drawn = done(
        "sample", *run, "--steps", 4, "--count", 2, "--covariance", "npr", "--format", "npz", "--out", tmp_path / "s"
    )
    with np.load(Path(drawn["out"]) / "samples.npz") as kept:
        assert kept["arr_0"].shape == (2, 8, 8, 1)
    assert done("evaluate", *run, "--covariance", "corrected", "--steps", 4, "--images", 4)["nll"]["corrected"]
    done("export", *run, "--covariance", "corrected", "--out", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "scheduler" / "scheduler_config.json").read_text())
    assert (config["num_train_timesteps"], config["prediction_type"]) == (1000, "v_prediction")
    assert not (tmp_path / "out" / "unet").exists()


def test_the_run_holds_the_network_of_the_file(published: Path, imported: Path) -> None:
    found = read_foreign(published)
    theirs, ours = built(found, found.meaning), load_mean(imported / "mean.safetensors").model
    x = torch.randn(2, 1, 8, 8)
    for t in (1, 500, 1000):
        mine = ours.look(x, t)
        assert torch.equal(mine.x0_hat, theirs.look(x, t).x0_hat)
        alpha_bar, beta_bar = ours.schedule.alpha_bar[t], ours.schedule.beta_bar[t]
        again = alpha_bar.sqrt() * mine.x0_hat + beta_bar.sqrt() * mine.eps_hat
        torch.testing.assert_close(again, x.double().type_as(again), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        (["--timesteps", "100"], {"name": "edm", "T": 100, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}),
        (["--schedule", "linear"], {"name": "linear", "T": 1000, "beta_start": 1e-4, "beta_end": 0.02}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_levels_are_as_good(
    options: list[str], schedule: dict[str, Any], published: Path, tmp_path: Path, done: Done
) -> None:
    found = done("import", published, "--data", "digits", "--run", tmp_path / "run", *options)
    assert load_mean(tmp_path / "run" / "mean.safetensors").spec.reading.schedule.spec == schedule
    assert found["check"]["score"] < 0.8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prediction", "eps"], "--prediction cannot be given for"),
        (["--time-offset", "1"], "--time-offset, --time-scale cannot be given for"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_preconditioning_says_is_not_overruled(
    options: list[str], words: str, published: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    message = refused(2, "import", published, "--data", "digits", "--run", tmp_path / "run", *options)
    assert words in message
    assert "EDMPrecond says" in message


def test_classes_are_drawn(tmp_path: Path, done: Done) -> None:
    """Of a class-conditional network with Fourier features; without a check, as its weights are random."""
    path = snapshot("ncsnpp-edm-classes", tmp_path)
    run = ("--run", tmp_path / "run")
    done("import", path, "--no-check", *run)
    drawn = done(
        "sample", *run, "--class", "0,2", "--steps", 2, "--count", 2, "--covariance", "small", "--format", "npz"
    )
    with np.load(Path(drawn["out"]) / "samples.npz") as kept:
        assert kept["arr_1"].tolist() == [0, 2]
        assert kept["arr_0"].shape == (2, 8, 8, 3)
