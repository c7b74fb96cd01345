"""What it costs that images are on disk: decoding, training batches and memory, beside the same from memory.

Two kinds of pictures: 32x32 PNG as CIFAR-10's, and JPEG of 320x240 shrunk to 64 as photographs are. Each ratio is of
two ways in turn within this process; a training step is one of a tiny U-Net, so that reading has little to hide behind.

Run: python benchmarks/data_larger.py [--count N] [--repeats N] [--out benchmarks/results/data-larger-NAME.json]
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from timing import pair, report

from diffcov import NoiseSchedule, TimeConvention
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.nets.unet import UNetConfig
from diffcov.store.datasets import ImageDataset, Resize, Room, load_images, pictures

BATCH = 64
KINDS = {"png-32": ((32, 32), "PNG", None), "jpeg-320x240-to-64": ((320, 240), "JPEG", Resize(64))}
PLENTY, NOTHING = Room(1 << 40), Room(0)


def written(root: Path, kind: str, count: int) -> Path:
    """A zip of smooth pictures."""
    size, form, _ = KINDS[kind]
    draw = np.random.default_rng(0)
    path = root / f"{kind}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            with io.BytesIO() as file:
                coarse.resize(size, Image.Resampling.BICUBIC).save(file, form)
                archive.writestr(f"{number:06}.{form.lower()}", file.getvalue())
    return path


def endless(images: ImageDataset) -> Iterator[int]:
    """Makes one training batch after the other."""
    batches = made(images)
    for iteration in itertools.count():
        batches.at(iteration)
        yield iteration


def made(images: ImageDataset) -> NoisyBatches:
    """The batches of a training."""
    return NoisyBatches(images.examples, images.description, NoiseSchedule.linear(1000), BATCH, True, 0)


def training(images: ImageDataset) -> Callable[[], None]:
    """One step more of a training, at every call."""
    data, config = images.description, TrainingConfig(batch_size=BATCH)
    net = UNetConfig(3, data.height, data.width, channels=8, multipliers=(1, 1), blocks=1, attention=(), heads=1)
    schedule = NoiseSchedule.linear(1000)
    model = MeanSpec(net, Reading(schedule, data, TimeConvention.spanning_thousand(1000))).build()
    session, batches = Session(MeanObjective(model), config), made(images)

    def step() -> None:
        train(session, batches, Budget(session.iteration + 1), Callbacks(), Intervals(1 << 30, 1e9))

    return step


def compared(path: Path, resize: Resize | None, cache: Path, repeats: int) -> dict[str, object]:
    """Ratios for one kind."""

    def whole() -> ImageDataset:
        return load_images(str(path), resize=resize, room=PLENTY)

    def with_one_thread() -> ImageDataset:
        with mock.patch.object(pictures, "WORTH_THREADS", 1 << 40):
            return whole()

    memory, disk = whole(), load_images(str(path), resize=resize, room=NOTHING)
    kept = load_images(str(path), resize=resize, room=Room(0, cache))
    assert memory.digest() == disk.digest() == kept.digest()
    held, read, mapped = endless(memory), endless(disk), endless(kept)
    steps = [training(one) for one in (memory, disk, kept)]
    few = max(3, repeats // 3)
    return {
        "decode all: threads / one thread": pair(whole, with_one_thread, few),
        "command after: cache / decode": pair(
            lambda: load_images(str(path), resize=resize, room=Room(1 << 40, cache)), whole, few
        ),
        "batch: from disk / from memory": pair(lambda: next(read), lambda: next(held), 8 * repeats),
        "batch: from cache / from memory": pair(lambda: next(mapped), lambda: next(held), 8 * repeats),
        "step: from disk / from memory": pair(steps[1], steps[0], repeats),
        "step: from cache / from memory": pair(steps[2], steps[0], repeats),
    }


def peak(path: Path, room: Room) -> float:
    """The most that is allocated for images, in MB, while they are loaded, digested and read in 50 batches.

    Pages of a map are not counted: the kernel takes them back when it needs them.
    """
    tracemalloc.start()
    images = load_images(str(path), room=room)
    images.digest()
    for iteration in endless(images):
        if iteration == 50:
            break
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1e6


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="pictures of each kind")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the other core is the reader's
    result: dict[str, object] = {"count": given.count, "batch": BATCH}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for kind, (_, _, resize) in KINDS.items():
            path = written(root, kind, given.count)
            result[kind] = compared(path, resize, root / "cache", given.repeats)
        large = root / "large.npz"
        np.savez(large, arr_0=np.zeros((200_000, 3, 32, 32), dtype=np.uint8))
        result["npz of 614 MB, MB allocated"] = {"in memory": peak(large, PLENTY), "on disk": peak(large, NOTHING)}
    report(result, given.out)


if __name__ == "__main__":
    main()
