"""Random numbers belong to a key: nothing about batches, order or other images changes them."""

from __future__ import annotations

import pytest
import torch

from diffcov.errors import UsageError
from diffcov.noise import STREAMS, TOGETHER, GivenNoise, ImageNoise, generator, key
from diffcov.philox import WORD, normals, philox

SHAPE = (3, 5, 7)
VERSIONS = pytest.mark.parametrize("version", STREAMS)


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


@VERSIONS
@pytest.mark.parametrize("split", [[8], [4, 4], [3, 3, 2], [1] * 8, [7, 1]])
def test_batches_never_change_an_image(split: list[int], version: int) -> None:
    whole = ImageNoise(5, range(8), SHAPE, version=version)
    expected = [whole.draw() for _ in range(3)]
    found: list[list[torch.Tensor]] = [[], [], []]
    start = 0
    for size in split:
        part = ImageNoise(5, range(start, start + size), SHAPE, version=version)
        start += size
        for draw in found:
            draw.append(part.draw())
    for draws, whole_draw in zip(found, expected, strict=True):
        assert torch.equal(torch.cat(draws), whole_draw)


@VERSIONS
def test_order_of_images_does_not_matter(version: int) -> None:
    forward, backward = (
        ImageNoise(5, [2, 7, 4], SHAPE, version=version),
        ImageNoise(5, [4, 7, 2], SHAPE, version=version),
    )
    for _ in range(2):
        assert torch.equal(forward.draw(), backward.draw().flip(0))


@VERSIONS
def test_an_image_may_have_several_numbers(version: int) -> None:
    pairs, single = (
        ImageNoise(5, [(3, 1), (3, 2), (3,)], SHAPE, version=version).draw(),
        ImageNoise(5, [3], SHAPE, version=version).draw(),
    )
    assert torch.equal(pairs[2], single[0])
    assert len({tuple(d.flatten().tolist()) for d in pairs}) == 3


@VERSIONS
def test_draws_images_seeds_and_purposes_are_all_different(version: int) -> None:
    noise = ImageNoise(5, range(2), SHAPE, version=version)
    draws = [*noise.draw(), *noise.draw(), ImageNoise(6, [0], SHAPE, version=version).draw()[0]]
    draws.append(ImageNoise(5, [0], SHAPE, purpose="probe", version=version).draw()[0])
    assert len({tuple(d.flatten().tolist()) for d in draws}) == len(draws)


@VERSIONS
def test_draws_are_standard_normal(version: int) -> None:
    """200,000 values: five standard errors of the mean, the variance, and the covariance of neighbours."""
    noise = ImageNoise(0, range(1000), (2, 10, 10), version=version).draw()
    n = noise.numel()
    assert noise.dtype == torch.float32
    assert float(noise.mean()) == pytest.approx(0, abs=5 / n**0.5)
    assert float(noise.var()) == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert float((noise[:-1] * noise[1:]).mean()) == pytest.approx(0, abs=5 / n**0.5)
    assert float((noise.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=5 * 0.47 / n**0.5)


@VERSIONS
def test_draws_are_the_same_numbers_in_any_type(version: int) -> None:
    """What a network in float64 is given is what one in float32 would be."""
    single, double = (
        ImageNoise(5, range(3), SHAPE, dtype=dtype, version=version) for dtype in (torch.float32, torch.float64)
    )
    for _ in range(2):
        found = double.draw()
        assert found.dtype == torch.float64
        assert torch.equal(found, single.draw().double())


def test_the_first_version_draws_as_it_always_did() -> None:
    """A generator an image, as version 1 is defined."""
    noise = ImageNoise(5, [7, 2], SHAPE, version=1)
    streams = [generator(5, "sample", i) for i in (7, 2)]
    for _ in range(2):
        expected = torch.stack([torch.empty(SHAPE).normal_(generator=stream) for stream in streams])
        assert torch.equal(noise.draw(), expected)


def test_the_second_version_is_philox_by_key_draw_and_image() -> None:
    """A counter's four draws lie a quarter of the image apart; what is too much at the end is dropped."""
    found = ImageNoise(5, [(9, 4), (8, 3)], SHAPE)
    found.draw()
    whole = key(5, "sample")
    places = torch.arange(-(-105 // 4))
    word = torch.tensor([1 | 1 << 31])
    expected = normals(philox((places, word, torch.tensor([8]), torch.tensor([3])), (whole & WORD, whole >> 32)))
    assert torch.equal(found.draw()[1], expected.flatten()[:105].reshape(SHAPE))


@pytest.mark.parametrize("draws", [1, 2, 3, 100])
@pytest.mark.parametrize("at_once", [1, 80, 10_000])
def test_how_many_draws_are_made_together_changes_none(
    draws: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ImageNoise(5, range(2), SHAPE)
    monkeypatch.setitem(TOGETHER, "cpu", at_once)
    found = ImageNoise(5, range(2), SHAPE, draws=draws)
    for _ in range(5):
        drawn = found.draw()
        assert drawn.is_contiguous()
        assert torch.equal(drawn, expected.draw())


def test_a_range_is_a_list_of_its_numbers() -> None:
    assert torch.equal(ImageNoise(5, range(3, 9, 2), SHAPE).draw(), ImageNoise(5, [3, 5, 7], SHAPE).draw())
    assert ImageNoise(5, [], SHAPE).draw().shape == ImageNoise(5, range(0), SHAPE).draw().shape == (0, *SHAPE)


@pytest.mark.parametrize("indices", [[-1], [2**32], range(2**32 - 1, 2**32 + 1), [(0, 2**32)]])
def test_numbers_are_words(indices: list[int] | range) -> None:
    with pytest.raises(UsageError, match=r"numbers between 0 and 4294967295, found (-1|4294967296)$"):
        ImageNoise(5, indices, SHAPE)


def test_one_number_or_two() -> None:
    with pytest.raises(UsageError, match="goes by one number or by two, found 3 of them"):
        ImageNoise(5, [(1, 2, 3)], SHAPE)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UsageError, match="--noise must be 1, 2 or 3, found 4"):
        ImageNoise(5, [1], SHAPE, version=4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@VERSIONS
def test_a_gpu_gets_the_same_draws(version: int) -> None:
    here, there = (ImageNoise(5, range(9), SHAPE, torch.device(name), version=version) for name in ("cpu", "cuda"))
    for _ in range(3):
        assert float((here.draw() - there.draw().cpu()).abs().max()) < 1e-6


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
