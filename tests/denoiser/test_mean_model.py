"""The mean model: one precision inside and another outside, one conversion of times, and no gradients when frozen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, UsageError
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig

DATA = DataDescription(1, 8, 8, levels=17)
SCHEDULE = NoiseSchedule.linear(50)
READING = Reading(SCHEDULE, DATA, TimeConvention(1.0, 20.0))
TIMES = torch.tensor([1, 25, 50])


def unet(precision: str = "fp32", reading: Reading = READING) -> MeanModel:
    """A small U-Net with weights everywhere."""
    network = UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(8,), heads=1, dropout=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = UNet(network)
        with torch.no_grad():
            for parameter in trunk.parameters():
                parameter.normal_(0, 0.15)
    return MeanModel(trunk, reading, autocast=PRECISIONS[precision])


def noisy() -> Tensor:
    return torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(1))


class Recorder(nn.Module):
    """A linear network that remembers what it was given beside the images."""

    feature_channels, embedding_width = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.times: list[Tensor] = []
        self.labels: list[Tensor | None] = []
        self.images: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Features]:
        self.images.append(x)
        self.times.append(times)
        self.labels.append(labels)
        return self.factor * x, Features(x, times[:, None])


# --- precision


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_is_that_of_the_convolutions_and_ends_at_the_door(precision: str, inside: torch.dtype) -> None:
    model = unet(precision).freeze()
    seen: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    found = model.look(noisy(), TIMES)
    assert model.precision == precision
    assert set(seen) == {inside}
    assert {part.dtype for part in (found.x_t, found.x0_hat, found.eps_hat, found.predicted)} == {torch.float32}
    assert found.features.activations.dtype == torch.float32
    assert found.features.embedding.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu"), "the caller's own arithmetic is left alone"


def test_bf16_is_close_to_fp32_and_not_the_same() -> None:
    """bfloat16 keeps 8 bits; ours is a handful of layers of values of order 1."""
    full, half = (unet(precision).freeze().look(noisy(), TIMES) for precision in ("fp32", "bf16"))
    assert not torch.equal(full.eps_hat, half.eps_hat)
    size = float(full.eps_hat.std())
    assert float((full.eps_hat - half.eps_hat).abs().max()) < 0.1 * size
    assert float((full.features.activations - half.features.activations).abs().max()) < 0.1 * float(
        full.features.activations.std()
    )


def test_a_network_in_double_precision_is_given_and_gives_double_precision() -> None:
    model = MeanModel.of(Recorder().double(), predicts="v", schedule=SCHEDULE, data=DATA)
    found = model.look(noisy().double(), TIMES)
    assert (model.precision, model.work_dtype) == ("fp64", torch.float64)
    assert {part.dtype for part in (found.x_t, found.x0_hat, found.eps_hat, *found.features)} == {torch.float64}
    assert {part.dtype for part in (*model.network.images, *model.network.times)} == {torch.float64}
    assert unet().work_dtype == torch.float32


def test_what_a_single_precision_network_is_given_in_double_precision_is_what_it_has_seen() -> None:
    """x_t rounded to float32 goes in, and x_0 is computed from that same number, in float64."""
    model, x_t = unet().freeze(), noisy().double() / 3
    found = model.look(x_t, 50)
    assert found.x0_hat.dtype == torch.float64
    assert torch.equal(found.x_t, x_t)
    level = Level.at(SCHEDULE, 50, x_t)
    assert torch.equal(found.x0_hat, (x_t.float().double() - level.noise * found.eps_hat) / level.signal)
    torch.testing.assert_close(found.eps_hat.float(), model.look(x_t.float(), 50).eps_hat, rtol=0, atol=0)


# --- times


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1.0, 1.0), (1.0, 20.0), (0.5, 2.5)])
def test_the_network_is_given_its_own_times(offset: float, scale: float) -> None:
    network = Recorder()
    model = MeanModel(network, Reading(SCHEDULE, DATA, TimeConvention(offset, scale)))
    model.look(noisy(), TIMES)
    model.look(noisy(), 7)
    expected = [[(t - offset) * scale for t in times] for times in ([1, 25, 50], [7, 7, 7])]
    assert [times.tolist() for times in network.times] == expected
    assert all(times.dtype == torch.float32 for times in network.times)


def test_one_time_is_the_same_as_that_time_for_every_image() -> None:
    model = unet().freeze()
    mine, theirs = model.look(noisy(), 25), model.look(noisy(), torch.full((3,), 25))
    assert torch.equal(mine.eps_hat, theirs.eps_hat)
    torch.testing.assert_close(mine.x0_hat, theirs.x0_hat, rtol=1e-6, atol=1e-6)
    assert not torch.equal(mine.eps_hat, model.look(noisy(), 26).eps_hat)
    assert mine.t == 25
    assert torch.equal(theirs.t, torch.full((3,), 25))


# --- what a look holds


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_a_look_is_what_the_parametrisation_makes_of_the_output(predicts: str) -> None:
    model = unet(reading=replace(READING, predicts=predicts)).freeze()
    x_t, meaning = noisy(), PARAMETRISATIONS[predicts]
    found, output = model.look(x_t, TIMES), model.output(x_t, TIMES)
    level = Level.at(SCHEDULE, TIMES, x_t)
    assert torch.equal(found.x0_hat, meaning.x0(x_t, output, level))
    assert torch.equal(found.eps_hat, meaning.eps(x_t, output, level))
    assert torch.equal(found.predicted, found.eps_hat)
    assert found.consistent
    assert found.learned is None
    named = {"eps": found.eps_hat, "x0": found.x0_hat}
    assert predicts not in named or torch.equal(named[predicts], output)


def test_a_mean_looks_through_nothing_and_calls_once() -> None:
    model = unet()
    assert model.view == View()
    assert model.calls == 1
    assert not model.plain_features
    assert model.as_dict() == {
        "mean": model.digest, "precision": "fp32", "clip_x0": False, "eps_scale": 1.0, "guidance": 1.0
    }  # fmt: skip


def test_sizes_and_device_are_the_network_s() -> None:
    model = unet()
    features = model.freeze().look(noisy(), TIMES).features
    assert features.activations.shape == (3, model.feature_channels, 8, 8)
    assert features.embedding.shape == (3, model.embedding_width)
    assert model.device == torch.device("cpu")


# --- class labels


def test_class_labels_are_refused() -> None:
    network = Recorder()
    model = MeanModel(network, Reading(SCHEDULE, DATA, TimeConvention()))
    for call in (model.look, model.output):
        with pytest.raises(UsageError, match="unconditional: it takes no class labels"):
            call(noisy(), TIMES, cond=torch.zeros(3, dtype=torch.int64))
    assert network.times == []


def test_a_network_with_classes_is_given_labels_and_minus_one_where_there_are_none() -> None:
    network = Recorder()
    model = MeanModel(network, replace(READING, classes=3))
    assert (model.classes, model.needs_labels) == (3, False)
    model.look(noisy(), TIMES, torch.tensor([2, -1, 0]))
    model.look(noisy(), 7)
    assert [labels.tolist() for labels in network.labels] == [[2, -1, 0], [-1, -1, -1]]
    assert {labels.dtype for labels in network.labels} == {torch.int64}


def test_a_network_without_classes_is_given_nothing_beside_the_times() -> None:
    network = Recorder()
    MeanModel(network, READING).look(noisy(), TIMES)
    assert network.labels == [None]


# --- what freezing means


def test_freezing_is_eval_mode_and_no_gradients() -> None:
    model = unet()
    assert any(module.training for module in model.modules())
    assert not torch.equal(*(model.look(noisy(), TIMES).eps_hat for _ in range(2))), "dropout at work"
    assert model.freeze() is model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    first, second = (model.look(noisy(), TIMES) for _ in range(2))
    assert isinstance(first, Look)
    assert torch.equal(first.eps_hat, second.eps_hat)
    assert not first.eps_hat.requires_grad
    assert not first.features.activations.requires_grad


# --- networks of anybody's


def test_a_network_of_somebody_s_is_frozen_and_read_as_told() -> None:
    network = Recorder().train()
    model = MeanModel.of(network, predicts="v", schedule=SCHEDULE, data=DATA)
    assert model.network is network
    assert model.reading == Reading(SCHEDULE, DATA, TimeConvention(), "v")
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    other = MeanModel.of(
        network,
        predicts="x0",
        schedule=SCHEDULE,
        data=DATA,
        time=TimeConvention(0.0, 3.0),
        classes=4,
        needs_labels=True,
    )
    assert other.reading == Reading(SCHEDULE, DATA, TimeConvention(0.0, 3.0), "x0", 4, True)


@pytest.mark.parametrize("kind", [list, torch.tensor], ids=["numbers", "tensor"])
def test_a_schedule_may_be_given_by_its_betas(kind: Any) -> None:
    betas = [0.1, 0.2, 0.5]
    model = MeanModel.of(Recorder(), predicts="eps", schedule=kind(betas), data=DATA)
    assert model.schedule.name == "betas"
    assert model.schedule.alpha_bar.tolist() == pytest.approx([1, 0.9, 0.72, 0.36], rel=1e-6)


class Stubborn(nn.Module):
    """Fails as strangers' networks do."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer = nn.Conv2d(DATA.channels + 1, DATA.channels, 1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return self.layer(x) if self.how == "channels" else getattr(x, self.how)


