"""Weights of improved-diffusion and guided-diffusion: our own U-Net, configured from their shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.denoiser.time import TimeConvention
from diffcov.errors import InputError
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.store.foreign.recognise import read_foreign
from diffcov.study.reading_bench import built
from oracles.foreign import scattered
from oracles.published_unet import unet

PARITY, DOUBLE = 1e-5, 1e-10
"""Of float32 and of float64, with values near 1."""
BASE = UNetConfig(3, 16, 16, channels=32, multipliers=(1, 2), blocks=1, attention=(8,), heads=4, dropout=0.0)
VARIANTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "improved-diffusion": ({}, ()),
    "learned variance": ({"learned_range": True}, ()),
    "blocks that resample": ({"blocks_resample": True, "head_width": 32}, (2,)),
    "three levels that resample": (
        {"blocks_resample": True, "multipliers": (1, 1, 2), "attention": (8, 4), "blocks": 2, "head_width": 32}, (3, 6),
    ),
    "q, k, v first": ({"qkv_apart": True}, ()),
    "heads by width": ({"head_width": 16}, ()),
    "attention at two levels": ({"attention": (16, 8), "blocks": 2}, ()),
}  # fmt: skip


def written(config: UNetConfig, path: Path) -> UNet:
    network = UNet(config)
    scattered(network)
    torch.save(network.state_dict(), path)
    return network


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_function_is_the_published_one(variant: str) -> None:
    options, downs = VARIANTS[variant]
    config = replace(BASE, **options)
    network = scattered(UNet(config)).double()
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 16, 16, generator=draw, dtype=torch.float64)
    times = torch.tensor([3.0, 60.5], dtype=torch.float64)
    with torch.no_grad():
        found, features = network(x, times)
        expected, activations = unet(
            network.state_dict(), x, times, config.channels, config.heads, config.head_width, config.qkv_apart, downs
        )
    assert found.shape[1] == 3 * (1 + config.learned_range)
    torch.testing.assert_close(found, expected, rtol=DOUBLE, atol=DOUBLE)
    torch.testing.assert_close(features.activations, activations, rtol=DOUBLE, atol=DOUBLE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_say_the_configuration(tmp_path: Path, variant: str) -> None:
    """All of it but heads and the order of q, k and v, which the check has to find."""
    config = replace(BASE, **VARIANTS[variant][0])
    network = written(config, tmp_path / "a.pt")
    found = read_foreign(tmp_path / "a.pt", (16, 16))
    read = found.meaning.network
    assert isinstance(read, UNetConfig)
    said = {"heads": config.heads, "head_width": config.head_width, "qkv_apart": config.qkv_apart}
    assert replace(read, **said) == config
    (heads,) = (one for one in found.open if one.name == "heads")
    (order,) = (one for one in found.open if one.name == "order of q, k, v")
    options = [meaning.network for _, way in heads.of(found.meaning) for _, meaning in order.of(way)]
    wanted = [one for one in options if isinstance(one, UNetConfig) and _alike(one, config)]
    assert wanted, "the right reading is among those that are tried"
    model = built(found, replace(found.meaning, network=wanted[0]))
    x = torch.randn(2, 3, 16, 16)
    theirs = network(x, TimeConvention.spanning_thousand(found.meaning.reading.schedule.T)(torch.tensor([7.0, 7.0])))[0]
    torch.testing.assert_close(model.output(x, 7), theirs[:, :3].detach(), rtol=PARITY, atol=PARITY)


def _alike(one: UNetConfig, other: UNetConfig) -> bool:
    """Whether attention is split in the same way at every level where there is some."""
    widths = [other.channels * factor for factor in other.multipliers]
    return one.qkv_apart == other.qkv_apart and all(one.heads_of(w) == other.heads_of(w) for w in widths[-1:])


def test_a_learned_variance_without_classes_is_taken_for_the_cosine_one(tmp_path: Path) -> None:
    """What improved-diffusion published for CIFAR-10: cosine, T = 4000, times that span a thousand."""
    written(replace(BASE, learned_range=True), tmp_path / "a.pt")
    reading = read_foreign(tmp_path / "a.pt", (16, 16)).meaning.reading
    assert (reading.schedule.name, reading.schedule.T, reading.time.scale) == ("cosine", 4000, 0.25)
    written(BASE, tmp_path / "b.pt")
    reading = read_foreign(tmp_path / "b.pt", (16, 16)).meaning.reading
    assert (reading.schedule.name, reading.schedule.T, reading.time.scale) == ("linear", 1000, 1.0)


def test_classes_are_read(tmp_path: Path) -> None:
    written(replace(BASE, classes=5), tmp_path / "a.pt")
    reading = read_foreign(tmp_path / "a.pt", (16, 16)).meaning.reading
    assert (reading.classes, reading.needs_labels) == (5, True)


@pytest.mark.parametrize("wrap", ["plain", "module.", "_orig_mod.", "module._orig_mod.", "state_dict", "ema"])
def test_however_a_training_wrapped_it(tmp_path: Path, wrap: str) -> None:
    network = written(BASE, tmp_path / "a.pt")
    state: Any = network.state_dict()
    if wrap.endswith("."):
        state = {f"{wrap}{name}": tensor for name, tensor in state.items()}
    elif wrap != "plain":
        state = {wrap: state, "step": 3}
    torch.save(state, tmp_path / "a.pt")
    found = read_foreign(tmp_path / "a.pt", (16, 16))
    assert torch.equal(found.weights["out.2.weight"], network.out[2].weight)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["model.diffusion_model.input_blocks.0.0.weight"], r"latent diffusion model \(LDM\)"),
        (["x_embedder.proj.weight"], "a DiT"),
        (["temb.dense.0.weight"], "not read yet"),
        (["something.weight"], r"no known family \(something\.weight, \.\.\.\)"),
        (["input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"], "but not its shapes"),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path: Path, names: list[str], words: str) -> None:
    torch.save({name: torch.zeros(3, 3, 3, 3) for name in names}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=words):
        read_foreign(tmp_path / "a.pt")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing at"):
        read_foreign(tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a folder without a config\.json"):
        read_foreign(tmp_path)
