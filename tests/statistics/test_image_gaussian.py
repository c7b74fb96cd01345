"""The Gaussian of the images: what numpy says, whatever the network; sums that merge; sizes that are checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffcov.basis import cosine
from diffcov.data import DataDescription, Examples
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import estimate
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.statistics.knots import Knots
from oracles.gaussian import GaussianWorld
from oracles.measured import no_rotation
from oracles.trunks import perfect_model

DATA = DataDescription(2, 3, 4, levels=17)
WORLD = GaussianWorld(NoiseSchedule.linear(50), mean=0.1, var=0.25)
TIMES = (5, 20, 50)


def images(count: int = 7) -> Examples:
    draw = torch.Generator().manual_seed(1)
    return Examples(torch.randint(17, (count, *DATA.shape), generator=draw, dtype=torch.uint8))


def measured(samples: int, first: int = 0, flip: bool = False) -> ImageGaussian:
    found = estimate(perfect_model(WORLD, DATA), images(), [ImageGaussian], TIMES, samples, first=first, flip=flip)
    one = found[ImageGaussian]
    assert isinstance(one, ImageGaussian)
    return one


def test_a_sweep_over_every_image_measures_their_moments() -> None:
    found, x = measured(7), DATA.encode(images().images).double()
    assert found.count.tolist() == [7.0, 7.0, 7.0]
    np.testing.assert_allclose(found.mean.numpy(), x.numpy().mean(0), rtol=1e-6)
    coefficients = cosine(*DATA.shape, found.colour).forward(x)
    np.testing.assert_allclose(found.var.numpy(), coefficients.numpy().var(0), rtol=1e-5, atol=1e-9)


def test_parts_merge_by_adding() -> None:
    whole, parts = measured(7), measured(3).merge(measured(4, first=3))
    for name, value in whole.tensors().items():
        torch.testing.assert_close(parts.tensors()[name], value, rtol=1e-12, atol=0)


def test_images_are_mirrored_as_in_training() -> None:
    """In the long run the mean is symmetric where training mirrors."""
    found = measured(7 * 60, flip=True)
    assert float((found.mean - found.mean.flip(-1)).abs().max()) < 0.15
    assert float((measured(7).mean - measured(7).mean.flip(-1)).abs().max()) > 0.3


def test_one_image_has_no_variance() -> None:
    found = ImageGaussian.empty(Knots((1, 9)), DATA.shape, no_rotation(2))
    one = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(1, *DATA.shape)
    found.add(0, one)
    found.add(1, one)
    torch.testing.assert_close(found.mean, one[0])
    assert float(found.var.max()) < 1e-14
    assert float(found.var.min()) >= 0
    assert found.summary() == {"images": 1}


def test_rounding_leaves_no_negative_variance() -> None:
    """The same image many times: the difference of two nearly equal sums is kept at 0."""
    found = ImageGaussian.empty(Knots((1,)), (1, 8, 8), no_rotation(1))
    one = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found.add(0, one.expand(1000, 1, 8, 8))
    squares = found.total_sq / found.count.sum() - found.basis.forward(found.mean).square()
    assert float(squares.min()) < 0, "rounding"
    assert float(found.var.min()) == 0


def test_it_tells_the_contrast_of_the_images() -> None:
    """The root of the mean variance, which is the same of coefficients and of pixels."""
    x = DATA.encode(images().images).double()
    assert measured(7).details()["rms"] == pytest.approx(float(x.var(0, correction=0).mean().sqrt()), rel=1e-6)


def test_sizes_that_do_not_fit_are_refused() -> None:
    tensors = dict(measured(2).tensors())
    for name in ("count", "total", "total_sq"):
        with pytest.raises(ValueError, match=rf"^{name} has shape"):
            ImageGaussian.from_tensors({**tensors, name: torch.zeros(5, dtype=torch.float64)})
