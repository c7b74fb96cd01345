"""The variance heads: their size, where they start, how they move from there, and what they are then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.losses import LOSSES
from diffcov.nets.features import Features
from diffcov.nets.variance_head import LINKS, NETWORKS, ComplexNet, Head, HeadSpec, StemNet, parameter_count
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.table import VarianceTable
from oracles.measured import told_look, told_spectrum

FLOAT32 = 1e-6
"""A few float32 operations on numbers near 1."""
ONE_ROUNDING = 2.0**-23
"""Relative: a float64 number that became float32, times a float64 factor that did."""

WIDTH, EMBEDDING, CHANNELS = 64, 16, 3
SHAPE = (CHANNELS, 6, 10)
DATA = DataDescription(*SHAPE)
SCHEDULE = NoiseSchedule.cosine(100)
SPEC = HeadSpec("npr", "simple", "identity", 8.0, WIDTH, EMBEDDING, SHAPE, SCHEDULE.T)
LEARNED = ("simple", "complex", "stem")
"""Networks that say something of each pixel."""
TIMES = torch.tensor([1, 40])
REACH = 8.0


def features(seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(2, WIDTH, *SHAPE[1:], generator=generator)
    return Features(activations, torch.randn(2, EMBEDDING, generator=generator))


def look(t: int) -> Look:
    eps_hat = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    return told_look(SCHEDULE, torch.zeros(2, *SHAPE), t, eps_hat, features())


def known(*parts: object) -> Ingredients:
    return Ingredients.of(SCHEDULE, DATA, *parts)


def var_x0(covariance: Covariance, t: int) -> Tensor:
    """Before the clip."""
    return covariance.unbounded(look(t)).var


def network(name: str, channels: int = CHANNELS) -> nn.Module:
    return NETWORKS[name](WIDTH, EMBEDDING, (channels, *SHAPE[1:]))


def with_last_layer(head: nn.Module) -> nn.Module:
    """The head with random weights throughout."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return head


def ramp() -> Tensor:
    """A start that differs from time to time, (T+1,) float64 > 0; index 0 would be seen."""
    start = torch.linspace(0.9, 0.01, SCHEDULE.T + 1, dtype=torch.float64)
    start[0] = torch.nan
    return start


@pytest.mark.parametrize(("name", "count"), [("simple", 3_715), ("complex", 430_723)])
def test_published_sizes(name: str, count: int) -> None:
    """On a trunk of width 128 with its embedding of 512, for colour images."""
    assert parameter_count(NETWORKS[name](128, 512, (3, 32, 32))) == count
    spec = HeadSpec("npr", name, "log", 8.0, 128, 512, (3, 32, 32), 1000)
    assert parameter_count(spec.build()) == count, "a start and a link are no parameters"


@pytest.mark.parametrize("name", NETWORKS)
def test_an_unfitted_network_is_zero(name: str) -> None:
    assert torch.equal(network(name)(features()), torch.zeros(2, *SHAPE))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_unfitted_head_is_its_start_at_each_image_s_own_time(name: str, link: str) -> None:
    """Exactly, in float32, for times of a batch that differ."""
    head = replace(SPEC, network=name, link=link).build(ramp())
    out = head(features(), TIMES)
    assert out.dtype == torch.float32
    expected = ramp().float()[TIMES][:, None, None, None].expand_as(out)
    assert torch.equal(out, expected)
    assert not torch.equal(out[0], out[1])


def test_a_head_built_for_loading_starts_at_nothing() -> None:
    """Its start comes with the weights; it has the shape of the times."""
    head = SPEC.build()
    assert torch.equal(head.start, torch.zeros(SCHEDULE.T + 1))
    head.load_state_dict(SPEC.build(ramp()).state_dict())
    assert torch.equal(head.start[1:], ramp().float()[1:])


# --- an unfitted head of each covariance


def table(measured: tuple[int, ...]) -> VarianceTable:
    """Errors that fall with t, at some times only; two images each."""
    found = VarianceTable.empty(SCHEDULE.T)
    for t in measured:
        found.count[t] = 2
        found.error_sq[t] = 2 * (0.9 / t + 1e-4 * t)
        found.eps_hat_sq[t] = 2 * 0.5
    return found


def unfitted(kind: str, loss: str, name: str, statistics: Ingredients) -> HeadCovariance:
    """The covariance with a head as ``fit-var-head`` begins it."""
    of = registry.load(kind)
    assert issubclass(of, HeadCovariance)
    start = torch.full((SCHEDULE.T + 1,), of.published_start)
    if LOSSES[loss].from_start:
        start = of.start(SCHEDULE, statistics)
    head = replace(SPEC, kind=kind, network=name, link=LOSSES[loss].link).build(start)
    return of(known(*statistics.parts.values(), FittedHead(head)))


