"""``train-mean --predict --classes --label-dropout``: what is trained, resumed, refused, and seen by later commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import FEW_KNOTS, TINY, Cli
from diffcov.denoiser.base import View
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.engines.sweep import estimate
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import MeanCheckpoint, load_mean
from diffcov.store.datasets import load_images
from diffcov.store.head import load_head
from diffcov.store.state import load_state, save_state
from diffcov.store.statistics import load_statistic

Done = Callable[..., Any]
Refused = Callable[..., str]
COUNT = 30
CONDITIONAL = ("--classes", "--label-dropout", 0.25)
SURE = ("--lr", 0.02, "--warmup", 0, "--ema-decay", 0, "--iterations", 20)
"""A training after which labels make a difference that is no rounding."""


def mean_of(run: Path) -> MeanCheckpoint:
    return load_mean(run / "mean.safetensors")


def reading_of(run: Path) -> Reading:
    return mean_of(run).spec.reading


def same_weights(a: Path, b: Path) -> bool:
    mine, theirs = load_file(a / "mean.safetensors"), load_file(b / "mean.safetensors")
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def labelled(path: Path, labels: Any) -> Path:
    """Grey 8 x 8 images, always the same ones, with these labels or none."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 8, 8)).astype(np.uint8)
    np.savez(path, **{"images": images, **({} if labels is None else {"labels": labels})})
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes in turn."""
    return labelled(tmp_path / "pictures.npz", np.arange(COUNT) % 3)


@pytest.fixture
def train(done: Done, tmp_path: Path) -> Callable[..., Path]:
    """``train("name", *options)``: a run of two iterations."""

    def run(name: str, *options: object) -> Path:
        done("train-mean", "--run", tmp_path / name, *TINY, "--iterations", 2, *options)
        return tmp_path / name

    return run


Train = Callable[..., Path]


# --- what is trained


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_settings_and_reading(done: Done, tmp_path: Path, predicts: str, dropout: float) -> None:
    run = tmp_path / "run"
    words = ["--predict", predicts, "--classes", "--label-dropout", dropout]
    found = done("train-mean", "--run", run, *TINY, "--iterations", 1, *words)
    told = {"predict": predicts, "classes": 10, "label_dropout": dropout}
    assert {name: found["settings"][name] for name in told} == told
    mean = mean_of(run)
    assert mean.settings == found["settings"]
    assert (mean.spec.reading.predicts, mean.spec.reading.classes) == (predicts, 10)
    assert mean.spec.reading.needs_labels == (dropout == 0)
    assert mean.model.classes == 10


def test_unasked_it_is_the_noise_and_no_classes(done: Done, trained: Path, tmp_path: Path) -> None:
    reading = reading_of(trained)
    assert (reading.predicts, reading.classes, reading.needs_labels) == ("eps", 0, False)
    settings = done("train-mean", "--run", tmp_path / "run", "--dry-run")["settings"]
    assert (settings["predict"], settings["classes"], settings["label_dropout"]) == ("eps", 0, 0.0)


def test_what_is_the_default_can_be_said(train: Train) -> None:
    plain = train("plain")
    said = train("said", "--predict", "eps", "--no-classes", "--label-dropout", 0)
    assert same_weights(plain, said)
    assert mean_of(plain).digest == mean_of(said).digest


def test_what_is_predicted_decides_the_weights_and_the_digest(train: Train) -> None:
    runs = [train(name, "--predict", name) for name in ("eps", "v", "x0")]
    assert not any(same_weights(a, b) for a in runs for b in runs if a != b)
    mean = mean_of(runs[0])
    others = [replace(mean.spec, reading=replace(mean.spec.reading, predicts=name)) for name in ("v", "x0")]
    digests = [spec.wrap(mean.model.network).digest for spec in (mean.spec, *others)]
    assert len(set(digests)) == 3, "equal weights that are read in another way are another mean"


def test_labels_reach_the_network(train: Train, pictures: Path, tmp_path: Path) -> None:
    """Other labels of the same images give other weights; a mean without classes does not see them."""
    others = labelled(tmp_path / "others.npz", np.arange(COUNT) // 10)
    runs = {
        (data, bool(options)): train(f"{data.stem}-{len(options)}", "--data", data, *options)
        for data in (pictures, others)
        for options in ((), ("--classes",))
    }
    assert reading_of(runs[pictures, True]).classes == reading_of(runs[others, True]).classes == 3
    assert not same_weights(runs[pictures, True], runs[others, True])
    assert same_weights(runs[pictures, False], runs[others, False])


def test_dropped_labels_are_another_training(train: Train) -> None:
    never, sometimes = train("never", "--classes"), train("sometimes", *CONDITIONAL)
    assert load_file(never / "mean.safetensors").keys() == load_file(sometimes / "mean.safetensors").keys()
    assert not same_weights(never, sometimes)


def test_a_limit_does_not_lose_classes(train: Train) -> None:
    """Three of the digits' images cannot hold all ten."""
    run = train("run", "--classes", "--limit", 3)
    assert reading_of(run).classes == 10


