"""Random words by counter: published answers, and normal draws that nothing ties together."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from diffcov.philox import WORD, Counter, normals, philox

PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
KNOWN = [
    ((0,) * 4, (0,) * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((WORD,) * 4, (WORD,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (*PI, "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""kat_vectors of Random123, philox4x32 with 10 rounds."""


def counter_of(*words: int) -> Counter:
    c0, c1, c2, c3 = (torch.tensor([word]) for word in words)
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_published_answers(counter: tuple[int, ...], key: tuple[int, int], answer: str) -> None:
    assert " ".join(f"{int(word):08x}" for word in philox(counter_of(*counter), key)) == answer


def by_hand(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """The definition, in Python's own integers."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ k, q & WORD, (p >> 32) ^ d ^ m, p & WORD
        k, m = (k + 0x9E3779B9) & WORD, (m + 0xBB67AE85) & WORD
    return [a, b, c, d]


@pytest.mark.parametrize("shapes", list(itertools.product([(3, 1), (1, 5), (3, 5), (1, 1)], repeat=2)))
def test_words_broadcast_and_are_those_of_each_counter(shapes: tuple[tuple[int, int], ...]) -> None:
    """Whatever shapes the words come in, and they are left as they were."""
    draw = torch.Generator().manual_seed(0)
    sizes = (*shapes, *shapes[::-1])
    words = tuple(torch.randint(0, WORD + 1, size, generator=draw) for size in sizes)
    before = [word.clone() for word in words]
    found = philox((words[0], words[1], words[2], words[3]), PI[1])
    whole = torch.broadcast_shapes(*sizes)
    assert all(word.shape == whole for word in found)
    assert all(map(torch.equal, words, before))
    spread = [word.expand(whole) for word in words]
    for place in itertools.product(*map(range, whole)):
        assert [int(word[place]) for word in found] == by_hand(tuple(int(w[place]) for w in spread), PI[1])


def drawn(image: int, draw: int, key: tuple[int, int] = (5, 6), count: int = 25_000) -> torch.Tensor:
    _, number, first, second = counter_of(0, draw, image, 0)
    words = philox((torch.arange(count), number, first, second), key)
    return normals(words).flatten().double()


def test_draws_are_standard_normal() -> None:
    """Kolmogorov and Smirnov's distance of 100,000, and four moments within five standard errors."""
    x = drawn(0, 0)
    assert stats.kstest(x.numpy(), "norm").pvalue > 0.001
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
        assert float((x**power).mean()) == pytest.approx(moment, abs=5 * math.sqrt(variance / len(x)))


def test_draws_of_images_draws_and_keys_are_independent() -> None:
    """Correlations of values and of squares, also of neighbours and of the four draws of a counter."""
    streams = [drawn(image, draw, key) for image in (0, 1) for draw in (0, 1) for key in ((5, 6), (6, 5))]
    streams += [streams[0].roll(1)]
    streams += [*streams[0].reshape(4, -1).repeat(1, 4)]
    for power in (1, 2):
        values = torch.stack([x**power for x in streams])
        apart = torch.corrcoef(values[:9])
        assert float((apart - torch.eye(9)).abs().max()) < 5 / math.sqrt(values.shape[1])
        of_counter = torch.corrcoef(values[9:, : values.shape[1] // 4])
        assert float((of_counter - torch.eye(4)).abs().max()) < 5 / math.sqrt(values.shape[1] // 4)


def test_the_extreme_words_give_finite_draws() -> None:
    """The largest radius is sqrt(2 ln 2^33), and no logarithm sees a zero."""
    words = counter_of(0, 0, WORD, WORD)
    found = normals(words).flatten()
    assert torch.isfinite(found).all()
    assert float(found[0]) == pytest.approx(math.sqrt(2 * math.log(2**33)))
    assert found[2:].abs().max() < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same() -> None:
    words = torch.randint(0, WORD + 1, (4, 7, 1000))
    here = philox((words[0], words[1], words[2], words[3]), PI[1])
    there = philox((words[0].cuda(), words[1].cuda(), words[2].cuda(), words[3].cuda()), PI[1])
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here, there, strict=True))
    assert float((normals(here) - normals(there).cpu()).abs().max()) < 1e-6


def test_normals_are_box_and_muller_s_first_word_radius_second_angle() -> None:
    """By definition: a version of the noise never changes."""
    words = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    expected = []
    for a, b in (words[:2], words[2:]):
        radius, angle = math.sqrt(-2 * math.log((a + 0.5) / 2**32)), 2 * math.pi * b / 2**32
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    assert normals(counter_of(*words)).flatten().tolist() == pytest.approx(expected, rel=1e-6)