@pytest.mark.parametrize("solver", [DDPM(), DDIM(), DDIM(0.5)], ids=str)
@pytest.mark.parametrize("kind", ["npr", "sn"])
@pytest.mark.parametrize("name", LEARNED)
def test_an_unfitted_published_covariance_is_small(name: str, kind: str, solver: Solver) -> None:
    covariance = unfitted(kind, "squared", name, known())
    for s, t in [(0, 1), (49, 50), (10, 90), (99, 100)]:
        step = solver.step(SCHEDULE, s, t)
        small = registry.load("small")(known()).at(look(t)).lifted(step).var
        found = covariance.at(look(t)).lifted(step).var
        assert torch.equal(found, small.to(found.dtype).expand_as(found))


@pytest.mark.parametrize("name", LEARNED)
def test_an_unfitted_published_ocm_says_that_nothing_is_known(name: str) -> None:
    """A head of zero on the Hessian's diagonal: var_x0 = r before the clip."""
    covariance = unfitted("ocm", "squared", name, known())
    for t in (1, 50, 100):
        found = var_x0(covariance, t)
        assert torch.equal(found, torch.full_like(found, float(SCHEDULE.ratio[t])))


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("kind", ["npr", "ocm"])
@pytest.mark.parametrize("measured", [(1, 2, 50, 99, 100), (100,), tuple(range(1, 101))], ids=["some", "one", "all"])
def test_an_unfitted_covariance_is_corrected_at_every_measured_time(
    name: str, kind: str, measured: tuple[int, ...]
) -> None:
    statistics = known(table(measured))
    covariance, corrected = unfitted(kind, "likelihood", name, statistics), registry.load("corrected")(statistics)
    for t in measured:
        found = var_x0(covariance, t)
        expected = var_x0(corrected, t).expand(found.shape)
        torch.testing.assert_close(found.double(), expected, rtol=2 * ONE_ROUNDING, atol=0.0)


@pytest.mark.parametrize("kind", ["npr", "ocm"])
def test_between_measured_times_it_is_interpolated(kind: str) -> None:
    """Straight between the logarithms over log-SNR, constant beyond the ends; by numpy."""
    measured = (5, 20, 21, 90)
    told = table(measured)
    covariance = unfitted(kind, "likelihood", "simple", known(told))
    snr = -(SCHEDULE.alpha_bar / SCHEDULE.beta_bar).log().numpy()
    error = [float(told.error_moments.mean()[t]) for t in measured]
    for t in (1, 4, 5, 6, 13, 19, 20, 21, 22, 60, 89, 90, 91, 100):
        expected = float(SCHEDULE.ratio[t]) * np.exp(np.interp(snr[t], snr[list(measured)], np.log(error)))
        found = var_x0(covariance, t).double()
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=2e-6, atol=0.0)


@pytest.mark.parametrize("name", LEARNED)
def test_an_unfitted_sn_says_that_eps_has_variance_one(name: str) -> None:
    """E[eps^2] = 1 over all x_t; it needs no table."""
    covariance = unfitted("sn", "likelihood", name, known())
    for t in (1, 50, 100):
        expected = float(SCHEDULE.ratio[t]) * (1 - look(t).eps_hat.square())
        torch.testing.assert_close(var_x0(covariance, t), expected, rtol=FLOAT32, atol=0.0)


def test_an_unfitted_banded_covariance_is_spectral_to_the_bit() -> None:
    """At knots and between them, before and after the clip and the lift."""
    draw = torch.Generator().manual_seed(2)
    levels = {t: torch.rand(SHAPE, generator=draw, dtype=torch.float64) * 0.9 for t in (1, 30, 70, 100)}
    statistics = known(told_spectrum(list(levels), levels.__getitem__, SHAPE))
    covariance, spectral = unfitted("banded", "likelihood", "bands", statistics), registry.load("spectral")(statistics)
    for t in (1, 2, 30, 64, 100):
        found, expected = (c.unbounded(look(t)) for c in (covariance, spectral))
        assert found.var.shape == (2, *SHAPE)
        assert torch.equal(found.var, expected.var.expand_as(found.var))
        assert found.basis == expected.basis
        found, expected = (c.at(look(t)).lifted(DDPM().step(SCHEDULE, 0, t)) for c in (covariance, spectral))
        assert torch.equal(found.var, expected.var.expand_as(found.var))
        assert found.basis == expected.basis


# --- links


