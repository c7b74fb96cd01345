"""Feature spaces by name or path: every word, every refusal, and what is kept in the run."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import diffcov.study.keeping
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.distances.features import features_of, pixels
from diffcov.engines.distances.frechet import Gaussian, require_enough
from diffcov.errors import InputError, OutputError, UsageError
from diffcov.nets.unet import UNetConfig
from diffcov.store.checkpoint import MeanCheckpoint, load_mean, save_mean
from diffcov.store.classifier import load_classifier, load_digits_classifier
from diffcov.store.datasets import load_images
from diffcov.store.images import stretch
from diffcov.store.run import RunFolder
from diffcov.study.features import open_features, open_reference
from diffcov.study.listener import Silent
from diffcov.study.opening import Opened
from oracles.listening import Recorder
from oracles.scripted import Colour, Means, save_scripted

NOBODY = Silent()
SPEAKS_OF_TRAINING = "training a classifier"


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def labelled_folder(folder: Path, first: int, test: bool = True) -> str:
    """A folder as MNIST's, with 400 digits from number ``first`` on and, if wanted, 100 to test."""
    folder.mkdir()
    digits = load_images("digits")
    assert digits.labels is not None
    parts = {"train": slice(first, first + 400), "t10k": slice(first + 400, first + 500)}
    for name in ("train", "t10k") if test else ("train",):
        images = stretch(digits.images[parts[name], 0], 17).numpy()
        write_idx(folder / f"{name}-images-idx3-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", digits.labels[parts[name]].numpy().astype(np.uint8))
    return str(folder)


def mean_of(run: RunFolder, source: str, limit: int | None = None) -> MeanCheckpoint:
    """A mean model that claims to be trained on a source; its weights do not matter here."""
    images = load_images(source, limit)
    c, h, w = images.description.shape
    network = UNetConfig(c, h, w, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1)
    spec = MeanSpec(network, Reading(NoiseSchedule.linear(50), images.description, TimeConvention()))
    save_mean(run.mean, spec.build().network, spec, {"data": images.provenance(limit)})
    return load_mean(run.mean)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def kept_statistics(run: RunFolder) -> list[Path]:
    return sorted(run.path.glob("reference-*.npz"))


def test_the_digits_have_a_classifier_already(run: RunFolder) -> None:
    mean, images, told = mean_of(run, "digits", 300), load_images("digits", 70), Recorder()
    for word in ("auto", "classifier"):
        space = open_features(word, run, mean, told)
        assert (space.name, space.dims, space.digest) == ("classifier", 64, load_digits_classifier().digest)
        expected = load_digits_classifier().classifier.features(images.images)
        torch.testing.assert_close(features_of(space, images.images), expected)
    assert told == Recorder(), "nothing to say"
    assert [path.name for path in run.path.iterdir()] == ["mean.safetensors"]


def test_pixels(run: RunFolder) -> None:
    mean = mean_of(run, "digits", 10)
    assert open_features("pixels", run, mean, NOBODY).digest == pixels(mean.model.data).digest


def test_a_classifier_is_trained_once_a_data_set(run: RunFolder, tmp_path: Path) -> None:
    mean, told = mean_of(run, labelled_folder(tmp_path / "a", 0)), Recorder()
    first = open_features("auto", run, mean, told)
    assert told.said(SPEAKS_OF_TRAINING)
    assert told.said("% of the test split")
    (task,) = told.tasks
    assert (task.title, task.done, task.ended) == ("classifier", task.total, True)
    kept = run.path / "classifier.safetensors"
    found = load_classifier(kept)
    assert (found.digest, found.data) == (first.digest, mean.training["data"]["digest"])
    assert found.training["accuracy"] > 0.85
    test = load_images(mean.training["data"]["source"], split="test")
    assert found.classifier.accuracy(test.examples) == found.training["accuracy"]

    written, told = kept.stat().st_mtime_ns, Recorder()
    assert open_features("classifier", run, mean, told).digest == first.digest
    assert not told.said(SPEAKS_OF_TRAINING)
    assert kept.stat().st_mtime_ns == written, "kept, not trained again"

    other = mean_of(run, labelled_folder(tmp_path / "b", 500, test=False))
    second = open_features("auto", run, other, told)
    assert told.said(SPEAKS_OF_TRAINING)
    assert told.said("% of a tenth of the images")
    assert second.digest != first.digest
    assert load_classifier(kept).data == other.training["data"]["digest"]