def test_dry_run_counts_the_classes(done: Done, pictures: Path, tmp_path: Path) -> None:
    found = done("train-mean", "--run", tmp_path / "run", "--data", pictures, *CONDITIONAL, "--dry-run")
    assert (found["settings"]["classes"], found["settings"]["label_dropout"]) == (3, 0.25)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [("--classes",), (*CONDITIONAL, "--predict", "v"), ("--predict", "x0")], ids=str)
def test_previews_change_nothing(train: Train, options: tuple[object, ...]) -> None:
    plain, shown = train("plain", *options), train("shown", *options, "--preview-minutes", 1e-9)
    sheets = sorted(path.name for path in (shown / "samples" / "training").iterdir())
    assert sheets == [f"iteration-{i:06d}.png" for i in (1, 2)]
    with Image.open(shown / "samples" / "training" / sheets[-1]) as sheet:
        assert sheet.convert("L").getextrema()[1] > 0
    assert same_weights(plain, shown)


# --- resuming


@pytest.mark.parametrize("options", [CONDITIONAL, ("--classes",), ("--predict", "v"), ("--predict", "x0")], ids=str)
def test_resumed_equals_uninterrupted(cli: Cli, train: Train, tmp_path: Path, options: tuple[object, ...]) -> None:
    """The options need not be said again, and may be."""
    whole = train("whole", *options, "--iterations", 6)
    for name, again in (("silent", ()), ("said", options)):
        run = train(name, *options)
        result = cli("train-mean", "--run", run, "--resume", "--iterations", 6, *again)
        assert result.exit_code == 0, result.stderr
        assert same_weights(whole, run)
        assert mean_of(whole).digest == mean_of(run).digest


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (["--predict", "x0"], "predict v -> x0"),
        (["--predict", "eps"], "predict v -> eps"),
    ],
    ids=str,
)
def test_resume_cannot_change_what_is_trained(refused: Refused, train: Train, options: list[str], change: str) -> None:
    run = train("run", *CONDITIONAL, "--predict", "v")
    name = options[0].removeprefix("--")
    for more in ([], ["--override", name]):
        message = refused(2, "train-mean", "--run", run, "--resume", "--iterations", 4, *options, *more)
        assert f"cannot change its {change}; leave the option out" in message


def test_resume_cannot_add_classes(refused: Refused, train: Train) -> None:
    message = refused(2, "train-mean", "--run", train("run"), "--resume", "--iterations", 4, "--classes")
    assert message.startswith("the training being resumed knows no classes, which cannot change; ")


def test_resume_cannot_drop_classes(refused: Refused, train: Train) -> None:
    message = refused(
        2, "train-mean", "--run", train("run", "--classes"), "--resume", "--iterations", 4, "--no-classes"
    )
    assert message.startswith("the training being resumed knows 10 classes, which cannot change; ")


