"""Batches are functions of (seed, iteration); every image once an epoch; times uniform and stratified."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.process import q_sample, x0_from_eps
from diffcov.schedule import NoiseSchedule
from diffcov.training.batches import Batch, NoisyBatches

COUNT = 23
DATA = DataDescription(1, 4, 6)
SCHEDULE = NoiseSchedule.linear(100)
IMAGES = torch.randint(0, 256, (COUNT, 1, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
UNLIKELY = 1e-3
"""p-value of a fixed draw: seeds are fixed, so this either always passes or never."""


def batches(batch_size: int = 5, *, flip: bool = False, seed: int = 3) -> NoisyBatches:
    return NoisyBatches(IMAGES, DATA, SCHEDULE, batch_size, flip, seed)


def equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.x_t, b.x_t) and torch.equal(a.t, b.t) and torch.equal(a.eps, b.eps)


def clean(batch: Batch) -> Tensor:
    """The grey levels that went in, from x_t, t and eps."""
    return DATA.decode(x0_from_eps(SCHEDULE, batch.x_t, batch.t, batch.eps))


def which(pixels: Tensor) -> list[int]:
    """Numbers of the images that these are."""
    return [next(i for i in range(COUNT) if torch.equal(IMAGES[i], image)) for image in pixels]


@pytest.mark.parametrize("batch_size", [1, 5, 23, 60])
def test_at_does_not_depend_on_history(batch_size: int) -> None:
    forward = batches(batch_size, flip=True)
    expected = [forward.at(n) for n in range(12)]
    backward = batches(batch_size, flip=True)
    assert all(equal(backward.at(n), expected[n]) for n in reversed(range(12)))
    assert all(equal(batches(batch_size, flip=True).at(n), expected[n]) for n in (0, 4, 7, 11))
    assert equal(forward.at(3), expected[3])


def test_at_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = batches().at(2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert equal(batches().at(2), first)


def test_iterations_and_seeds_differ() -> None:
    found = [batches().at(0), batches().at(1), batches(seed=4).at(0)]
    assert not torch.equal(found[0].eps, found[1].eps)
    assert not torch.equal(found[0].eps, found[2].eps)


def test_images_times_and_noise_each_depend_on_the_seed() -> None:
    mine, theirs = batches(), batches(seed=4)
    orders, times, noises = [], [], []
    for source in (mine, theirs):
        found = [source.at(n) for n in range(5)]
        orders.append([i for batch in found for i in which(clean(batch))][:COUNT])
        times.append(torch.cat([batch.t for batch in found]))
        noises.append(torch.cat([batch.eps for batch in found]))
    assert orders[0] != orders[1]
    assert all(sorted(order) == list(range(COUNT)) != order for order in orders)
    assert not torch.equal(*times)
    assert not torch.isclose(*noises).all((1, 2, 3)).any(), "no image has the same noise"


def test_shapes_and_types() -> None:
    found = batches().at(0)
    assert found.x_t.shape == found.eps.shape == (5, 1, 4, 6)
    assert found.x_t.dtype == found.eps.dtype == torch.float32
    assert found.t.shape == (5,)
    assert found.t.dtype == torch.int64


@pytest.mark.parametrize("batch_size", [1, 5, 22, 23, 24, 60])
def test_every_image_once_an_epoch(batch_size: int) -> None:
    """Also where batches straddle epochs, and where one batch holds more than an epoch."""
    source = batches(batch_size)
    epochs = 6
    order = [i for n in range(-(-epochs * COUNT // batch_size)) for i in which(clean(source.at(n)))]
    shuffles = [tuple(order[e * COUNT : (e + 1) * COUNT]) for e in range(epochs)]
    assert all(sorted(shuffle) == list(range(COUNT)) for shuffle in shuffles)
    assert len(set(shuffles)) == epochs, "every epoch has an order of its own"


def test_x_t_is_q_sample_bit_for_bit() -> None:
    for n in range(10):
        found = batches().at(n)
        assert torch.equal(q_sample(SCHEDULE, DATA.encode(clean(found)), found.t, found.eps), found.x_t)


def test_noise_is_standard_normal() -> None:
    eps = torch.cat([batches(20).at(n).eps for n in range(200)]).flatten().double()
    four = 4 / len(eps) ** 0.5
    assert abs(float(eps.mean())) < four
    assert abs(float(eps.var()) - 1) < four * 2**0.5
    assert abs(float(eps.pow(4).mean()) - 3) < four * 96**0.5


@pytest.mark.parametrize("T", [1, 7, 10, 1000])
def test_times_are_in_range_and_uniform(T: int) -> None:
    source = NoisyBatches(IMAGES, DATA, NoiseSchedule.cosine(T), 1, False, 0)
    times = [int(source.at(n).t) for n in range(2000)]
    assert set(times) <= set(range(1, T + 1))
    parts = min(T, 10)
    counts = Counter((t - 1) * parts // T for t in times)
    expected = [2000 * sum((t - 1) * parts // T == part for t in range(1, T + 1)) / T for part in range(parts)]
    assert chisquare([counts[part] for part in range(parts)], expected).pvalue > UNLIKELY or T == 1


def test_each_position_of_a_batch_is_uniform() -> None:
    times = torch.stack([batches(4).at(n).t for n in range(1500)])
    for position in range(4):
        counts = torch.bincount((times[:, position] - 1) // 10, minlength=10)
        assert chisquare(counts.numpy()).pvalue > UNLIKELY


@pytest.mark.parametrize("batch_size", [2, 10, 50, 100])
def test_times_are_stratified(batch_size: int) -> None:
    """Where B divides T, each of B equal parts of 1..T gets exactly one."""
    for n in range(20):
        parts = (batches(batch_size).at(n).t - 1) * batch_size // SCHEDULE.T
        assert sorted(parts.tolist()) == list(range(batch_size))


def test_flip_mirrors_left_to_right_half_of_the_time_and_nothing_else() -> None:
    mirrored = 0
    for n in range(200):
        for image in clean(batches(flip=True).at(n)):
            turned = any(torch.equal(image, original.flip(-1)) for original in IMAGES)
            assert turned or any(torch.equal(image, original) for original in IMAGES)
            mirrored += turned
    four = 4 * (1000 * 0.25) ** 0.5
    assert abs(mirrored - 500) < four


def test_flip_keeps_the_epochs() -> None:
    flipped, plain = batches(flip=True), batches()
    for n in range(10):
        for a, b in zip(clean(flipped.at(n)), clean(plain.at(n)), strict=True):
            assert torch.equal(a, b) or torch.equal(a.flip(-1), b)
