"""Looks along the forward process: whose noise, how many calls, and what each meter gets to see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import look_along, measure
from diffcov.errors import NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.noise import MEASURING, ImageNoise
from oracles.gaussian import GaussianWorld
from oracles.tiny import DATA, tiny_examples, tiny_images, tiny_model
from oracles.trunks import OUR_TIMES, perfect_model

WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.1, var=0.25)
TIMES = (1, 300, 1000)
CLOSE = 1e-5


class Echo(nn.Module):
    """Predicts x_t itself, so that a look shows what the network saw."""

    feature_channels, embedding_width = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        return x, Features(x, times[:, None])


ECHO = MeanModel(Echo(), Reading(WORLD.schedule, DATA, OUR_TIMES)).freeze()


class Collector:
    """A meter that keeps what it was shown."""

    def __init__(self, *times: int) -> None:
        self.times = times
        self.shown: list[Noised] = []
        self.inference: list[bool] = []

    def add(self, noised: Noised) -> None:
        self.shown.append(noised)
        self.inference.append(torch.is_inference_mode_enabled())


def noise(noised: Noised) -> Tensor:
    """eps, solved from what the network saw."""
    abar = WORLD.schedule.alpha_bar[noised.look.time]
    return (noised.look.eps_hat - abar.sqrt() * noised.x_0) / (1 - abar).sqrt()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_noise_of_an_image_is_its_own(batch_size: int) -> None:
    for noised in look_along(ECHO, tiny_examples(5), (300, 1000), seed=4, batch_size=batch_size):
        for row, i in enumerate(range(noised.rows.start, noised.rows.stop)):
            own = ImageNoise(4, [(i, noised.look.time)], DATA.shape, purpose="forward", version=MEASURING)
            expected = own.draw()[0]
            torch.testing.assert_close(noise(noised)[row], expected.double(), rtol=0, atol=CLOSE)
            assert torch.equal(noised.eps[row], expected.double())


def test_other_images_times_seeds_and_uses_have_other_noise() -> None:
    same = Examples(tiny_images(1).expand(2, *DATA.shape))
    drawn = [row for seed in (0, 1) for saw in look_along(ECHO, same, (300, 301), seed=seed) for row in noise(saw)]
    drawn += list(ImageNoise(0, range(2), DATA.shape).draw().double())
    assert len(drawn) == 10
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert float((one - other).abs().max()) > 0.1


def test_the_noise_is_standard_normal() -> None:
    shown = look_along(ECHO, tiny_examples(64), (200, 600), batch_size=64)
    drawn = torch.stack([noise(noised) for noised in shown])
    n = drawn.numel()
    assert abs(float(drawn.mean())) < 4 / math.sqrt(n)
    assert float(drawn.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / n))


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_looks_cover_every_image_at_every_time_once(batch_size: int) -> None:
    images = tiny_images(7)
    seen: list[tuple[int, int]] = []
    for noised in look_along(ECHO, Examples(images), TIMES, batch_size=batch_size):
        look = noised.look
        assert noised.x_0.dtype == noised.eps.dtype == look.x_t.dtype == look.x0_hat.dtype == torch.float64
        assert torch.equal(noised.x_0, DATA.encode(images[noised.rows]).double())
        assert torch.equal(noised.error, noised.x_0 - look.x0_hat)
        seen += [(i, look.time) for i in range(noised.rows.start, noised.rows.stop)]
    assert sorted(seen) == [(i, t) for i in range(7) for t in TIMES]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 8, 100])
def test_times_and_images_that_share_a_call_keep_what_is_theirs(batch_size: int) -> None:
    model, examples, times = tiny_model(20), tiny_examples(3), (2, 9, 20)
    one_by_one = {}
    for t in times:
        for i in range(3):
            (saw,) = [saw for saw in look_along(model, examples, [t], batch_size=1) if saw.rows.start == i]
            one_by_one[i, t] = saw.look
    for noised in look_along(model, examples, times, batch_size=batch_size):
        look = noised.look
        for row, i in enumerate(range(noised.rows.start, noised.rows.stop)):
            alone = one_by_one[i, look.time]
            for mine, own in (
                (look.x_t, alone.x_t),
                (look.x0_hat, alone.x0_hat),
                (look.eps_hat, alone.eps_hat),
                (look.predicted, alone.predicted),
                (look.features.activations, alone.features.activations),
                (look.features.embedding, alone.features.embedding),
            ):
                torch.testing.assert_close(mine[row], own[0], rtol=1e-4, atol=1e-4)


def test_x0_hat_is_that_of_the_view_that_is_looked_through() -> None:
    model, examples = perfect_model(WORLD, DATA).freeze(), tiny_examples(4)
    clipped, unclipped = (
        [noised.look for noised in look_along(through(model, View(clip_x0=clip)), examples, TIMES)]
        for clip in (True, False)
    )
    echo = [noised.look for noised in look_along(ECHO, examples, TIMES)]
    for saw, look, held in zip(echo, unclipped, clipped, strict=True):
        abar = WORLD.schedule.alpha_bar[look.time]
        x_t = saw.eps_hat
        assert torch.equal(look.x_t, x_t)
        slope = abar.sqrt() * WORLD.var / (abar * WORLD.var + 1 - abar)
        expected = WORLD.mean + slope * (x_t - abar.sqrt() * WORLD.mean)
        tolerance = CLOSE / float(abar.sqrt())  # float32 eps_hat, divided by sqrt(abar)
        torch.testing.assert_close(look.x0_hat, expected, rtol=0, atol=tolerance)
        assert torch.equal(held.x0_hat, look.x0_hat.clamp(-1, 1))
        assert torch.equal(held.eps_hat, look.eps_hat)
    assert any(float(look.x0_hat.abs().max()) > 1 for look in unclipped), "the clip was put to the test"


def test_each_time_of_each_image_is_paid_once_however_many_meters_want_it() -> None:
    model = tiny_model(20)
    meters, told = [Collector(3, 7), Collector(7, 20), Collector(7)], list[int]()
    measure(model, tiny_examples(5), meters, batch_size=2, on_look=told.append)
    assert sum(model.network.batches) == 15, "each image at each wanted time once"
    assert max(model.network.batches) <= 2
    shown = [[(noised.look.time, noised.rows.start) for noised in meter.shown] for meter in meters]
    assert shown[0] == [(3, 0), (7, 0), (3, 2), (7, 2), (3, 4), (7, 4)]
    assert {t for t, _ in shown[1]} == {7, 20}
    assert [start for _, start in shown[2]] == [0, 2, 4]
    assert told == [2, 4, 6, 8, 10, 12, 13, 14, 15]
    assert all(flag for meter in meters for flag in meter.inference)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batches_below_one_are_refused(batch_size: int) -> None:
    with pytest.raises(UsageError, match="--batch-size must be at least 1, found"):
        measure(ECHO, tiny_examples(2), [Collector(1)], batch_size=batch_size)


@pytest.mark.parametrize("clip_x0", [True, False])
def test_a_broken_mean_is_noticed(clip_x0: bool) -> None:
    broken = through(perfect_model(WORLD, DATA, bias=math.inf).freeze(), View(clip_x0=clip_x0))
    with pytest.raises(NonFiniteError, match="the network predicts NaN or infinite noise"):
        measure(broken, tiny_examples(2), [Collector(300)])