def test_resume_with_another_share_of_labels(refused: Refused, done: Done, train: Train) -> None:
    """No weight has its shape, so it can be meant; a mean that was told all labels then learns to do without."""
    run = train("run", "--classes")
    words = ["train-mean", "--run", run, "--resume", "--iterations", 4, "--label-dropout", 0.5]
    assert "label-dropout 0.0 -> 0.5; leave it out, or accept it with --override label-dropout" in refused(2, *words)
    assert reading_of(run).needs_labels
    assert done(*words, "--override", "label-dropout")["settings"]["label_dropout"] == 0.5
    assert not reading_of(run).needs_labels


@pytest.mark.parametrize(
    ("begun", "share", "words"),
    [
        (("--classes",), 1.5, "--label-dropout must be in [0, 1), found 1.5"),
        (("--classes",), -0.1, "--label-dropout must be in [0, 1), found -0.1"),
        ((), 0.5, "--label-dropout leaves labels out, and there are none without --classes"),
    ],
)
def test_resume_with_a_share_that_cannot_be(
    refused: Refused, train: Train, begun: tuple[str, ...], share: float, words: str
) -> None:
    run = train("run", *begun)
    more = ["--label-dropout", share, "--override", "label-dropout"]
    assert refused(2, "train-mean", "--run", run, "--resume", "--iterations", 4, *more) == words


@pytest.mark.parametrize(
    ("labels", "found"),
    [(None, "no"), (np.arange(COUNT) % 2, "2"), (np.arange(COUNT) % 7, "7")],
    ids=["none", "2", "7"],
)
@pytest.mark.parametrize("options", [("--classes",), CONDITIONAL], ids=str)
def test_resume_without_the_labels_it_began_with(
    refused: Refused, train: Train, pictures: Path, options: tuple[object, ...], labels: Any, found: str
) -> None:
    """The images are the same ones, but what the network would be told of them is not."""
    run = train("run", "--data", pictures, *options)
    labelled(pictures, labels)
    message = refused(3, "train-mean", "--run", run, "--resume", "--iterations", 4)
    assert message == (
        f"the training being resumed knows 3 classes and {pictures} has {found} labelled ones; restore its labels, or "
        "start over with --force"
    )


def test_a_state_that_knows_nothing_of_it_goes_on_as_it_began(cli: Cli, train: Train) -> None:
    """States of an earlier version have neither setting: they predict eps and know no classes."""
    whole, run = train("whole", "--iterations", 4), train("run")
    path = run / "state" / "mean.safetensors"
    tensors, settings, progress = load_state(path)
    for name in ("predict", "classes", "label_dropout"):
        del settings[name]
    save_state(path, tensors, settings, progress)
    result = cli("train-mean", "--run", run, "--resume", *TINY, "--iterations", 4)
    assert result.exit_code == 0, result.stderr
    assert same_weights(whole, run)
    assert mean_of(whole).digest == mean_of(run).digest


# --- refusals


def test_images_without_labels(refused: Refused, tmp_path: Path) -> None:
    """Nothing is trained, and --dry-run says so too."""
    plain = labelled(tmp_path / "plain.npz", None)
    words = ["train-mean", "--run", tmp_path / "run", "--data", plain, *TINY, "--classes"]
    for more in ([], ["--dry-run"]):
        message = refused(3, *words, *more)
        assert message.startswith(f"--classes needs labels, and {plain} has none that tell images apart")
        assert message.endswith("leave --classes out")


