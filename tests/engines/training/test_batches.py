"""Batches are functions of (seed, iteration); every image once an epoch; times uniform and stratified."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from diffcov.data import UNLABELLED, DataDescription, Examples
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.diffusion.level import Level, q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.batches import Batch, NoisyBatches
from diffcov.processes.base import working
from oracles.shares import Half

COUNT = 23
DATA = DataDescription(1, 4, 6)
SCHEDULE = NoiseSchedule.linear(100)
IMAGES = torch.randint(0, 256, (COUNT, 1, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
UNLIKELY = 1e-3
"""p-value of a fixed draw: seeds are fixed, so this either always passes or never."""


LABELS = torch.arange(COUNT) % 7
"""Of image i, so that a label tells which images it can belong to."""


def batches(
    batch_size: int = 5,
    *,
    flip: bool = False,
    seed: int = 3,
    labels: Tensor | None = None,
    label_dropout: float = 0.0,
) -> NoisyBatches:
    return NoisyBatches(Examples(IMAGES, labels), DATA, SCHEDULE, batch_size, flip, seed, label_dropout)


def equal(a: Batch, b: Batch) -> bool:
    """All that is in them; labels where there are some."""
    assert (a.labels is None) == (b.labels is None)
    pairs = [(a.x_0, b.x_0), (a.x_t, b.x_t), (a.t, b.t), (a.eps, b.eps), (a.signs(), b.signs())]
    if a.labels is not None and b.labels is not None:
        pairs.append((a.labels, b.labels))
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def clean(batch: Batch) -> Tensor:
    """The grey levels that went in, from x_t, t and eps."""
    level = Level.at(SCHEDULE, batch.t, batch.x_t)
    return DATA.decode(PARAMETRISATIONS["eps"].x0(batch.x_t, batch.eps, level))


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
    for other in found[1:]:
        assert not torch.equal(found[0].eps, other.eps)
        assert not torch.equal(found[0].signs(), other.signs())


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
    assert found.x_0.shape == found.x_t.shape == found.eps.shape == (5, 1, 4, 6)
    assert found.x_0.dtype == found.x_t.dtype == found.eps.dtype == torch.float32
    assert found.t.shape == (5,)
    assert found.t.dtype == torch.int64
    assert found.signs().shape == (5, 1, 4, 6)
    assert found.signs().dtype == torch.float32


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
        found = batches(flip=True).at(n)
        assert torch.equal(found.x_0, DATA.encode(clean(found)))
        assert torch.equal(q_sample(SCHEDULE, found.x_0, found.t, found.eps), found.x_t)


def test_noise_is_standard_normal() -> None:
    eps = torch.cat([batches(20).at(n).eps for n in range(200)]).flatten().double()
    four = 4 / len(eps) ** 0.5
    assert abs(float(eps.mean())) < four
    assert abs(float(eps.var()) - 1) < four * 2**0.5
    assert abs(float(eps.pow(4).mean()) - 3) < four * 96**0.5


# --- signs

MANY = 400
"""Batches of 20 images of 24 pixels: 192,000 signs."""


def many_signs() -> Tensor:
    """(MANY, 20, 1, 4, 6) float64."""
    return torch.stack([batches(20).at(n).signs() for n in range(MANY)]).double()


def test_signs_are_the_same_at_every_call() -> None:
    """A head that is fitted alone sees what it would see in company, however often anybody asks."""
    found = batches().at(2)
    first = found.signs()
    first_again = batches().at(2).signs()
    assert torch.equal(found.signs(), first)
    assert torch.equal(first_again, first)
    first.zero_()
    assert torch.equal(found.signs(), first_again), "nobody can spoil them for the others"


def test_asking_for_signs_changes_nothing_else() -> None:
    """They come from a stream of their own: a fit that needs them sees the images and noise of one that does not."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    source, quiet = batches(flip=True), batches(flip=True)
    for n in range(4):
        found, expected = source.at(n), quiet.at(n)
        found.signs()
        assert torch.equal(found.x_t, expected.x_t)
        assert torch.equal(found.eps, expected.eps)
    assert torch.equal(torch.get_rng_state(), before)


