"""Presets: chosen by size, trimmed to what the images allow, and the papers' where they say so."""

from __future__ import annotations

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.engines.training.config import TrainingConfig
from diffcov.engines.training.presets import (
    HEAD,
    HEAD_ARCHITECTURE,
    PRESETS,
    choose_preset,
    head_budget,
    network_for,
)
from diffcov.errors import UsageError
from diffcov.nets.unet import UNet, UNetConfig

CIFAR10 = DataDescription(3, 32, 32)
MNIST = DataDescription(1, 28, 28)
DIGITS = DataDescription(1, 8, 8, levels=17)


@pytest.mark.parametrize(
    ("height", "width", "name"),
    [(8, 8, "digits"), (16, 16, "digits"), (17, 17, "mnist"), (28, 28, "mnist"), (29, 29, "cifar10"),
     (32, 32, "cifar10"), (512, 512, "cifar10"), (8, 512, "digits"), (512, 28, "mnist"), (1, 1, "digits")],
)  # fmt: skip
def test_the_shorter_side_chooses(height: int, width: int, name: str) -> None:
    """Grey images, or a machine with a GPU."""
    assert choose_preset(DataDescription(1, height, width), gpu=False) == name
    assert choose_preset(DataDescription(3, height, width), gpu=True) == name


@pytest.mark.parametrize(
    ("channels", "side", "name"),
    [(3, 15, "digits"), (3, 16, "small"), (4, 28, "small"), (3, 32, "small"), (3, 64, "small"), (3, 65, "cifar10")],
)
def test_small_photographs_without_a_gpu_get_a_small_network(channels: int, side: int, name: str) -> None:
    assert choose_preset(DataDescription(channels, side, side), gpu=False) == name
    assert choose_preset(DataDescription(channels, side, side), gpu=True) != "small"


def test_cifar10_is_the_papers() -> None:
    preset = PRESETS["cifar10"]
    assert network_for(preset, CIFAR10, {}) == UNetConfig(
        3, 32, 32, channels=128, multipliers=(1, 2, 2, 2), blocks=3, attention=(16, 8), heads=4, dropout=0.3,
        scale_shift=True,
    )  # fmt: skip
    assert preset.training == TrainingConfig(
        batch_size=128, lr=1e-4, warmup=0, weight_decay=0.0, ema_decay=0.9999, flip=True, precision="fp32"
    )
    assert preset.iterations == 500_000


@pytest.mark.parametrize("images", [2, 1350, 45_000, 10**6])
@pytest.mark.parametrize("batch_size", [1, 64, 128])
def test_the_most_that_heads_take_follows_their_images(images: int, batch_size: int) -> None:
    """Twenty looks at each image, at least 100,000, and twenty minutes on whatever machine; never the mean's."""
    budget = head_budget(images, batch_size)
    assert budget.iterations is not None
    looks = budget.iterations * batch_size
    assert max(100_000, 20 * images) <= looks < max(100_000, 20 * images) + batch_size
    assert budget.minutes == 20


def test_heads_are_fitted_alike_on_any_mean() -> None:
    """By the one that sees the time: the simple head needs a long fit."""
    assert HEAD_ARCHITECTURE == "complex"
    assert TrainingConfig(batch_size=128, lr=5e-3, warmup=50, ema_decay=0.999) == HEAD


def test_the_last_preset_takes_the_rest() -> None:
    *_, last = PRESETS.values()
    assert all(last.suits(DataDescription(c, side, side), gpu) for c in (1, 3) for side in (1, 999) for gpu in (0, 1))


@pytest.mark.parametrize(("name", "data"), [("digits", DIGITS), ("mnist", MNIST), ("small", CIFAR10)])
def test_small_presets_fit_their_images_untrimmed(name: str, data: DataDescription) -> None:
    preset = PRESETS[name]
    network = network_for(preset, data, {})
    assert network.multipliers == tuple(preset.network["multipliers"])
    assert (network.height, network.width, network.image_channels) == (data.height, data.width, data.channels)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (8, 8), (10, 10), (9, 12), (28, 28), (30, 30), (32, 32), (32, 48)])
def test_every_preset_makes_a_network_for_every_size(name: str, size: tuple[int, int]) -> None:
    data = DataDescription(3, *size)
    network = network_for(PRESETS[name], data, {"channels": 8})
    trimmed = len(network.multipliers)
    assert network.multipliers == tuple(PRESETS[name].network["multipliers"][:trimmed])
    eps_hat, _ = UNet(network)(torch.zeros(2, 3, *size), torch.ones(2))
    assert eps_hat.shape == (2, 3, *size)


def test_trimming_takes_the_attention_with_it() -> None:
    network = network_for(PRESETS["cifar10"], DataDescription(3, 6, 6), {})
    assert (network.multipliers, network.attention) == ((1, 2), (3,))


def test_what_is_given_wins() -> None:
    given = {"channels": 16, "multipliers": (1, 1, 2), "attention": (), "heads": 2, "dropout": 0.2, "blocks": 1}
    network = network_for(PRESETS["cifar10"], CIFAR10, given)
    assert {name: getattr(network, name) for name in given} == given
    assert network.scale_shift


def test_given_multipliers_move_the_preset_s_attention() -> None:
    assert network_for(PRESETS["cifar10"], CIFAR10, {"multipliers": (1, 2)}).attention == (16,)
    assert network_for(PRESETS["cifar10"], CIFAR10, {"multipliers": (1,)}).attention == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"multipliers": (1, 2, 2, 2)}, r"28x28 .* multiples of 8; use --multipliers 1,2,2"),
        ({"attention": (5,)}, r"attention was asked for at \[5\].*\[28, 14, 7\].*or none"),
        ({"heads": 3}, "cannot be split into 3 attention heads"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), found 1.0"),
        ({"channels": 0}, "at least 1"),
        ({"blocks": 0}, "at least 1"),
        ({"heads": 0}, "at least 1"),
        ({"multipliers": ()}, "at least 1"),
    ],
)
def test_refusals_name_the_option_that_mends_it(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        network_for(PRESETS["mnist"], MNIST, given)