@pytest.mark.parametrize(
    ("network", "classes", "found"),
    [
        (Stubborn("channels"), 0, r"x \(1, 1, 8, 8\), times \(1,\), as its reading says, and raised RuntimeError: "),
        (Stubborn("sigma"), 0, r"raised AttributeError: 'Tensor' object has no attribute 'sigma'$"),
        (Recorder(), 0, None),
        (Stubborn("channels"), 3, r"times \(1,\) and labels \(1,\), .* raised TypeError: .*takes 3 positional"),
    ],
    ids=["channels", "attribute", "none", "labels"],
)
def test_a_network_is_tried_once(network: nn.Module, classes: int, found: str | None) -> None:
    """What it cannot do is said where it is read, not minutes later."""
    words = {"predicts": "eps", "schedule": SCHEDULE, "data": DATA, "classes": classes}
    if found is None:
        assert MeanModel.of(network, **words).network is network
    else:
        with pytest.raises(InputError, match=found):
            MeanModel.of(network, **words)


def test_a_network_without_any_parameter_is_looked_through_in_single_precision() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            return torch.zeros_like(x)

    model = MeanModel.of(Nothing(), predicts="eps", schedule=SCHEDULE, data=DATA)
    assert (model.device, model.precision) == (torch.device("cpu"), "fp32")
    assert torch.equal(model.look(noisy(), 3).eps_hat, torch.zeros(3, *DATA.shape))