def test_images_that_changed_since_the_mean_train_one_classifier(run: RunFolder, tmp_path: Path) -> None:
    mean = mean_of(run, labelled_folder(tmp_path / "a", 0, test=False))
    changed = replace(mean, training={"data": {**mean.training["data"], "digest": "0" * 64}})
    once, twice = Recorder(), Recorder()
    first = open_features("auto", run, changed, once)
    assert once.said(SPEAKS_OF_TRAINING)
    assert open_features("auto", run, changed, twice).digest == first.digest
    assert not twice.said(SPEAKS_OF_TRAINING)


def test_a_training_is_kept_until_its_classifier_is_written(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffcov.study.keeping, "EVERY", 0.0)
    mean, told = mean_of(run, labelled_folder(tmp_path / "a", 0)), Recorder()
    run.classifier.mkdir()
    with pytest.raises(OutputError, match="it is a folder; nothing was changed"):
        open_features("classifier", run, mean, told)
    run.classifier.rmdir()
    assert not told.said("going on")
    open_features("classifier", run, mean, told)
    assert told.said("going on")
    assert not list(run.path.glob(".*")), "and goes then"


def test_a_poor_classifier_is_warned_of(run: RunFolder, tmp_path: Path) -> None:
    source, told = labelled_folder(tmp_path / "a", 0), Recorder()
    draw = np.random.default_rng(0)
    write_idx(tmp_path / "a" / "t10k-labels-idx1-ubyte", draw.integers(0, 10, 100).astype(np.uint8))
    open_features("auto", run, mean_of(run, source), told)
    (warning,) = told.warnings
    assert "is right on only" in warning
    assert "--features pixels" in warning


def test_a_mean_of_unknown_images_has_no_classifier(run: RunFolder) -> None:
    unknown = replace(mean_of(run, "digits", 10), training={})
    assert open_features("auto", run, unknown, NOBODY).name == "pixels"
    with pytest.raises(UsageError, match="needs labels, and the mean's data, which are not known,"):
        open_features("classifier", run, unknown, NOBODY)