def test_signs_are_minus_one_or_one_with_equal_probability() -> None:
    """At every pixel and every place in the batch."""
    signs = many_signs()
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    assert abs(float(signs.mean())) < 4 / signs.numel() ** 0.5
    for means in (signs.mean((0, 1)).flatten(), signs.mean((0, 2, 3, 4))):
        spread = float((means * (signs.numel() / means.numel()) ** 0.5).square().mean())
        assert abs(spread - 1) < 5 * (2 / means.numel()) ** 0.5


def test_signs_are_independent_of_one_another() -> None:
    """E[v_i v_j] = 0 for any two pixels, images or iterations: what is off the Jacobian's diagonal cancels."""
    flat = many_signs().flatten(2)
    pixels = torch.einsum("nbi,nbj->ij", flat, flat) / (MANY * 20)
    off = (pixels - torch.eye(24, dtype=torch.float64)) * (MANY * 20) ** 0.5
    assert float(off.abs().max()) < 4.5, "the largest of 276 standard normals"
    for a, b in [(flat[:, :-1], flat[:, 1:]), (flat[:-1], flat[1:])]:
        assert abs(float((a * b).mean())) < 4 / a.numel() ** 0.5


def test_signs_know_nothing_of_the_noise() -> None:
    """Signs taken from the noise's own stream would pick its directions: neither eps nor |eps| nor sign(eps)."""
    found = [batches(20).at(n) for n in range(MANY)]
    signs = torch.stack([batch.signs() for batch in found]).double()
    eps = torch.stack([batch.eps for batch in found]).double()
    for of in (eps, eps.sign(), (eps.abs() - eps.abs().mean()), eps.flip(1), eps.square() - 1):
        assert abs(float((signs * of).mean() / of.std())) < 4 / eps.numel() ** 0.5


@pytest.mark.parametrize("T", [1, 7, 10, 1000])
def test_times_are_in_range_and_uniform(T: int) -> None:
    source = NoisyBatches(Examples(IMAGES), DATA, NoiseSchedule.cosine(T), 1, False, 0)
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


# --- labels

DROPOUTS = [0.1, 0.5, 0.9]


def told(source: NoisyBatches, iterations: int) -> Tensor:
    """(iterations, B) int64, the labels of the first iterations."""
    found = [source.at(n).labels for n in range(iterations)]
    return torch.stack([labels for labels in found if labels is not None])


@pytest.mark.parametrize("batch_size", [1, 5, 23, 60])
@pytest.mark.parametrize("flip", [False, True])
def test_every_image_comes_with_its_own_label(batch_size: int, flip: bool) -> None:
    """Also where batches straddle epochs, and whether it is mirrored or not."""
    source = batches(batch_size, flip=flip, labels=LABELS)
    for n in range(12):
        found = source.at(n)
        assert found.labels is not None
        assert found.labels.dtype == torch.int64
        assert found.labels.shape == (batch_size,)
        for image, label in zip(clean(found), found.labels.tolist(), strict=True):
            whose = [i for i in range(COUNT) if torch.equal(IMAGES[i], image) or torch.equal(IMAGES[i], image.flip(-1))]
            assert [int(LABELS[i]) for i in whose] == [label]


@pytest.mark.parametrize("label_dropout", [0.0, 0.5, 0.9])
def test_images_without_labels_pass_through(label_dropout: float) -> None:
    """There is nothing to leave out, whatever was asked for: the batches are the same."""
    plain = batches(flip=True)
    for n in range(5):
        found = batches(flip=True, label_dropout=label_dropout).at(n)
        assert found.labels is None
        assert equal(found, plain.at(n))


