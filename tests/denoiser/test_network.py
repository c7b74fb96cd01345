"""The mean model: one precision inside and another outside, one conversion of times, and no gradients when frozen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.network import PRECISIONS, MeanModel, TimeConvention
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig

DATA = DataDescription(1, 8, 8, levels=17)
SCHEDULE = NoiseSchedule.linear(50)
TIMES = torch.tensor([1, 25, 50])


def unet(precision: str = "fp32") -> MeanModel:
    """A small U-Net with weights everywhere."""
    network = UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(8,), heads=1, dropout=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = UNet(network)
        with torch.no_grad():
            for parameter in trunk.parameters():
                parameter.normal_(0, 0.15)
    return MeanModel(trunk, SCHEDULE, DATA, TimeConvention(1.0, 20.0), PRECISIONS[precision])


def noisy() -> Tensor:
    return torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(1))


class Recorder(nn.Module):
    """A linear trunk that remembers which times it was given."""

    feature_channels, embedding_width = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.times: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        self.times.append(times)
        return self.factor * x, Features(x, times[:, None])


# --- precision


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_is_that_of_the_convolutions_and_ends_at_the_door(precision: str, inside: torch.dtype) -> None:
    model = unet(precision).freeze()
    seen: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    found = model.predict(noisy(), TIMES)
    assert set(seen) == {inside}
    assert found.eps_hat.dtype == torch.float32
    assert found.features.activations.dtype == torch.float32
    assert found.features.embedding.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu"), "the caller's own arithmetic is left alone"


def test_bf16_is_close_to_fp32_and_not_the_same() -> None:
    """bfloat16 keeps 8 bits; ours is a handful of layers of values of order 1."""
    full, half = (unet(precision).freeze().predict(noisy(), TIMES) for precision in ("fp32", "bf16"))
    assert not torch.equal(full.eps_hat, half.eps_hat)
    size = float(full.eps_hat.std())
    assert float((full.eps_hat - half.eps_hat).abs().max()) < 0.1 * size
    assert float((full.features.activations - half.features.activations).abs().max()) < 0.1 * float(
        full.features.activations.std()
    )


# --- times


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1.0, 1.0), (1.0, 20.0), (0.5, 2.5)])
def test_the_trunk_is_given_its_own_times(offset: float, scale: float) -> None:
    trunk = Recorder()
    model = MeanModel(trunk, SCHEDULE, DATA, TimeConvention(offset, scale))
    model.predict(noisy(), TIMES)
    model.predict_at(noisy(), 7)
    expected = [[(t - offset) * scale for t in times] for times in ([1, 25, 50], [7, 7, 7])]
    assert [times.tolist() for times in trunk.times] == expected
    assert all(times.dtype == torch.float32 for times in trunk.times)


def test_published_networks_count_from_zero() -> None:
    assert TimeConvention()(torch.tensor([1, 1000])).tolist() == [0.0, 999.0]
    assert TimeConvention(1.0, 20.0).as_dict() == {"offset": 1.0, "scale": 20.0}


def test_predict_at_is_predict_with_one_time() -> None:
    model = unet().freeze()
    mine, theirs = model.predict_at(noisy(), 25), model.predict(noisy(), torch.full((3,), 25))
    assert torch.equal(mine.eps_hat, theirs.eps_hat)
    assert not torch.equal(mine.eps_hat, model.predict_at(noisy(), 26).eps_hat)


# --- what it refuses, and what freezing means


def test_class_labels_are_refused() -> None:
    trunk = Recorder()
    model = MeanModel(trunk, SCHEDULE, DATA, TimeConvention())
    with pytest.raises(UsageError, match="unconditional: it takes no class labels"):
        model.predict(noisy(), TIMES, cond=torch.zeros(3, dtype=torch.int64))
    assert trunk.times == []


def test_freezing_is_eval_mode_and_no_gradients() -> None:
    model = unet()
    assert any(module.training for module in model.modules())
    assert not torch.equal(*(model.predict(noisy(), TIMES).eps_hat for _ in range(2))), "dropout at work"
    assert model.freeze() is model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    first, second = (model.predict(noisy(), TIMES) for _ in range(2))
    assert isinstance(first, Prediction)
    assert torch.equal(first.eps_hat, second.eps_hat)
    assert not first.eps_hat.requires_grad
    assert not first.features.activations.requires_grad


def test_sizes_and_device_are_the_trunk_s() -> None:
    model = unet()
    features = model.freeze().predict(noisy(), TIMES).features
    assert features.activations.shape == (3, model.feature_channels, 8, 8)
    assert features.embedding.shape == (3, model.embedding_width)
    assert model.device == torch.device("cpu")
