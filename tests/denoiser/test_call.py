"""A way of calling changes a mean's numbers by rounding, and nothing else of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.call import LAYOUTS, PLAIN, Way
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError
from diffcov.nets.unet import UNetConfig

T, CLASSES = 20, 3
CLOSE = 1e-5
"""Of the largest output: float32 in another order."""
CHANNELS_LAST = Way("channels_last")
TORCH_S_OWN = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
"""The compiler imports what torch itself has deprecated."""


def model(dropout: float = 0.0, features: str | None = None) -> MeanModel:
    """A U-Net with two levels, attention and classes, and weights everywhere."""
    torch.manual_seed(0)
    config = UNetConfig(
        3, 8, 8, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), heads=2, dropout=dropout, classes=CLASSES
    )
    network = config.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1)
    reading = Reading(
        NoiseSchedule.cosine(T), DataDescription(3, 8, 8), TimeConvention.spanning_thousand(T), classes=CLASSES
    )
    return MeanModel(network, reading, features, decides=config.decides()).freeze()


def given(count: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(count)
    x_t = torch.randn(count, 3, 8, 8, generator=draw)
    return x_t, torch.randint(1, T + 1, (count,), generator=draw), torch.randint(-1, CLASSES, (count,), generator=draw)


def apart(mean: MeanModel, other: MeanModel, count: int) -> float:
    """The largest difference of what two models say of the same images, features included, relative to the output."""
    with torch.inference_mode():
        mine, theirs = mean.look(*given(count)), other.look(*given(count))
    parts = [(mine.eps_hat, theirs.eps_hat), *zip(mine.features, theirs.features, strict=True)]
    assert all(one.shape == two.shape for one, two in parts)
    return max(float((one - two).abs().max() / two.abs().max()) for one, two in parts)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """In the place of the compiler: the network itself, and a list of the shapes that it is called with."""
    shapes: list[tuple[Any, ...]] = []

    def compiled(network: nn.Module, **how: Any) -> Callable[..., Any]:
        assert how["dynamic"] is False

        def call(*inputs: Tensor) -> Any:
            shapes.append((tuple(inputs[0].shape), inputs[0].stride(), any(one.is_inference() for one in inputs)))
            return network(*inputs)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    return shapes


def test_the_plain_way_is_the_network_itself() -> None:
    mean, (x_t, t, labels) = model(), given(5)
    assert mean.caller.way == PLAIN
    with torch.inference_mode():
        output, _ = mean.network(x_t, mean.reading.time(t), labels)
        assert torch.equal(mean.output(x_t, t, labels), output)
        assert torch.equal(model().call_by(CHANNELS_LAST).call_by(PLAIN).output(x_t, t, labels), output)


def test_another_layout_is_the_same_up_to_rounding() -> None:
    assert apart(model().call_by(CHANNELS_LAST), model(), 5) < CLOSE
    assert model().call_by(CHANNELS_LAST).output(*given(5)).is_contiguous()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [4, 3, 7, 2, 5])
def test_one_shape_alone_reaches_the_compiler(told: list[tuple[Any, ...]], layout: str, count: int) -> None:
    """More than half of the batch is filled up to it; fewer and more go by; tensors of inference mode never come."""
    mean = model().call_by(Way(layout, batch=4))
    assert apart(mean, model(), count) < CLOSE
    strides = torch.empty(4, 3, 8, 8, memory_format=LAYOUTS[layout]).stride()
    assert told == ([((4, 3, 8, 8), strides, False)] if count in (3, 4) else [])


def test_what_is_compiled_without_gradient_is_not_asked_for_one(told: list[tuple[Any, ...]]) -> None:
    mean = model().call_by(Way(batch=4))
    x_t, t, labels = given(4)
    x_t.requires_grad_(True)
    (slope,) = torch.autograd.grad(mean.look(x_t, t, labels).eps_hat.sum(), x_t)
    assert bool(slope.abs().sum() > 0)
    assert told == []


def test_what_is_compiled_for_training_trains_alone(told: list[tuple[Any, ...]]) -> None:
    mean = model().call_by(Way(batch=4, training=True))
    mean.output(*given(4))
    assert told == [], "in eval mode"
    mean.train().requires_grad_(True)
    mean.output(*given(4)).sum().backward()
    assert len(told) == 1
    assert all(parameter.grad is not None for parameter in mean.network.parameters())


def test_the_digest_and_the_names_of_weights_stay(told: list[tuple[Any, ...]]) -> None:
    mean = model().call_by(Way("channels_last", batch=4))
    mean.output(*given(4))
    assert mean.digest == model().digest
    assert mean.state_dict().keys() == model().state_dict().keys()
    assert [name for name, _ in mean.named_modules()] == [name for name, _ in model().named_modules()]


def test_a_copy_calls_its_own_network() -> None:
    mean = model().call_by(CHANNELS_LAST)
    other = copy.deepcopy(mean)
    assert (other.caller.way, other.caller.network) == (CHANNELS_LAST, other.network)
    assert other.network is not mean.network
    with torch.no_grad():
        other.network.out[2].bias += 1
    assert apart(other, mean, 3) > CLOSE


def untouched(network: nn.Module) -> nn.Module:
    """What torch.compile returns, whatever would compile it."""
    return torch.compile(network, backend="eager")  # type: ignore[return-value]


@pytest.mark.parametrize("wrapped", [untouched, nn.DataParallel, lambda network: untouched(nn.DataParallel(network))])
def test_wrappers_of_torch_are_taken_off(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    """Otherwise their prefixes would stand in the names of all weights, and in the digest."""
    mean = model()
    outside = MeanModel(wrapped(mean.network), mean.reading, decides=mean.decides).freeze()
    assert outside.network is mean.network
    assert outside.digest == mean.digest


def test_features_of_a_submodule_are_not_compiled_away() -> None:
    mean = model(features="middle_block")
    assert apart(mean.call_by(CHANNELS_LAST), model(features="middle_block"), 3) < CLOSE
    with pytest.raises(UsageError) as caught:
        mean.call_by(Way(batch=4))
    assert str(caught.value) == (
        "the features are taken at the submodule 'middle_block', which a compiled network does not show; use "
        "--compile off"
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layout": "sideways"}, "a layout is one of contiguous, channels_last, found 'sideways'"),
        ({"batch": 0}, "a network is compiled for at least 1 image, found 0"),
    ],
)
def test_ways_that_do_not_exist(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Way(**wrong)
    assert str(caught.value) == words


@pytest.mark.slow
@TORCH_S_OWN
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_compiled_is_the_same_up_to_rounding(dtype: torch.dtype | None) -> None:
    """By torch's own compiler: whole and ragged batches, sampling (inference mode) and measuring."""
    mean, plain = model(), model()
    mean.autocast = plain.autocast = dtype
    mean.call_by(Way("channels_last", batch=4))
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for count in (4, 3, 4, 1):
            assert apart(mean, plain, count) < (CLOSE if dtype is None else 0.05)
        with torch.no_grad():
            mean.look(*given(4))


@pytest.mark.slow
@TORCH_S_OWN
@pytest.mark.parametrize(("layout", "dropout"), [("contiguous", 0.5), ("channels_last", 0.0)])
def test_a_compiled_step_has_the_gradient_of_a_plain_one(layout: str, dropout: float) -> None:
    """Also where dropout draws: the compiler leaves its random numbers alone.

    Another layout draws them in another order.
    """
    found = []
    for way in (PLAIN, Way(layout, batch=4, training=True)):
        mean = model(dropout=dropout).call_by(way).train().requires_grad_(True)
        torch.manual_seed(3)
        mean.output(*given(4)).square().mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in mean.network.parameters() if p.grad is not None]))
    assert float((found[0] - found[1]).abs().max() / found[0].abs().max()) < CLOSE
