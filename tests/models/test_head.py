"""The variance heads: their size, where they start, and what they are then."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffcov.covariance import registry
from diffcov.covariance.base import Fitted
from diffcov.models.head import HEADS, parameter_count
from diffcov.prediction import Features, Prediction
from diffcov.process import DDIM, DDPM, Process, Step
from diffcov.schedule import NoiseSchedule

FLOAT32 = 1e-6
"""A few float32 operations on numbers near 1."""

WIDTH, EMBEDDING, CHANNELS = 64, 16, 3


def features(seed: int = 0, height: int = 6, width: int = 10) -> Features:
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(2, WIDTH, height, width, generator=generator)
    return Features(activations, torch.randn(2, EMBEDDING, generator=generator))


def with_last_layer(head: nn.Module) -> nn.Module:
    """The head with random weights throughout."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return head


@pytest.mark.parametrize(("name", "count"), [("simple", 3_715), ("complex", 430_723)])
def test_published_sizes(name: str, count: int) -> None:
    """On a trunk of width 128 with its embedding of 512, for colour images."""
    assert parameter_count(HEADS[name](128, 512, 3)) == count


@pytest.mark.parametrize("name", HEADS)
def test_an_unfitted_head_is_zero(name: str) -> None:
    out = HEADS[name](WIDTH, EMBEDDING, CHANNELS)(features())
    assert torch.equal(out, torch.zeros(2, CHANNELS, 6, 10))


@pytest.mark.parametrize("process", [DDPM(), DDIM(), DDIM(0.5)], ids=str)
@pytest.mark.parametrize("kind", ["npr", "sn"])
@pytest.mark.parametrize("name", HEADS)
def test_an_unfitted_covariance_is_small(name: str, kind: str, process: Process) -> None:
    head = HEADS[name](WIDTH, EMBEDDING, CHANNELS)
    prediction = Prediction(torch.randn(2, CHANNELS, 6, 10, generator=torch.Generator().manual_seed(3)), features())
    for s, t in [(0, 1), (49, 50), (10, 90), (99, 100)]:
        step = Step(NoiseSchedule.cosine(100), s, t, process.eta)
        small = registry.load("small").build(Fitted()).var_xs(step, prediction, 1.0)
        found = registry.load(kind).build(Fitted(heads={kind: head})).var_xs(step, prediction, 1.0)
        assert torch.equal(found, small.to(found.dtype).expand_as(found))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_starts_at_zero_but_not_stuck(name: str) -> None:
    """The first gradient reaches the last layer, or no fit would ever begin."""
    head = HEADS[name](WIDTH, EMBEDDING, CHANNELS)
    (head(features()) - 1).square().mean().backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in head.parameters())


def test_simple_head_by_hand() -> None:
    head, given = with_last_layer(HEADS["simple"](WIDTH, EMBEDDING, CHANNELS)), features()
    gain, shift, kernel, offset = head.parameters()
    expected = F.conv2d(F.silu(F.group_norm(given.activations, 32, gain, shift)), kernel, offset, padding=1)
    torch.testing.assert_close(head(given), expected, rtol=FLOAT32, atol=FLOAT32)


def test_only_the_complex_head_knows_the_time() -> None:
    given = features()
    later = Features(given.activations, given.embedding + 1)
    simple, complex_ = (with_last_layer(HEADS[n](WIDTH, EMBEDDING, CHANNELS)) for n in ("simple", "complex"))
    assert torch.equal(simple(given), simple(later))
    assert not torch.allclose(complex_(given), complex_(later), atol=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_half_precision_features_give_single_precision_variances(name: str) -> None:
    head = with_last_layer(HEADS[name](WIDTH, EMBEDDING, CHANNELS))
    half = Features(features().activations.bfloat16(), features().embedding.bfloat16())
    assert head(half).dtype == torch.float32
    assert torch.equal(head(half), head(Features(half.activations.float(), half.embedding.float())))
