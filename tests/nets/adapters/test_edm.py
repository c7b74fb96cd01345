"""EDM's networks as means of ours: exact where everything is known, and no digit lost where there is little noise.

That they answer what NVIDIA's code answers is shown in ``tests/store/foreign/test_edm.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.adapters.edm import build
from diffcov.nets.adapters.edm_preconditioning import PRECONDITIONINGS
from oracles.foreign import scattered

DATA = DataDescription(1, 8, 8)
TINY = {
    "img_resolution": 8, "in_channels": 1, "out_channels": 1, "model_channels": 8, "channel_mult": [1, 2],
    "num_blocks": 1, "attn_resolutions": [4], "channel_mult_emb": 2,
}  # fmt: skip
KINDS = ("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond")


def mean(kind: str, unet: str = "SongUNet", numbers: dict[str, float] | None = None, **config: Any) -> MeanModel:
    """A mean with random weights, at a thousand levels of its own."""
    around = PRECONDITIONINGS[kind](**(numbers or {}))
    schedule = around.schedule(1000)
    torch.manual_seed(0)
    network = build(kind, numbers or {}, unet, {**TINY, **config}, schedule.spec)
    classes = config.get("label_dim", 0)
    reading = Reading(schedule, DATA, TimeConvention(0.0, 1.0), around.predicts, classes)
    return MeanModel(scattered(network), reading).freeze()


def look(model: MeanModel, t: int, sigma_data: float = 0.5, labels: Tensor | None = None) -> Look:
    """At images of that deviation, in float64."""
    draw = torch.Generator().manual_seed(t)
    x_0, eps = (torch.randn(3, *DATA.shape, generator=draw, dtype=torch.float64) for _ in range(2))
    schedule = model.schedule
    return model.look(schedule.alpha_bar[t].sqrt() * sigma_data * x_0 + schedule.beta_bar[t].sqrt() * eps, t, labels)


@pytest.mark.parametrize("sigma_data", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_network_that_says_nothing_is_the_exact_mean_of_gaussian_data(sigma_data: float, dtype: torch.dtype) -> None:
    """F = 0 leaves c_skip x = E[x_0 | x_t] for x_0 ~ N(0, sigma_data^2 I): x0_hat and eps_hat at every noise level."""
    model = mean("EDMPrecond", numbers={"sigma_data": sigma_data}).to(dtype)
    for parameter in model.network.model.dec["8x8_aux_conv"].parameters():
        parameter.zero_()
    schedule, rounding = model.schedule, 4e-7 if dtype == torch.float32 else 1e-13
    for t in (1, 2, 10, 100, 400, 700, 999, 1000):
        found = look(model, t, sigma_data)
        alpha_bar, beta_bar = schedule.alpha_bar[t], schedule.beta_bar[t]
        gain = found.x_t / (alpha_bar * sigma_data**2 + beta_bar)
        for answer, exact in (
            (found.x0_hat, alpha_bar.sqrt() * sigma_data**2 * gain),
            (found.eps_hat, beta_bar.sqrt() * gain),
        ):
            # rounding of x_t and of v is absolute, and enters both with a factor of at most 1
            torch.testing.assert_close(answer, exact, rtol=0, atol=rounding * (1 + float(found.x_t.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
def test_float32_loses_nothing_at_any_noise_level(kind: str) -> None:
    """eps_hat of a network in float32 and in float64, down to sigma = 0.002, and x0_hat up to 80: what the network
    itself rounds, and no more."""
    single, double = mean(kind), mean(kind).to(torch.float64)
    for t in (1, 3, 30, 300, 1000):
        a, b = look(single, t), look(double, t)
        sigma = float(single.schedule.ratio[t].sqrt())
        assert float((a.eps_hat - b.eps_hat).abs().max()) < 5e-6
        assert float((a.x0_hat - b.x0_hat).abs().max()) < 5e-6 * max(1.0, sigma if kind != "EDMPrecond" else 1.0)


def test_a_way_round_through_the_image_would_lose_digits() -> None:
    """What (x - D) / sigma keeps of the noise in float32 at sigma = 0.002: 46 times less, with these weights."""
    single, double = mean("EDMPrecond"), mean("EDMPrecond").to(torch.float64)
    exact, found = look(double, 1), look(single, 1)
    sigma = float(single.schedule.ratio[1].sqrt())
    x = (found.x_t / single.schedule.alpha_bar[1].sqrt()).float()
    round_about = (x - found.x0_hat.float()) / sigma
    straight = float((found.eps_hat - exact.eps_hat).abs().max())
    assert float((round_about - exact.eps_hat).abs().max()) > 20 * straight


@pytest.mark.parametrize("kind", KINDS)
def test_one_time_an_image(kind: str) -> None:
    model, times = mean(kind), torch.tensor([1, 500, 1000])
    x = torch.randn(3, *DATA.shape)
    together = model.look(x, times).eps_hat
    alone = [model.look(x[i : i + 1], int(t)).eps_hat for i, t in enumerate(times)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unet", ["SongUNet", "DhariwalUNet"])
def test_an_image_without_a_label_is_told_zeros(unet: str) -> None:
    """As theirs are told where no class is given; a class is a row of the weights, times their root for Song's."""
    model = mean("EDMPrecond", unet, label_dim=3)
    rows = model.network.model.map_label.weight
    none, zero = (
        look(model, 500, labels=torch.tensor([-1, -1, -1])).x0_hat,
        look(model, 500, labels=torch.zeros(3).long()),
    )
    assert float((none - zero.x0_hat).abs().max()) > 1e-4
    rows[:, 0] = 0
    model.freeze()
    assert torch.equal(look(model, 500, labels=torch.zeros(3).long()).x0_hat, none)