# --- outputs of other shapes


class Shaped(nn.Module):
    """``times_channels`` copies of the images, cropped to ``side``."""

    def __init__(self, times_channels: int = 1, side: int = 8) -> None:
        super().__init__()
        self.times_channels, self.side = times_channels, side

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        parts = [(i + 1) * x[:, :, : self.side, : self.side] for i in range(self.times_channels)]
        return torch.cat(parts, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_twice_the_channels_are_the_mean_and_a_learned_variance(channels: int) -> None:
    """The first half is read as if it were alone; the second is handed on as it is."""
    data = DataDescription(channels, 8, 8)
    x_t = torch.randn(2, *data.shape, generator=torch.Generator().manual_seed(2))
    both, alone = (MeanModel.of(Shaped(n), predicts="v", schedule=SCHEDULE, data=data) for n in (2, 1))
    found, expected = both.look(x_t, 9), alone.look(x_t, 9)
    assert torch.equal(found.learned, 2 * x_t)
    assert torch.equal(found.x0_hat, expected.x0_hat)
    assert torch.equal(found.eps_hat, expected.eps_hat)
    assert torch.equal(both.output(x_t, 9), x_t)
    assert expected.learned is None
    assert both.plain_features
    assert torch.equal(found.features.activations, torch.cat([x_t, found.eps_hat], 1))


@pytest.mark.parametrize(
    ("network", "found"),
    [(Shaped(3), r"\(3, 8, 8\)"), (Shaped(1, side=4), r"\(1, 4, 4\)"), (nn.Flatten(), r"\(64,\)")],
    ids=["three times the channels", "smaller", "flat"],
)
def test_an_output_of_another_shape_is_refused(network: nn.Module, found: str) -> None:
    class Alone(nn.Module):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            out: Tensor = network(x) if isinstance(network, nn.Flatten) else network(x, times)
            return out

    wrong = rf"output is {found} and its images are \(1, 8, 8\): it must be as large"
    with pytest.raises(InputError, match=wrong):
        MeanModel.of(Alone(), predicts="eps", schedule=SCHEDULE, data=DATA)
    model = MeanModel(Alone(), READING)
    for call in (model.look, model.output):
        with pytest.raises(InputError, match=wrong):
            call(noisy(), TIMES)


# --- digests


def test_a_digest_is_that_of_the_weights_and_of_how_they_are_read() -> None:
    mine = unet().freeze()
    assert mine.digest == unet().freeze().digest
    readings = [
        replace(READING, schedule=NoiseSchedule.linear(51)),
        replace(READING, time=TimeConvention(0.0, 20.0)),
        replace(READING, data=replace(DATA, high=2.0)),
        replace(READING, predicts="v"),
    ]
    others = [unet(reading=reading).freeze() for reading in readings]
    changed = unet()
    with torch.no_grad():
        next(changed.network.parameters()).add_(1e-3)
    others.append(changed.freeze())
    assert len({mine.digest, *(other.digest for other in others)}) == len(others) + 1


def test_precision_does_not_change_a_digest() -> None:
    """What is measured in another precision is told apart by the precision that is recorded beside it."""
    assert unet("bf16").freeze().digest == unet().freeze().digest


def test_where_features_are_taken_and_what_built_the_network_change_a_digest() -> None:
    """Heads fit one place only, and equal weights may belong to different functions."""
    network = unet().freeze().network
    models = [
        MeanModel(network, READING),
        MeanModel(network, READING, "middle_block.0"),
        MeanModel(network, READING, "middle_block.1"),
        MeanModel(network, READING, decides={"arguments": {"act": "relu"}}),
        MeanModel(network, READING, decides={"arguments": {"act": "silu"}}),
    ]
    assert len({model.freeze().digest for model in models}) == len(models)


def test_the_digest_of_a_model_in_training_follows_its_weights() -> None:
    model = unet().train()
    before = model.digest
    with torch.no_grad():
        next(model.network.parameters()).add_(1e-3)
    after = model.digest
    assert after != before
    assert model.freeze().digest == after


def test_a_digest_is_not_kept_through_what_may_change_it() -> None:
    model = unet().freeze()
    first = model.digest
    model.network.register_buffer("more", torch.ones(1))
    second = model.freeze().digest
    assert second != first
    third = model.double().digest
    assert third != second
    model.train()
    while_training = model.digest
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    model.eval()
    assert while_training == third
    assert model.digest == model.freeze().digest != third
