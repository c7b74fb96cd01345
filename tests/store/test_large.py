"""Images that stay on disk: whatever is asked of them, they are those that memory would have held."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffcov.data import in_blocks
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import look_along
from diffcov.engines.sweep import estimate
from diffcov.engines.training.ahead import DEPTH
from diffcov.engines.training.batches import NoisyBatches
from diffcov.errors import InputError, OutputError, UsageError
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.table import VarianceTable
from diffcov.store.datasets import ImageDataset, Resize, Room, load_images

COUNT, SIDE = 37, 8
NOTHING, PLENTY = Room(0), Room(1 << 40)
HUB = Path(__file__).parents[1] / "assets" / "hugging-face" / "hub"
SCHEDULE = NoiseSchedule.cosine(20)


def pixels(channels: int) -> np.ndarray:
    """(COUNT, SIDE, SIDE, channels) uint8, every image and channel its own."""
    return np.random.default_rng(channels).integers(0, 256, (COUNT, SIDE, SIDE, channels), dtype=np.uint8)


def npy(root: Path, channels: int = 3) -> Path:
    np.save(root / "a.npy", pixels(channels))
    return root / "a.npy"


def nchw(root: Path, channels: int = 3) -> Path:
    np.save(root / "b.npy", pixels(channels).transpose(0, 3, 1, 2))
    return root / "b.npy"


def npz(root: Path, channels: int = 3) -> Path:
    np.savez(root / "a.npz", arr_0=pixels(channels), labels=np.arange(COUNT) % 5)
    return root / "a.npz"


def fortran(root: Path, channels: int = 3) -> Path:
    np.savez(root / "f.npz", images=np.asfortranarray(pixels(channels)))
    return root / "f.npz"


def encoded(one: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(one.squeeze()).save(file, "PNG")
        return file.getvalue()


def named(channels: int) -> dict[str, bytes]:
    """Pictures in three folders; every third is grey, so that the others say what all have."""
    found = pixels(channels)
    return {
        f"{'abc'[number % 3]}/{number:02}.png": encoded(one[..., :1] if number % 3 == 0 else one)
        for number, one in enumerate(found)
    }


def folder(root: Path, channels: int = 3) -> Path:
    for name, content in named(channels).items():
        path = root / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "folder"


def zipped(root: Path, channels: int = 3) -> Path:
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        for name, content in named(channels).items():
            archive.writestr(name, content)
    return root / "a.zip"


Write = Callable[..., Path]
every = pytest.mark.parametrize("write", [npy, nchw, npz, fortran, folder, zipped])


def both(path: Path, room: Room = NOTHING, resize: Resize | None = None) -> tuple[ImageDataset, ImageDataset]:
    """(from memory, from disk)."""
    held, large = (load_images(str(path), resize=resize, room=where) for where in (PLENTY, room))
    assert isinstance(held.images, Tensor)
    assert not isinstance(large.images, Tensor)
    assert (held.examples.in_memory, large.examples.in_memory) == (True, False)
    return held, large


@every
@pytest.mark.parametrize("resize", [None, Resize(4)])
def test_the_same_images_labels_and_digest(write: Write, resize: Resize | None, tmp_path: Path) -> None:
    held, large = both(write(tmp_path), resize=resize)
    assert held.description == large.description
    assert held.provenance(None, labelled=True) == large.provenance(None, labelled=True)
    for chosen in (slice(None), slice(3, 30), slice(5, 5), torch.tensor([36, 0, 7, 0, 7, 35])):
        mine, theirs = held.examples[chosen], large.examples[chosen]
        assert torch.equal(mine.images, theirs.images)
        assert (mine.labels is None) == (theirs.labels is None)
        assert mine.labels is None or torch.equal(mine.labels, theirs.labels)
    some = torch.tensor([4, 30, 12])
    assert torch.equal(held.examples.subset(some)[1:].images, large.examples.subset(some)[1:].images)
    blocks = [part.images for part in in_blocks(large.examples.unlabelled(), 10)]
    assert [len(part) for part in blocks] == [10, 10, 10, 7]
    assert torch.equal(torch.cat(blocks), held.images)


@pytest.mark.parametrize("write", [npy, zipped])
def test_a_limit_keeps_the_same(write: Write, tmp_path: Path) -> None:
    path = str(write(tmp_path))
    held, large = (load_images(path, 11, room=room) for room in (PLENTY, NOTHING))
    assert held.provenance(11) == large.provenance(11)


@every
@pytest.mark.parametrize("batch_size", [5, 64])
def test_training_batches_are_bit_equal(write: Write, batch_size: int, tmp_path: Path) -> None:
    """In order, across epochs, again, and from the middle as a resumed training does."""
    made = [NoisyBatches(one.examples, one.description, SCHEDULE, batch_size, True, 3) for one in both(write(tmp_path))]
    for iteration in (*range(12), 3, 100, 101, 5):
        mine, theirs = (batches.at(iteration) for batches in made)
        for name in ("x_0", "x_t", "t", "eps"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name)), (iteration, name)
        assert mine.labels is None or torch.equal(mine.labels, theirs.labels)


def model(data: ImageDataset) -> MeanModel:
    torch.manual_seed(0)
    channels = data.description.channels
    config = UNetConfig(channels, SIDE, SIDE, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0)
    time = TimeConvention.spanning_thousand(SCHEDULE.T)
    return MeanModel(UNet(config), Reading(SCHEDULE, data.description, time)).freeze()


@pytest.mark.parametrize("channels", [3, 4])
def test_sweeps_and_looks_are_bit_equal(channels: int, tmp_path: Path) -> None:
    """Also the axes of four channels, which all pixels decide."""
    held, large = both(npy(tmp_path, channels))
    mean = model(held)
    for kind, times in ((VarianceTable, range(1, 21)), (ResidualMatrices, (1, 9, 20))):
        mine, theirs = (estimate(mean, one.examples, [kind], times, 9)[kind] for one in (held, large))
        assert mine.tensors().keys() == theirs.tensors().keys()
        assert all(torch.equal(value, theirs.tensors()[name]) for name, value in mine.tensors().items())
    looks = [list(look_along(mean, one.examples, [3, 7], batch_size=16)) for one in (held, large)]
    assert all(torch.equal(a.look.eps_hat, b.look.eps_hat) for a, b in zip(*looks, strict=True))


def test_what_is_in_memory_anyway_stays_there(tmp_path: Path) -> None:
    """A compressed npz is read whole."""
    np.savez_compressed(tmp_path / "a.npz", arr_0=pixels(3))
    assert isinstance(load_images(str(tmp_path / "a.npz"), room=NOTHING).images, Tensor)
    assert isinstance(load_images("digits", room=NOTHING).images, Tensor)


def test_room_for_all_of_it_is_room_enough(tmp_path: Path) -> None:
    """A bound that takes the channels of the richest pictures into account where the first one's would not do."""
    path, exact = str(zipped(tmp_path)), COUNT * SIDE * SIDE * 3
    assert isinstance(load_images(path, room=Room(exact)).images, Tensor)
    assert not isinstance(load_images(path, room=Room(exact - 1)).images, Tensor)


