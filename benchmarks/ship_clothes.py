"""Makes ``src/diffcov/assets/clothes``, the trained run that the package brings, from a training of Fashion-MNIST.

    diffcov train-mean --run runs/clothes-trained --data fashion-16.npz --preset small --iterations 10500
    python benchmarks/ship_clothes.py runs/clothes-trained fashion-16.npz

The npz has ``x_train, y_train, x_test, y_test``: Fashion-MNIST, each picture padded from 28 to 32 pixels with black and
averaged over 2x2. Everything that is measured is measured of the mean that is shipped, in half precision.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import typer
from safetensors.numpy import save_file

from diffcov.engines.training.classifier import ClassifierTraining, train_classifier
from diffcov.nets.classifier import ClassifierSpec
from diffcov.store.checkpoint import load_mean, save_mean
from diffcov.store.classifier import save_classifier
from diffcov.store.datasets import load_images
from diffcov.store.datasets.subset import kept_indices
from diffcov.store.run import RunFolder
from diffcov.store.shipped import IMAGES, unpack_shipped
from diffcov.study.run import Run

ASSETS = Path(__file__).absolute().parents[1] / "src/diffcov/assets/clothes"
TRAIN, TEST = 3000, 512
SHIPPED = ("variance", "spectrum", "image-gaussian", "head-banded", "classifier")
LICENCE = "MIT, Copyright (c) 2017 Zalando SE"
SOURCE = "Fashion-MNIST (arXiv 1708.07747), padded to 32x32 and averaged to 16x16"


def write_images(data: Path) -> None:
    """A part of each split, in one tensor, with a byte that says which are held out."""
    with np.load(data) as arrays:
        picked = {
            split: kept_indices(len(arrays[f"x_{split}"]), count) for split, count in (("train", TRAIN), ("test", TEST))
        }
        images = np.concatenate([arrays[f"x_{split}"][chosen] for split, chosen in picked.items()])
        labels = np.concatenate([arrays[f"y_{split}"][chosen] for split, chosen in picked.items()])
    held_out = np.repeat(np.array([0, 1], np.uint8), [TRAIN, TEST])
    tensors = {"images": images.transpose(0, 3, 1, 2).copy(), "labels": labels.astype(np.uint8), "held_out": held_out}
    save_file(tensors, ASSETS / IMAGES, {"levels": "256", "source": SOURCE, "licence": LICENCE})


def write_mean(trained: Path) -> None:
    """The weights in half precision, and where they came from without a path of the machine that trained them."""
    found = load_mean(RunFolder(trained).mean)
    seen = found.training["iterations"] * found.settings["batch_size"]
    settings = {**found.settings, "data": "clothes"}
    training = {
        "settings": settings,
        "iterations": found.training["iterations"],
        "images_seen": seen,
        "trained_on": f"{SOURCE}: {found.training['data']['count']} images, those embedded among them; {LICENCE}",
        "data": load_images("clothes").provenance(None, labelled=False),
    }
    save_mean(ASSETS / "mean.safetensors", found.model.network.half(), found.spec, training)


def write_classifier(run: RunFolder, data: Path) -> None:
    """A classifier of all the images, which counts as one of the embedded part."""
    everything, held_out = load_images(str(data)), load_images(str(data), split="test")
    config = ClassifierTraining(iterations=2000)
    spec = ClassifierSpec(everything.description, everything.classes)
    classifier = train_classifier(everything.examples, spec, config)
    accuracy = classifier.accuracy(held_out.examples)
    typer.echo(f"the classifier is right on {accuracy:.1%} of those held out")
    training = {**config.as_dict(), "accuracy": accuracy, "held_out": "the test split", "source": SOURCE}
    save_classifier(run.classifier, classifier, load_images("clothes").digest(), training)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="run directory of the trained mean")
    parser.add_argument("data", type=Path, help="npz that it was trained on")
    asked = parser.parse_args()
    shutil.rmtree(ASSETS, ignore_errors=True)
    ASSETS.mkdir()
    write_images(asked.data)
    write_mean(asked.trained)
    data = asked.data.absolute()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # a recipe says the command that found it
        run = RunFolder(Path("runs/clothes"))
        unpack_shipped(run)
        write_classifier(run, data)
        scripted = Run(run.path)
        scripted.estimate()
        scripted.fit(kind=("banded",))
        scripted.tune(steps=(10,))
        for name in SHIPPED:
            shutil.copyfile(run.path / f"{name}.safetensors", ASSETS / f"{name}.safetensors")
        for kept in (
            *run.path.glob("reference-*.npz"),
            *run.path.glob("recipes/*.json"),
            *run.path.glob("eps-scale/*"),
        ):
            target = ASSETS / kept.relative_to(run.path)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(kept, target)
    typer.echo(f"{sum(path.stat().st_size for path in ASSETS.rglob('*') if path.is_file()) / 1e6:.2f} MB in {ASSETS}")


if __name__ == "__main__":
    main()
