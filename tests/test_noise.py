"""Random numbers belong to a key: nothing about batches, order or other images changes them."""

from __future__ import annotations

import pytest
import torch

from diffcov.errors import UsageError
from diffcov.noise import GivenNoise, ImageNoise, generator, key

SHAPE = (3, 5, 7)


def test_keys_differ_by_seed_and_by_every_word() -> None:
    keys = [key(seed, word, i) for seed in range(10) for word in ("sample", "train") for i in range(100)]
    keys += [key(0), key(0, "sample"), key(0, "sample", 1, 2), key(0, "sample", 12), key(0, "sample1", 2)]
    assert len(set(keys)) == len(keys) - 1  # key(0, "sample", 12) is the one that was already there


def test_keys_are_stable() -> None:
    """Golden value (top 63 bits of blake2b of "0\\0sample\\0" + "0"): unlike hash(), the same on every machine."""
    assert key(0, "sample", 0) == 0x4745A95A85246494


def test_a_generator_starts_afresh() -> None:
    first, second = (torch.randn(10, generator=generator(3, "train", 8)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.randn(10, generator=generator(3, "train", 9)))


@pytest.mark.parametrize("split", [[8], [4, 4], [3, 3, 2], [1] * 8, [7, 1]])
def test_batches_never_change_an_image(split: list[int]) -> None:
    whole = ImageNoise(5, range(8), SHAPE)
    expected = [whole.draw() for _ in range(3)]
    found: list[list[torch.Tensor]] = [[], [], []]
    start = 0
    for size in split:
        part = ImageNoise(5, range(start, start + size), SHAPE)
        start += size
        for draw in found:
            draw.append(part.draw())
    for draws, whole_draw in zip(found, expected, strict=True):
        assert torch.equal(torch.cat(draws), whole_draw)


def test_order_of_images_does_not_matter() -> None:
    forward, backward = ImageNoise(5, [2, 7, 4], SHAPE), ImageNoise(5, [4, 7, 2], SHAPE)
    for _ in range(2):
        assert torch.equal(forward.draw(), backward.draw().flip(0))


def test_an_image_may_have_several_numbers() -> None:
    pairs, single = ImageNoise(5, [(3, 1), (3, 2), (3,)], SHAPE).draw(), ImageNoise(5, [3], SHAPE).draw()
    assert torch.equal(pairs[2], single[0])
    assert len({tuple(d.flatten().tolist()) for d in pairs}) == 3


def test_draws_images_seeds_and_purposes_are_all_different() -> None:
    noise = ImageNoise(5, range(2), SHAPE)
    draws = [*noise.draw(), *noise.draw(), ImageNoise(6, [0], SHAPE).draw()[0]]
    draws.append(ImageNoise(5, [0], SHAPE, purpose="probe").draw()[0])
    assert len({tuple(d.flatten().tolist()) for d in draws}) == len(draws)


def test_draws_are_standard_normal() -> None:
    """200,000 values: five standard errors of the mean, the variance, and the covariance of neighbours."""
    noise = ImageNoise(0, range(1000), (2, 10, 10)).draw()
    n = noise.numel()
    assert noise.dtype == torch.float32
    assert float(noise.mean()) == pytest.approx(0, abs=5 / n**0.5)
    assert float(noise.var()) == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert float((noise[:-1] * noise[1:]).mean()) == pytest.approx(0, abs=5 / n**0.5)
    assert float((noise.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=5 * 0.47 / n**0.5)


def test_draws_are_the_same_numbers_in_any_type() -> None:
    """What a network in float64 is given is what one in float32 would be."""
    single, double = (ImageNoise(5, range(3), SHAPE, dtype=dtype) for dtype in (torch.float32, torch.float64))
    for _ in range(2):
        found = double.draw()
        assert found.dtype == torch.float64
        assert torch.equal(found, single.draw().double())


# --- draws that were made elsewhere


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_given_draws_are_handed_out_as_they_are_in_their_order(kind: type) -> None:
    draws = [torch.full((2, *SHAPE), float(i), dtype=dtype) for i, dtype in enumerate((torch.float32, torch.float64))]
    noise = GivenNoise(kind(draws))
    assert all(noise.draw() is draw for draw in draws)


@pytest.mark.parametrize("count", [0, 2])
def test_no_more_is_drawn_than_was_given(count: int) -> None:
    noise = GivenNoise(torch.zeros(2, *SHAPE) for _ in range(count))
    for _ in range(count):
        noise.draw()
    for _ in range(2):
        with pytest.raises(UsageError, match="used up: a sampling of K steps draws K times, start noise first"):
            noise.draw()