def test_a_changed_byte_in_a_mapped_npz_is_noticed(tmp_path: Path) -> None:
    path = npz(tmp_path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no complete array of plain numbers"):
        load_images(str(path), room=NOTHING)


# --- pictures


@pytest.mark.parametrize("write", [folder, zipped])
def test_sizes_are_known_before_anything_is_decoded(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path)
    other = encoded(np.zeros((SIDE, SIDE + 1, 3), dtype=np.uint8))
    if path.is_dir():
        (path / "z.png").write_bytes(other)
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("z.png", other)
    with pytest.raises(InputError, match=r"z\.png is 8x9 \(height x width\); bring all to one size with --size N"):
        load_images(str(path), room=NOTHING)


def test_a_damaged_picture_ends_the_batch_that_needs_it(tmp_path: Path) -> None:
    path = folder(tmp_path)
    large = load_images(str(path), room=NOTHING)
    damaged = path / "b" / "01.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    batches = NoisyBatches(large.examples, large.description, SCHEDULE, 5, False, 0)
    with pytest.raises(InputError, match=r"cannot read b/01\.png"):
        for iteration in range(8):
            batches.at(iteration)


def test_tables_are_read_one_after_the_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can only be read one after the other; .* kept decoded with --cache DIR"):
        load_images(str(HUB), room=NOTHING)
    held, large = both(HUB, Room(0, tmp_path / "cache"))
    assert held.digest(labelled=True) == large.digest(labelled=True)


def test_ahead_means_a_few_batches_and_no_more(tmp_path: Path) -> None:
    large = load_images(str(npy(tmp_path)), room=NOTHING)
    batches = NoisyBatches(large.examples, large.description, SCHEDULE, 5, False, 0)
    for iteration in range(6):
        batches.at(iteration)
    assert batches._ahead is not None
    assert sorted(batches._ahead._under_way) == list(range(6, 6 + DEPTH))


# --- the cache


@pytest.mark.parametrize("write", [folder, zipped])
def test_decoded_once(write: Write, tmp_path: Path) -> None:
    path, cache = write(tmp_path), tmp_path / "cache"
    held, large = both(path, Room(0, cache), Resize(4))
    (kept,) = cache.iterdir()
    written = kept.stat().st_mtime_ns
    assert held.provenance(None, labelled=True) == large.provenance(None, labelled=True)
    assert np.load(kept).shape == (COUNT, 3, 4, 4)
    again = load_images(str(path), resize=Resize(4), room=Room(0, cache))
    in_memory = load_images(str(path), resize=Resize(4), room=Room(1 << 40, cache))
    assert again.digest() == in_memory.digest() == held.digest()
    assert isinstance(in_memory.images, Tensor)
    assert [one.stat().st_mtime_ns for one in cache.iterdir()] == [written]


def test_what_differs_is_decoded_anew(tmp_path: Path) -> None:
    path, cache = folder(tmp_path), tmp_path / "cache"
    for resize, limit in ((None, None), (Resize(4), None), (Resize(4, "none"), None), (None, 10)):
        load_images(str(path), limit, resize=resize, room=Room(0, cache))
    assert len(list(cache.iterdir())) == 4
    before = load_images(str(path), room=Room(0, cache)).digest()
    one = path / "b" / "01.png"
    one.write_bytes(encoded(np.zeros((SIDE, SIDE, 3), dtype=np.uint8)))
    os.utime(one, ns=(1, 1))
    assert load_images(str(path), room=Room(0, cache)).digest() != before
    assert len(list(cache.iterdir())) == 5


@pytest.mark.parametrize("content", [b"not an array", None])
def test_another_s_file_in_the_cache_is_named(content: bytes | None, tmp_path: Path) -> None:
    path, cache = folder(tmp_path), tmp_path / "cache"
    load_images(str(path), room=Room(0, cache))
    (kept,) = cache.iterdir()
    if content is None:
        kept.unlink()
        np.save(kept, np.zeros((2, 3, 4, 4), dtype=np.uint8))
    else:
        kept.write_bytes(content)
    with pytest.raises(InputError, match="is not what --cache keeps there: remove it, and it is decoded again"):
        load_images(str(path), room=Room(0, cache))


def test_a_full_disk_leaves_no_half_of_a_cache(
    full_disk: Callable[[int], AbstractContextManager[None]], tmp_path: Path
) -> None:
    path, cache = folder(tmp_path), tmp_path / "cache"
    with full_disk(2000), pytest.raises(OutputError, match="could not write"):
        load_images(str(path), room=Room(0, cache))
    assert list(cache.iterdir()) == []


def test_room() -> None:
    assert 1 << 20 < Room().bytes < 1 << 50
    with pytest.raises(UsageError, match="--memory must be at least 0, found -1"):
        Room(-1_000_000_000)