@pytest.mark.parametrize("label_dropout", DROPOUTS)
def test_dropped_labels_are_minus_one_and_the_others_are_as_they_were(label_dropout: float) -> None:
    whole = told(batches(20, labels=LABELS), MANY)
    found = told(batches(20, labels=LABELS, label_dropout=label_dropout), MANY)
    assert UNLABELLED == -1
    assert int(whole.min()) == 0
    hidden = found != whole
    assert bool((found[hidden] == -1).all())
    assert torch.equal(LABELS, torch.arange(COUNT) % 7), "the images keep their labels"


@pytest.mark.parametrize("label_dropout", DROPOUTS)
def test_the_share_of_dropped_labels_is_the_probability(label_dropout: float) -> None:
    """At every place in a batch, for every class, and each draw apart from its neighbours'."""
    hidden = (told(batches(20, labels=LABELS, label_dropout=label_dropout), MANY) == -1).double()
    std = (label_dropout * (1 - label_dropout)) ** 0.5
    assert abs(float(hidden.mean()) - label_dropout) < 4 * std / hidden.numel() ** 0.5
    z = (hidden.mean(0) - label_dropout) / std * MANY**0.5
    assert abs(float(z.square().mean()) - 1) < 5 * (2 / 20) ** 0.5
    whole = told(batches(20, labels=LABELS), MANY)
    for label in range(7):
        of_class = hidden[whole == label]
        assert abs(float(of_class.mean()) - label_dropout) < 4 * std / len(of_class) ** 0.5
    off = hidden - label_dropout
    for a, b in [(off[:, :-1], off[:, 1:]), (off[:-1], off[1:])]:
        assert abs(float((a * b).mean())) < 4 * std**2 / a.numel() ** 0.5


def test_which_labels_are_dropped_depends_on_seed_and_iteration_alone() -> None:
    """Not on what was asked for before, nor on the global generator."""
    source = batches(20, labels=LABELS, label_dropout=0.5)
    found = told(source, 8)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = batches(20, labels=LABELS, label_dropout=0.5)
    for n in reversed(range(8)):
        labels = again.at(n).labels
        assert labels is not None
        assert torch.equal(labels, found[n])
    assert torch.equal(torch.get_rng_state(), before)
    hidden = found == -1
    other = told(batches(20, seed=4, labels=LABELS, label_dropout=0.5), 8) == -1
    assert not torch.equal(hidden, other)
    assert len({tuple(row) for row in hidden.tolist()}) == 8, "every iteration has draws of its own"


@pytest.mark.parametrize("label_dropout", DROPOUTS)
def test_dropping_labels_changes_nothing_else(label_dropout: float) -> None:
    """Images, order, times, noise and signs are those of a training that tells all labels."""
    source, plain = batches(flip=True, labels=LABELS, label_dropout=label_dropout), batches(flip=True)
    for n in range(8):
        found, expected = source.at(n), plain.at(n)
        for mine, theirs in (
            (found.x_0, expected.x_0),
            (found.x_t, expected.x_t),
            (found.t, expected.t),
            (found.eps, expected.eps),
            (found.signs(), expected.signs()),
        ):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("in_memory", (True, False))
def test_processes_have_the_rows_of_one_batch(in_memory: bool) -> None:
    """Images, times, noise, mirroring, labels that are not told, and signs: 3 of 7 rows, and the other 4."""

    def of(examples: Examples) -> NoisyBatches:
        examples = examples if in_memory else OnDisk(examples.images, examples.labels)
        return NoisyBatches(examples, DATA, SCHEDULE, 7, True, 3, 0.3)

    whole = of(Examples(IMAGES, LABELS))
    halves = []
    for rank in range(2):
        with working(Half(rank)):
            halves.append(of(Examples(IMAGES, LABELS)))
    for n in (0, 3, 1):
        expected, parts = whole.at(n), [half.at(n) for half in halves]
        assert [(part.first, len(part.t), part.whole) for part in parts] == [(0, 3, 7), (3, 4, 7)]
        for name in ("x_0", "x_t", "t", "eps", "labels"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(expected, name)), name
        assert torch.equal(torch.cat([part.signs() for part in parts]), expected.signs())


class OnDisk(Examples):
    """Examples that are read ahead."""

    in_memory = False
