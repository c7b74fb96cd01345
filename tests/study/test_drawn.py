"""Draw and measure: the samples are those of ``generate``, whatever the batches, and all of them are measured."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.look import Look
from diffcov.diffusion.grids import even
from diffcov.engines.distances.distances import Reference, distances
from diffcov.engines.distances.features import FeatureSpace, features_of, pixels
from diffcov.engines.distances.frechet import Gaussian
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.errors import NonFiniteError, UsageError
from diffcov.solver.ddpm import DDPM
from diffcov.study.drawn import Against, Drawn, draw
from oracles.tiny import DATA, tiny_covariance, tiny_images, tiny_model

COUNT = 70
SPACE = pixels(DATA)
MODEL = tiny_model(20)
SAMPLER = Sampler(Clipped(MODEL), tiny_covariance("corrected", MODEL), DDPM(), even(20, 4), None)


def reference() -> Reference:
    features = features_of(SPACE, tiny_images(80))
    return Reference(Gaussian.of(features), features, 80)


def against(space: FeatureSpace = SPACE) -> Against:
    return Against(space, reference(), {"count": 80, "split": "train", "source": "made up", "digest": "ab" * 32})


def drawn(seed: int = 0, **settings: int) -> Drawn:
    return draw(replace(SAMPLER, seed=seed), COUNT, against(), **settings)


def all_images(seed: int = 0) -> Tensor:
    return torch.cat(list(generate(replace(SAMPLER, seed=seed), COUNT, batch_size=64)))


def test_it_keeps_the_first_and_measures_all() -> None:
    found, images = drawn(seed=3, batch_size=64), all_images(seed=3)
    assert torch.equal(found.pixels, images[:10])
    assert found.distances == distances(features_of(SPACE, images), reference())
    assert found.distances.count == COUNT
    assert found.distances != drawn(seed=4, batch_size=64).distances
    assert found.seconds > 0


@pytest.mark.parametrize(("shown", "batch_size"), [(1, 64), (10, 3), (10, 10), (25, 7), (70, 32), (200, 32)])
def test_what_is_kept_does_not_depend_on_batches(shown: int, batch_size: int) -> None:
    found = drawn(shown=shown, batch_size=batch_size)
    assert torch.equal(found.pixels, all_images()[:shown])
    assert found.distances.fid == pytest.approx(drawn(batch_size=64).distances.fid, rel=1e-5)


def test_norms_are_those_of_every_call_in_the_order_of_times() -> None:
    heard: dict[int, list[Tensor]] = {t: [] for t in SAMPLER.grid.times}

    def hear(look: Look) -> None:
        heard[look.time].append(look.predicted.double().square().flatten(1).mean(1))

    for _ in generate(SAMPLER, COUNT, batch_size=32, on_look=hear):
        pass
    expected = torch.stack([torch.cat(heard[t]).mean() for t in SAMPLER.grid.times])
    found = drawn(batch_size=32).norms
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert len(set(found.tolist())) == 4, "the times tell themselves apart"


def test_progress_ends_at_the_count() -> None:
    told: list[int] = []
    draw(SAMPLER, COUNT, against(), batch_size=32, on_batch=told.append)
    assert told[-1] == COUNT
    assert all(before <= after for before, after in itertools.pairwise(told))


def test_too_few_samples() -> None:
    with pytest.raises(UsageError, match="in 64 dimensions needs"):
        draw(SAMPLER, 63, against())


def test_features_that_are_none() -> None:
    def extract(images: Tensor) -> Tensor:
        return SPACE.extract(images) / 0 * 0

    broken = FeatureSpace("broken", "", 64, extract, SPACE.channels)
    with pytest.raises(NonFiniteError):
        draw(SAMPLER, COUNT, against(broken))


def test_without_a_feature_space_there_are_norms_alone() -> None:
    """Exposure needs no distances, so it wants no more samples than one."""
    found = draw(SAMPLER, 1, None)
    assert found.distances is None
    assert found.pixels.shape[0] == 1
    assert torch.isfinite(found.norms).all()