def test_images_of_one_class(refused: Refused, tmp_path: Path) -> None:
    one = labelled(tmp_path / "one.npz", np.zeros(COUNT, np.int64))
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--data", one, *TINY, "--classes")
    assert message.startswith(f"--classes needs labels, and {one} has none that tell images apart")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--predict", "noise"], "a network predicts eps, v, x0; found 'noise'"),
        (["--classes", "--label-dropout", "1"], "--label-dropout must be in [0, 1), found 1.0"),
        (["--classes", "--label-dropout", "-0.1"], "--label-dropout must be in [0, 1), found -0.1"),
        (["--classes", "--label-dropout", "nan"], "--label-dropout must be in [0, 1), found nan"),
        (["--label-dropout", "0.1"], "--label-dropout leaves labels out, and there are none without --classes"),
        (
            ["--no-classes", "--label-dropout", "0.1"],
            "--label-dropout leaves labels out, and there are none without --classes",
        ),
    ],
    ids=str,
)
def test_values_that_cannot_be(refused: Refused, tmp_path: Path, options: list[str], words: str) -> None:
    for more in ([], ["--dry-run"]):
        assert refused(2, "train-mean", "--run", tmp_path / "run", *TINY, *options, *more) == words


# --- what later commands see


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("options", [(), ("--classes",), CONDITIONAL], ids=["plain", "labels", "some labels"])
def test_all_commands_go_on_from_it(
    done: Done, cli: Cli, train: Train, predicts: str, options: tuple[object, ...]
) -> None:
    run = train("run", "--predict", predicts, *options)
    digest, classes = mean_of(run).digest, 10 if options else 0
    table = done("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS)["table"]
    assert all(np.isfinite(list(table["error_sq"].values())))
    heads = done("fit-var-head", "--run", run, "--batch-size", 8, "--iterations", 2, "--kind", "npr,banded")["heads"]
    assert {load_head(Path(path)).trunk for path in heads.values()} == {digest}
    drawn = done("sample", "--run", run, "--steps", 3, "--count", 12, "--covariance", "npr")
    assert drawn["mean"]["digest"] == digest
    assert (drawn["reading"]["predicts"], drawn["reading"]["classes"]) == (predicts, classes)
    report = done("inspect", run)
    assert report["problems"] == []
    assert (report["parts"][0]["predicts"], report["parts"][0]["classes"]) == (predicts, classes)
    judged = cli("evaluate", "--run", run, "--steps", 3, "--images", 4, "--covariance", "npr,corrected")
    assert judged.exit_code == 0, judged.stderr


def test_what_was_made_for_another_reading_does_not_fit(refused: Refused, done: Done, train: Train) -> None:
    """The same files, but the mean was trained anew to predict v."""
    run = train("run")
    done("estimate-var", "--run", run, "--samples", 2, "--knot-samples", 0)
    train("run", "--predict", "v", "--force")
    message = refused(3, "sample", "--run", run, "--covariance", "corrected")
    assert "was made for another mean" in message
    assert mean_of(run).digest[:12] in message


def test_the_table_is_measured_with_the_labels(done: Done, train: Train, pictures: Path) -> None:
    run = train("run", "--data", pictures, *CONDITIONAL)
    done("estimate-var", "--run", run, "--samples", 4, "--steps", 3, "--knot-samples", 0)
    found = load_statistic(run / "variance.safetensors", VarianceTable).statistic
    model, examples = mean_of(run).model, load_images(str(pictures)).examples
    told, untold = (
        estimate(model, images, [VarianceTable], found.times, 4)[VarianceTable]
        for images in (examples, examples.unlabelled())
    )
    assert torch.equal(found.error_sq, told.error_sq)
    assert not torch.equal(found.error_sq, untold.error_sq)


def test_images_to_measure_need_the_same_classes(refused: Refused, train: Train, pictures: Path) -> None:
    run = train("run", "--data", pictures, *CONDITIONAL)
    for name, labels, found in (("plain", None, "no"), ("five", np.arange(COUNT) % 5, "5")):
        other = labelled(pictures.with_name(f"{name}.npz"), labels)
        message = refused(3, "estimate-var", "--run", run, "--data", other)
        assert message.startswith(f"the mean knows 3 classes and {other} has {found} labelled ones")


def test_a_mean_without_classes_takes_labelled_images(done: Done, train: Train, pictures: Path) -> None:
    run = train("run", "--data", pictures)
    assert done("estimate-var", "--run", run, "--samples", 2, "--knot-samples", 0)["table"]["samples"] == 2


# --- guidance


@pytest.mark.parametrize("command", ["estimate-var", "fit-var-head"])
def test_guidance_needs_classes_and_images_without(refused: Refused, done: Done, train: Train, command: str) -> None:
    words = {
        (): "guidance needs a mean with classes, and this one has none; train one with --classes",
        (
            "--classes",
        ): "guidance needs a mean that has seen images without a label, and this one has not; train it with "
        "--label-dropout 0.1",
    }
    few = {
        "fit-var-head": ["--kind", "sn", "--batch-size", 8, "--iterations", 1],
        "estimate-var": ["--samples", 1, "--knots", 3, "--knot-samples", 2],
    }
    more = few.get(command, [])
    for options, message in words.items():
        run = train(f"run{len(options)}", *options)
        assert refused(2, command, "--run", run, "--guidance", 2, *more) == message
        assert done(command, "--run", run, "--guidance", 1, *more)


def test_a_table_of_a_guided_mean(done: Done, train: Train) -> None:
    """It is the engine's through the guided mean, says so, and --add goes on at the same W unasked."""
    run = train("run", *CONDITIONAL, *SURE)
    words = ["estimate-var", "--run", run, "--batch-size", 1, "--knot-samples", 0]
    done(*words, "--samples", 2, "--steps", 3, "--guidance", 3)
    done(*words, "--samples", 3, "--add")
    found = load_statistic(run / "variance.safetensors", VarianceTable)
    assert (found.guidance, found.config["samples"]) == (3.0, 5)
    model, images = mean_of(run).model, load_images("digits").examples
    guided, plain = (
        estimate(through(model, View(guidance=W)), images, [VarianceTable], found.statistic.times, 5, batch_size=1)
        for W in (3.0, 1.0)
    )
    torch.testing.assert_close(found.statistic.error_sq, guided[VarianceTable].error_sq, rtol=1e-12, atol=0)
    assert not torch.allclose(found.statistic.error_sq, plain[VarianceTable].error_sq, rtol=1e-3)


def test_a_head_of_a_guided_mean(done: Done, refused: Refused, train: Train) -> None:
    run = train("run", *CONDITIONAL, *SURE)
    words = ["fit-var-head", "--run", run, "--kind", "npr", "--loss", "squared", "--batch-size", 8]
    plain = load_file(done(*words, "--iterations", 2)["heads"]["npr"])
    fit = done(*words, "--iterations", 2, "--guidance", 3, "--force")
    assert fit["settings"]["guidance"] == 3.0
    assert not torch.equal(load_file(fit["heads"]["npr"])["network.out.2.weight"], plain["network.out.2.weight"])
    message = refused(2, *words, "--iterations", 3, "--resume", "--guidance", 2, "--override", "guidance")
    assert "cannot change its guidance 3.0 -> 2.0" in message
    assert done(*words, "--iterations", 3, "--resume")["settings"]["guidance"] == 3.0


def test_samples_say_whether_their_covariance_was_measured_at_their_guidance(
    done: Done, cli: Cli, train: Train
) -> None:
    run = train("run", *CONDITIONAL)
    done("estimate-var", "--run", run, "--samples", 2, "--knot-samples", 0, "--guidance", 2)
    sample = ["sample", "--run", run, "--steps", 2, "--count", 4, "--covariance", "corrected", "--guidance"]
    at_one, at_two = (cli(*sample, W) for W in (1, 2))
    warning = "when corrected was measured"
    assert (at_one.exit_code, at_two.exit_code) == (0, 0)
    assert f"guidance is 1, and it was another {warning}; measure and fit with --guidance 1" in at_one.stderr
    assert warning not in at_two.stderr