def test_without_labels(run: RunFolder, tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", stretch(load_images("digits", 20).images[:, 0], 17).numpy())
    alike = tmp_path / "folder" / "one"
    alike.mkdir(parents=True)
    for i, image in enumerate(load_images("digits", 4).images):
        Image.fromarray(stretch(image[0], 17).numpy()).save(alike / f"{i}.png")
    for source in (tmp_path / "plain.npy", tmp_path / "folder"):
        mean = mean_of(run, str(source))
        assert open_features("auto", run, mean, NOBODY).name == "pixels"
        with pytest.raises(UsageError) as caught:
            open_features("classifier", run, mean, NOBODY)
        for part in (str(source), "idx", "CIFAR", "subfolder a class", "--features pixels or inception"):
            assert part in str(caught.value)


def test_without_labels_and_with_more_pixels_than_samples(run: RunFolder, tmp_path: Path) -> None:
    """A search or a comparison of one's own photographs is not refused for want of a hundred thousand samples."""
    np.save(tmp_path / "plain.npy", stretch(load_images("digits", 40).images[:, 0], 17).numpy())
    mean, told = mean_of(run, str(tmp_path / "plain.npy")), Recorder()

    def check(dims: int, name: str) -> None:
        require_enough(40, dims, "samples")

    space = open_features("auto", run, mean, told, check)
    assert space.name == "spectrum"
    said = "nothing of what is in the picture: there are no labels to train a classifier on, and "
    (note,) = [note for note in told.notes if said in note]
    assert "needs at least 64 samples, found 40; give more (--count)" in note
    with pytest.raises(UsageError, match="needs at least 64 samples"):
        open_features("auto", run, mean, told, check, own=False)
    with pytest.raises(UsageError, match="64 dimensions needs at least 64 samples"):
        open_features("pixels", run, mean, told, check)


def test_a_torchscript_file(run: RunFolder, tmp_path: Path) -> None:
    mean = mean_of(run, "digits", 10)
    means = open_features(str(save_scripted(tmp_path / "means.pt", Means())), run, mean, NOBODY)
    assert (means.name, means.dims, means.channels) == ("means.pt", 1, 1)
    colour = open_features(str(save_scripted(tmp_path / "colour.pt", Colour())), run, mean, NOBODY)
    assert (colour.name, colour.dims, colour.channels) == ("colour.pt", 5, 3)
    assert colour.digest != means.digest


def test_another_word(run: RunFolder) -> None:
    with pytest.raises(UsageError, match="--features resnet is no feature space and no file: choose auto, pixels"):
        open_features("resnet", run, mean_of(run, "digits", 10), NOBODY)


def test_an_inception_of_other_bytes_is_refused(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_scripted(tmp_path / "inception.pt", Means())
    monkeypatch.setenv("DIFFCOV_INCEPTION", str(path))
    with pytest.raises(InputError, match=r"is not inception-2015-12-05\.pt: its sha256 is"):
        open_features("inception", run, mean_of(run, "digits", 10), NOBODY)


def opened_digits(count: int) -> Opened:
    images = load_images("digits", count)
    return Opened(images.examples.unlabelled(), images.provenance(count), images)


def digits_reference(run: RunFolder, limit: int = 100, count: int = 200) -> tuple[Any, Tensor, dict[str, Any]]:
    opened = opened_digits(count)
    space = pixels(opened.images.description)
    found = open_reference(space, run, opened, None, NOBODY, limit)
    return found, features_of(space, opened.examples.images), opened.provenance


def test_the_gaussian_is_of_all_images_and_features_of_some(run: RunFolder) -> None:
    found, features, _ = digits_reference(run)
    expected = Gaussian.of(features)
    assert torch.equal(found.gaussian.mean, expected.mean)
    assert torch.equal(found.gaussian.covariance, expected.covariance)
    assert (found.count, len(found.features)) == (200, 100)
    rows = {tuple(row) for row in features.tolist()}
    chosen = {tuple(row) for row in found.features.tolist()}
    assert chosen <= rows
    assert len(chosen) == 100
    assert not torch.equal(found.features, features[:100]), "in no order of the data"
    everything, _, _ = digits_reference(run, limit=1000)
    assert len(everything.features) == 200
    assert torch.equal(everything.features[:100], found.features)


def test_statistics_are_kept_and_used_again(run: RunFolder) -> None:
    first, _, _ = digits_reference(run)
    (path,) = kept_statistics(run)
    assert path.name.startswith("reference-pixels-")
    written = path.stat().st_mtime_ns
    taken: list[int] = []

    opened, told = opened_digits(200), Recorder()
    plain = pixels(opened.images.description)

    def counting(batch: Tensor) -> Tensor:
        taken.append(len(batch))
        return plain.extract(batch)

    again = open_reference(replace(plain, extract=counting), run, opened, None, told, 100)
    assert sum(taken) == 100, "features of those images alone that are kept as features"
    (task,) = told.tasks
    assert (task.title, task.total, task.done) == ("pixels features of the data", 100, 100)
    assert path.stat().st_mtime_ns == written
    assert torch.equal(again.features, first.features)
    assert torch.equal(again.gaussian.covariance, first.gaussian.covariance)
    assert again.count == 200
    digits_reference(run, count=150)
    assert len(kept_statistics(run)) == 2, "other images, other statistics"


def test_statistics_under_a_wrong_name_are_refused(run: RunFolder) -> None:
    digits_reference(run)
    (of_200,) = kept_statistics(run)
    digits_reference(run, count=150)
    (of_150,) = set(kept_statistics(run)) - {of_200}
    of_150.replace(of_200)
    with pytest.raises(InputError, match="holds statistics of other images or features; remove it"):
        digits_reference(run)


def test_given_statistics_replace_the_images(run: RunFolder, tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", mu=np.arange(64.0), sigma=np.eye(64))
    opened = opened_digits(5)
    space = pixels(opened.images.description)
    found = open_reference(space, run, opened, tmp_path / "theirs.npz", NOBODY)
    assert torch.equal(found.gaussian.mean, torch.arange(64).double())
    assert (found.features, found.count) == (None, 0)
    assert not run.path.exists()
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(InputError, match=r"mu \(2048,\) .* but pixels has 64 features"):
        open_reference(space, run, opened, tmp_path / "theirs.npz", NOBODY)


def test_fewer_images_than_dimensions_are_refused(run: RunFolder) -> None:
    with pytest.raises(UsageError, match="in 64 dimensions needs at least 64 images of data, found 63"):
        digits_reference(run, count=63)
    assert not run.path.exists()
