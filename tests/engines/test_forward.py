"""Looks along the forward process: whose noise, how many calls, and what each meter gets to see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from diffcov.denoiser.network import MeanModel, TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import Look, look_along, measure
from diffcov.errors import NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.noise import ImageNoise
from oracles.gaussian import GaussianWorld
from oracles.tiny import DATA, tiny_images, tiny_model
from oracles.trunks import perfect_model

WORLD = GaussianWorld(NoiseSchedule.linear(1000), mean=0.1, var=0.25)
TIMES = (1, 300, 1000)
CLOSE = 1e-5


class EchoTrunk(nn.Module):
    """Predicts x_t itself, so that a look shows what the network saw."""

    feature_channels, embedding_width = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        return x, Features(x, times[:, None])


ECHO = MeanModel(EchoTrunk(), WORLD.schedule, DATA, TimeConvention(0.0, 1.0)).freeze()


class Collector:
    """A meter that keeps its looks."""

    def __init__(self, *times: int) -> None:
        self.times = times
        self.looks: list[Look] = []
        self.inference: list[bool] = []

    def add(self, look: Look) -> None:
        self.looks.append(look)
        self.inference.append(torch.is_inference_mode_enabled())


def noise(look: Look) -> Tensor:
    """eps, solved from what the network saw."""
    abar = WORLD.schedule.alpha_bar[look.t]
    return (look.prediction.eps_hat.double() - abar.sqrt() * look.x_0) / (1 - abar).sqrt()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_noise_of_an_image_is_its_own(batch_size: int) -> None:
    images = tiny_images(5)
    for look in look_along(ECHO, images, (300, 1000), seed=4, batch_size=batch_size):
        for row, i in enumerate(range(look.rows.start, look.rows.stop)):
            expected = ImageNoise(4, [(i, look.t)], DATA.shape, purpose="forward").draw()[0]
            torch.testing.assert_close(noise(look)[row], expected.double(), rtol=0, atol=CLOSE)


def test_other_images_times_seeds_and_uses_have_other_noise() -> None:
    same = tiny_images(1).expand(2, *DATA.shape)
    drawn = [row for seed in (0, 1) for look in look_along(ECHO, same, (300, 301), seed=seed) for row in noise(look)]
    drawn += list(ImageNoise(0, range(2), DATA.shape).draw().double())
    assert len(drawn) == 10
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert float((one - other).abs().max()) > 0.1


def test_the_noise_is_standard_normal() -> None:
    looks = look_along(ECHO, tiny_images(64), (200, 600), batch_size=64)
    drawn = torch.stack([noise(look) for look in looks])
    n = drawn.numel()
    assert abs(float(drawn.mean())) < 4 / math.sqrt(n)
    assert float(drawn.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / n))


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_looks_cover_every_image_at_every_time_once(batch_size: int) -> None:
    images = tiny_images(7)
    seen = {}
    for look in look_along(ECHO, images, TIMES, batch_size=batch_size):
        assert look.x_0.dtype == look.x0_hat.dtype == torch.float64
        assert torch.equal(look.x_0, DATA.encode(images[look.rows]).double())
        assert torch.equal(look.error, look.x_0 - look.x0_hat)
        seen |= {(i, look.t): None for i in range(look.rows.start, look.rows.stop)}
    assert seen.keys() == {(i, t) for i in range(7) for t in TIMES}


@pytest.mark.parametrize("batch_size", [1, 3, 4, 8, 100])
def test_times_and_images_that_share_a_call_keep_what_is_theirs(batch_size: int) -> None:
    model, images, times = tiny_model(20), tiny_images(3), (2, 9, 20)
    one_by_one = {}
    for t in times:
        for i in range(3):
            (saw,) = [look for look in look_along(model, images, [t], batch_size=1) if look.rows.start == i]
            one_by_one[i, t] = saw
    for look in look_along(model, images, times, batch_size=batch_size):
        for row, i in enumerate(range(look.rows.start, look.rows.stop)):
            alone = one_by_one[i, look.t]
            for mine, own in (
                (look.x0_hat, alone.x0_hat),
                (look.prediction.eps_hat, alone.prediction.eps_hat),
                (look.prediction.features.activations, alone.prediction.features.activations),
                (look.prediction.features.embedding, alone.prediction.features.embedding),
            ):
                torch.testing.assert_close(mine[row], own[0], rtol=1e-4, atol=1e-4)


def test_x0_hat_is_the_models_mean_clipped_if_asked_for() -> None:
    model, images = perfect_model(WORLD, DATA).freeze(), tiny_images(4)
    clipped, unclipped = (list(look_along(model, images, TIMES, clip_x0=clip)) for clip in (True, False))
    echo = list(look_along(ECHO, images, TIMES))
    for saw, look, held in zip(echo, unclipped, clipped, strict=True):
        abar = WORLD.schedule.alpha_bar[look.t]
        x_t = saw.prediction.eps_hat.double()
        slope = abar.sqrt() * WORLD.var / (abar * WORLD.var + 1 - abar)
        expected = WORLD.mean + slope * (x_t - abar.sqrt() * WORLD.mean)
        tolerance = CLOSE / float(abar.sqrt())  # float32 eps_hat, divided by sqrt(abar)
        torch.testing.assert_close(look.x0_hat, expected, rtol=0, atol=tolerance)
        assert torch.equal(held.x0_hat, look.x0_hat.clamp(-1, 1))
    assert any(float(look.x0_hat.abs().max()) > 1 for look in unclipped), "the clip was put to the test"


def test_each_time_of_each_image_is_paid_once_however_many_meters_want_it() -> None:
    model, images = tiny_model(20), tiny_images(5)
    meters, told = [Collector(3, 7), Collector(7, 20), Collector(7)], list[int]()
    measure(model, images, meters, batch_size=2, on_look=told.append)
    assert sum(model.trunk.batches) == 15, "each image at each wanted time once"
    assert max(model.trunk.batches) <= 2
    assert [(look.t, look.rows.start) for look in meters[0].looks] == [(3, 0), (7, 0), (3, 2), (7, 2), (3, 4), (7, 4)]
    assert {look.t for look in meters[1].looks} == {7, 20}
    assert [look.rows.start for look in meters[2].looks] == [0, 2, 4]
    assert told == [2, 4, 6, 8, 10, 12, 13, 14, 15]
    assert all(flag for meter in meters for flag in meter.inference)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batches_below_one_are_refused(batch_size: int) -> None:
    with pytest.raises(UsageError, match="--batch-size must be at least 1, found"):
        measure(ECHO, tiny_images(2), [Collector(1)], batch_size=batch_size)


@pytest.mark.parametrize("clip_x0", [True, False])
def test_a_broken_mean_is_noticed(clip_x0: bool) -> None:
    broken = perfect_model(WORLD, DATA, bias=math.inf).freeze()
    with pytest.raises(NonFiniteError, match="the network predicts NaN or infinite noise"):
        measure(broken, tiny_images(2), [Collector(300)], clip_x0=clip_x0)
