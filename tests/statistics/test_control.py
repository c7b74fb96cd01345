"""Control variates: known means are true, the scatter falls, and the mean stays what it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised, noised_look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.control import LinearDenoiser, control_sums, controlled
from diffcov.statistics.moments import Moments
from oracles.gaussian import GaussianWorld
from oracles.trunks import perfect_model

DATA = DataDescription(1, 3, 4, levels=256, low=-3.0, high=3.0)
SCHEDULE = NoiseSchedule.linear(50)
IMAGES = DATA.decode(0.2 + 0.5 * torch.randn(40, *DATA.shape, generator=torch.Generator().manual_seed(7)))


def noised(t: int, count: int) -> Noised:
    """Each image equally often, with noise of its own."""
    x_0 = DATA.encode(IMAGES, torch.float64).repeat(count // len(IMAGES), 1, 1, 1)
    eps = torch.randn(x_0.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(t))
    model = perfect_model(GaussianWorld(SCHEDULE, mean=0.2, var=0.25), DATA)
    look = noised_look(model, x_0, torch.full((len(x_0),), t), eps, None).rows(slice(None), t)
    return Noised(SCHEDULE, x_0, eps, look)


@pytest.mark.parametrize("t", [1, 20, 50])
def test_the_means_of_the_controls_are_known(t: int) -> None:
    linear = LinearDenoiser.of([IMAGES], DATA, cosine(*DATA.shape), flip=False)
    for control in linear.squares(noised(t, 20_000)):
        stderr = control.std(0) / 20_000**0.5
        assert float((control.mean(0) / stderr.clamp(min=1e-12)).abs().max()) < 4.5


@pytest.mark.parametrize("t", [1, 20, 50])
def test_the_controls_are_of_the_linear_denoiser_s_own_error(t: int) -> None:
    """Its x_0_hat is mu + lambda / (lambda + r) (x_t / sqrt(abar) - mu) in cosines, image by image: signs matter."""
    basis, some = cosine(*DATA.shape), noised(t, 40)
    linear = LinearDenoiser.of([IMAGES], DATA, basis, flip=False)
    abar = float(SCHEDULE.alpha_bar[t])
    r = (1 - abar) / abar
    x_t = abar**0.5 * some.x_0 + (1 - abar) ** 0.5 * some.eps
    seen, eps = basis.forward(x_t) / abar**0.5, basis.forward(some.eps)
    x0_hat = linear.mean + linear.var / (linear.var + r) * (seen - linear.mean)
    eps_hat = (seen - x0_hat) / r**0.5
    squares, beyond, _ = linear.squares(some)
    torch.testing.assert_close(squares - squares.mean(0), centred((eps - eps_hat).square()), rtol=1e-6, atol=1e-9)
    expected = centred(eps_hat.square() - eps.square())
    torch.testing.assert_close(beyond - beyond.mean(0), expected, rtol=1e-6, atol=1e-9)


def centred(values: Tensor) -> Tensor:
    return values - values.mean(0)


def test_mirrored_images_are_among_them() -> None:
    both = LinearDenoiser.of([IMAGES, IMAGES.flip(-1)], DATA, cosine(*DATA.shape), flip=False)
    found = LinearDenoiser.of([IMAGES], DATA, cosine(*DATA.shape), flip=True)
    torch.testing.assert_close(found.mean, both.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.var, both.var, rtol=0, atol=1e-12)


def correlated(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(control with mean 0, value with mean 3) at 6 places, which share nine tenths of their variance."""
    draw = torch.Generator().manual_seed(seed)
    z, rest = torch.randn(2, count, 6, dtype=torch.float64, generator=draw)
    return z, 3 + 0.3 * (0.9**0.5 * z + 0.1**0.5 * rest)


def moments_of(z: Tensor, y: Tensor) -> tuple[Moments, Moments]:
    """(plain, controlled)."""
    count = torch.full((6,), float(len(z)), dtype=torch.float64)
    plain = Moments(count, y.sum(0), y.square().sum(0))
    return plain, controlled(plain, control_sums(z[..., None], y[..., None]))