class Says(nn.Module):
    """A network that says the same everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, features: Features) -> Tensor:
        return self.value.expand(2, *SHAPE)


def test_identity_adds() -> None:
    """Published: the start plus what the network says, of either sign."""
    head = Head(Says(-0.75), LINKS["identity"], REACH, ramp())
    expected = ramp().float()[TIMES] - 0.75
    assert torch.equal(head(features(), TIMES)[:, 0, 0, 0], expected)
    assert float(expected.min()) < 0


@pytest.mark.parametrize("reach", [8.0, 3.0])
@pytest.mark.parametrize("says", [-1e30, -20.0, -1.0, 0.5, 3.0, 1e30])
def test_log_is_a_bounded_factor(says: float, reach: float) -> None:
    """start exp(c tanh(out / c)): positive and at most e^c from the start, whatever a single target does."""
    found = Head(Says(says), LINKS["log"], reach, ramp())(features(), TIMES)[:, 0, 0, 0].double()
    factor = found / ramp()[TIMES]
    expected = torch.full_like(factor, np.exp(reach * np.tanh(says / reach)))
    torch.testing.assert_close(factor, expected, rtol=1e-5, atol=0.0)
    assert bool((factor >= np.exp(-reach) * (1 - 1e-5)).all())


def test_a_first_step_of_log_moves_every_time_by_the_same_share() -> None:
    """d head / d out = start at out = 0, so that times of tiny variance are not left behind."""
    says = Says(0.0)
    out = Head(says, LINKS["log"], REACH, ramp())(features(), TIMES)
    slopes = [torch.autograd.grad(out[i].mean(), says.value, retain_graph=True)[0] for i in range(2)]
    torch.testing.assert_close(torch.stack(slopes), ramp().float()[TIMES], rtol=FLOAT32, atol=0.0)


@pytest.mark.parametrize("link", LINKS)
def test_a_start_is_kept_and_never_trained(link: str) -> None:
    """It is saved beside the weights and is no parameter."""
    head = replace(SPEC, link=link).build(ramp())
    assert set(head.state_dict()) - {f"network.{name}" for name in head.network.state_dict()} == {"start"}
    assert {name for name, _ in head.named_parameters()} == {f"network.{n}" for n, _ in head.network.named_parameters()}
    assert head.start.dtype == torch.float32


# --- networks


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_starts_at_zero_but_not_stuck(name: str) -> None:
    """The first gradient reaches the last layer, or no fit would ever begin."""
    head = network(name)
    (head(features()) - 1).square().mean().backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in head.parameters())


def test_simple_head_by_hand() -> None:
    head, given = with_last_layer(network("simple")), features()
    gain, shift, kernel, offset = head.parameters()
    expected = F.conv2d(F.silu(F.group_norm(given.activations, 32, gain, shift)), kernel, offset, padding=1)
    torch.testing.assert_close(head(given), expected, rtol=FLOAT32, atol=FLOAT32)


def test_only_the_simple_network_does_not_know_the_time() -> None:
    given = features()
    later = Features(given.activations, given.embedding + 1)
    for name in NETWORKS:
        head = with_last_layer(network(name))
        assert torch.allclose(head(given), head(later), atol=1e-3) == (name == "simple"), name


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_features_give_single_precision_variances(name: str) -> None:
    head = with_last_layer(network(name))
    half = Features(features().activations.bfloat16(), features().embedding.bfloat16())
    assert head(half).dtype == torch.float32
    assert torch.equal(head(half), head(Features(half.activations.float(), half.embedding.float())))


def test_a_stem_makes_features_of_its_own_and_hands_them_on() -> None:
    """32 channels from any number, by a convolution; no norm before it takes away what a raw channel says."""
    head, given = with_last_layer(NETWORKS["stem"](6, EMBEDDING, SHAPE)), features()
    raw = Features(given.activations[:, :6], given.embedding)
    assert isinstance(head, StemNet)
    assert isinstance(head.rest, ComplexNet)
    made = F.conv2d(raw.activations, head.stem.weight, head.stem.bias, padding=1)
    assert made.shape == (2, 32, *SHAPE[1:])
    torch.testing.assert_close(head(raw), head.rest(Features(made, given.embedding)), rtol=FLOAT32, atol=FLOAT32)
    louder = Features(3 * raw.activations, given.embedding)
    assert not torch.allclose(head(louder), head(raw), atol=1e-3), "how loud they are matters"
    assert parameter_count(NETWORKS["stem"](6, EMBEDDING, SHAPE)) == 6 * 32 * 9 + 32 + parameter_count(head.rest)


@pytest.mark.parametrize("name", NETWORKS)
def test_double_precision_features_give_double_precision_variances(name: str) -> None:
    head = with_last_layer(network(name)).double()
    double = Features(features().activations.double(), features().embedding.double())
    found = head(double)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), with_last_layer(network(name))(features()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_head_says_the_same_of_features_in_double_precision(name: str, link: str) -> None:
    """Its weights are in single precision, whatever the network's are whose features it reads."""
    head = with_last_layer(replace(SPEC, network=name, link=link).build(ramp()))
    double = Features(features().activations.double(), features().embedding.double())
    assert torch.equal(head(double, TIMES), head(features(), TIMES))