@pytest.mark.parametrize("unet", ["SongUNet", "DhariwalUNet"])
def test_heads_read_what_the_last_norm_sees(unet: str) -> None:
    model = mean("EDMPrecond", unet)
    features = look(model, 500).features
    assert features.activations.shape == (3, model.feature_channels, 8, 8)
    assert features.embedding.shape == (3, model.embedding_width)
    assert not model.plain_features


def test_levels_are_kept_in_float64_whatever_the_network_is_in() -> None:
    model = mean("EDMPrecond")
    before = look(model.to(torch.float64), 7).eps_hat
    model.to(torch.float32).to(torch.float64)
    torch.testing.assert_close(look(model, 7).eps_hat, before, rtol=0, atol=1e-13)


def test_the_schedule_s_levels_are_those_of_the_network() -> None:
    schedule = NoiseSchedule.edm(1000)
    sigma = schedule.ratio[1:].sqrt()
    torch.testing.assert_close(schedule.alpha_bar[1:], 1 / (1 + sigma**2), rtol=1e-13, atol=0)
    vp = PRECONDITIONINGS["VPPrecond"]()
    told = vp.noise(vp.schedule(1000).ratio[1:].sqrt())
    torch.testing.assert_close(told, 0.999 * torch.arange(1, 1001).double(), rtol=1e-11, atol=0)


def test_a_learned_variance_is_handed_on_as_the_network_says_it() -> None:
    """An iDDPM network has twice the channels, and the second half is scaled by nothing."""
    schedule = NoiseSchedule.cosine(1000)
    torch.manual_seed(0)
    network = scattered(build("iDDPMPrecond", {}, "DhariwalUNet", {**TINY, "out_channels": 2}, schedule.spec)).eval()
    x, times = torch.randn(2, *DATA.shape), torch.tensor([3, 700])
    said, _ = network(x, times)
    itself, _ = network.model(x, torch.tensor([2.0, 699.0], dtype=torch.float64))
    torch.testing.assert_close(said, itself, rtol=1e-6, atol=1e-6)
    assert said.shape == (2, 2, 8, 8)
    assert not torch.allclose(said[:, 1], said[:, 0], atol=1e-3)


def test_levels_near_its_own_are_not_its_own() -> None:
    """An iDDPM network is told places in its chain, and a chain that is off by 1e-3 has others."""
    own, near = NoiseSchedule.cosine(1000), NoiseSchedule.cosine(1000, 0.00801)
    around = PRECONDITIONINGS["iDDPMPrecond"]()
    assert torch.equal(around.noise(own.ratio[1:].sqrt()), torch.arange(1000).double())
    assert torch.allclose(own.ratio[1:], near.ratio[1:], rtol=5e-3)
    with pytest.raises(InputError, match="knows the noise levels of its own schedule alone; leave out --schedule"):
        around.noise(near.ratio[1:].sqrt())


@pytest.mark.parametrize(
    "changes",
    [{"unet": "UNet"}, {"preconditioning": "Precond"}, {"numbers": {"beta": 1}}, {"config": {**TINY, "width": 3}}],
    ids=lambda value: next(iter(value)),
)
def test_what_no_such_network_is_made_of_is_refused(changes: dict[str, Any]) -> None:
    known = {"preconditioning": "EDMPrecond", "numbers": {}, "unet": "SongUNet", "config": TINY}
    with pytest.raises(InputError, match="no network of EDM is made of this: "):
        build(**{**known, **changes}, schedule=NoiseSchedule.edm(10).spec)