def test_what_the_control_explains_is_gone_and_the_mean_is_not_moved() -> None:
    plain, less = moments_of(*correlated(400, 0))
    ratio = (less.stderr() / plain.stderr()).square()
    torch.testing.assert_close(ratio, torch.full((6,), 0.1, dtype=torch.float64), rtol=0.3, atol=0)
    means = torch.stack([moments_of(*correlated(400, seed))[1].mean() for seed in range(100)])
    assert float((means.mean() - 3).abs()) < 4 * 0.3 * (0.1 / 400 / 600) ** 0.5
    stated = float(less.stderr().mean())
    assert float(means.std(0).mean()) == pytest.approx(stated, rel=0.2)


@pytest.mark.parametrize(
    ("count", "explained", "controls"),
    [(32, 0.9, 1), (32, 0.99, 1), (32, 0.99, 3), (8, 0.9, 3), (2, 0.9, 1), (2, 0.5, 3)],
)
def test_what_is_stated_of_few_images_is_how_far_they_scatter(count: int, explained: float, controls: int) -> None:
    """Also where beta is made of the same images that it is used on, and of more controls than explain anything."""
    draw = torch.Generator().manual_seed(0)
    places = torch.full((6,), float(count), dtype=torch.float64)
    found = []
    for _ in range(1000):
        z = torch.randn(count, 6, controls, dtype=torch.float64, generator=draw)
        rest = torch.randn(count, 6, dtype=torch.float64, generator=draw)
        y = 3 + 0.3 * (explained**0.5 * z[..., 0] + (1 - explained) ** 0.5 * rest)
        plain = Moments(places, y.sum(0), y.square().sum(0))
        found.append(controlled(plain, control_sums(z, y[..., None])))
    true = torch.stack([one.mean() for one in found]).var(0).mean()
    stated = torch.stack([one.stderr() for one in found]).square().mean()
    assert 0.8 < float(stated / true) < 1.25
    assert float(true) < 2 * (1 if count == 2 and controls == 3 else 1 - explained) * 0.09 / count


@pytest.mark.parametrize(("controls", "taken"), [(1, [True] * 6), (2, [False, False, True, True, False, False])])
def test_a_control_is_taken_with_more_than_two_degrees_of_freedom_each(controls: int, taken: list[bool]) -> None:
    """Two images have one at a place, and a place has two neighbours on either side: 3 4 5 5 4 3 together."""
    draw = torch.Generator().manual_seed(2)
    z = torch.randn(2, 6, controls, dtype=torch.float64, generator=draw)
    y = 3 + torch.rand(2, 6, dtype=torch.float64, generator=draw)
    plain = Moments(torch.full((6,), 2.0, dtype=torch.float64), y.sum(0), y.square().sum(0))
    less = controlled(plain, control_sums(z, y[..., None]))
    assert (less.total != plain.total).tolist() == taken


def test_something_is_left_of_a_mean_of_squares_whatever_the_control_says() -> None:
    """A control far off its mean by chance must not make a variance negative: curves go through logarithms."""
    z = torch.full((8, 6), 50.0, dtype=torch.float64) + torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    _, less = moments_of(z, 1e-3 * z)
    assert (less.mean() > 0).all()


def test_an_eighth_is_left_at_least() -> None:
    """The control would take five times the mean."""
    draw = torch.Generator().manual_seed(1)
    z = 50 + torch.randn(100, 6, dtype=torch.float64, generator=draw)
    plain, less = moments_of(z, 1e-3 * z - 0.04)
    torch.testing.assert_close(less.mean(), plain.mean() / 8)


def test_sums_add() -> None:
    z, y = correlated(50, 1)
    whole = control_sums(z[..., None], y[..., None])
    parts = control_sums(z[:20, :, None], y[:20, :, None]) + control_sums(z[20:, :, None], y[20:, :, None])
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)
    assert whole.shape == (6, 1, 3)
