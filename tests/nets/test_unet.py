"""The U-Net is the published one: its parameters' names, its size, its function, and what it refuses to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcov.errors import UsageError
from diffcov.nets.blocks import Attention, timestep_embedding
from diffcov.nets.unet import UNet, UNetConfig
from oracles.published_unet import sinusoids, unet

PARITY = 1e-5
"""Relative and absolute: two orders of summation in float32, through a dozen layers with values near 1."""

TINY = UNetConfig(3, 8, 8, channels=32, multipliers=(1, 2), blocks=1, attention=(4,), heads=4)
"""32 channels at 8x8, 64 channels with attention at 4x4."""

RESIDUAL = {
    "in_layers.0.weight": "i",
    "in_layers.0.bias": "i",
    "in_layers.2.weight": "oi33",
    "in_layers.2.bias": "o",
    "emb_layers.1.weight": "fe",
    "emb_layers.1.bias": "f",
    "out_layers.0.weight": "o",
    "out_layers.0.bias": "o",
    "out_layers.3.weight": "oo33",
    "out_layers.3.bias": "o",
}
"""The published names in a residual block; i and o channels in and out, e the embedding, f = 2 o."""

ATTENTION = {
    "norm.weight": "o",
    "norm.bias": "o",
    "qkv.weight": "q o 1",
    "qkv.bias": "q",
    "proj_out.weight": "oo1",
    "proj_out.bias": "o",
}


def residual(prefix: str, i: int, o: int) -> dict[str, tuple[int, ...]]:
    sizes = {"i": i, "o": o, "e": 128, "f": 2 * o, "3": 3}
    shapes = {f"{prefix}.{name}": tuple(sizes[c] for c in code) for name, code in RESIDUAL.items()}
    if i != o:
        shapes |= {f"{prefix}.skip_connection.weight": (o, i, 1, 1), f"{prefix}.skip_connection.bias": (o,)}
    return shapes


def attention(prefix: str, o: int) -> dict[str, tuple[int, ...]]:
    sizes = {"o": o, "q": 3 * o, "1": 1}
    return {f"{prefix}.{n}": tuple(sizes[c] for c in code.replace(" ", "")) for n, code in ATTENTION.items()}


def convolution(prefix: str, o: int, i: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (o, i, 3, 3), f"{prefix}.bias": (o,)}


PUBLISHED_TINY: dict[str, tuple[int, ...]] = {
    "time_embed.0.weight": (128, 32),
    "time_embed.0.bias": (128,),
    "time_embed.2.weight": (128, 128),
    "time_embed.2.bias": (128,),
    **convolution("input_blocks.0.0", 32, 3),
    **residual("input_blocks.1.0", 32, 32),
    **convolution("input_blocks.2.0.op", 32, 32),
    **residual("input_blocks.3.0", 32, 64),
    **attention("input_blocks.3.1", 64),
    **residual("middle_block.0", 64, 64),
    **attention("middle_block.1", 64),
    **residual("middle_block.2", 64, 64),
    **residual("output_blocks.0.0", 64 + 64, 64),
    **attention("output_blocks.0.1", 64),
    **residual("output_blocks.1.0", 64 + 32, 64),
    **attention("output_blocks.1.1", 64),
    **convolution("output_blocks.1.2.conv", 64, 64),
    **residual("output_blocks.2.0", 64 + 32, 32),
    **residual("output_blocks.3.0", 32 + 32, 32),
    "out.0.weight": (32,),
    "out.0.bias": (32,),
    **convolution("out.2", 3, 32),
}


def randomised(config: UNetConfig, seed: int = 0) -> UNet:
    """Every parameter non-zero, at a size that keeps activations near 1; dropout off."""
    net, generator = UNet(config).eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            scale = 0.5 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return net


def batch(config: UNetConfig) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (2, config.image_channels, config.height, config.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)), torch.tensor(
        [3.0, 60.5]
    )  # larger angles lose digits in float32


def test_cifar10_preset_has_the_published_size() -> None:
    with torch.device("meta"):
        net = UNet(UNetConfig(3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == 52_542_979


def test_parameters_have_the_published_names_and_shapes() -> None:
    assert {name: tuple(p.shape) for name, p in UNet(TINY).state_dict().items()} == PUBLISHED_TINY


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        UNetConfig(1, 8, 12, channels=32, multipliers=(1, 2), blocks=2, attention=(8, 4), heads=2),
        UNetConfig(3, 8, 8, channels=64, multipliers=(1, 1, 2), blocks=1, attention=(), heads=1),
    ],
    ids=["tiny", "non-square", "three levels"],
)
def test_the_function_is_the_published_one(config: UNetConfig) -> None:
    net = randomised(config)
    x, times = batch(config)
    with torch.no_grad():
        eps_hat, features = net(x, times)
        expected, activations = unet(net.state_dict(), x, times, config.channels, config.heads)
    assert eps_hat.shape == x.shape
    torch.testing.assert_close(features.activations, activations, rtol=PARITY, atol=PARITY)
    torch.testing.assert_close(eps_hat, expected, rtol=PARITY, atol=PARITY)


def test_features_are_those_before_the_output_norm() -> None:
    net = randomised(TINY)
    x, times = batch(TINY)
    with torch.no_grad():
        eps_hat, features = net(x, times)
        again = net.features(x, times)
        assert torch.equal(net.out(features.activations), eps_hat)
    assert features.activations.shape == (2, net.feature_channels, 8, 8)
    assert features.embedding.shape == (2, net.embedding_width)
    assert torch.equal(again.activations, features.activations)
    assert torch.equal(again.embedding, features.embedding)


def test_an_untrained_network_predicts_zero() -> None:
    x, times = batch(TINY)
    assert torch.equal(UNet(TINY)(x, times)[0], torch.zeros_like(x))


def test_time_matters_and_images_do_not_mix() -> None:
    net = randomised(TINY)
    x, times = batch(TINY)
    with torch.no_grad():
        together, alone = net(x, times)[0], net(x[:1], times[:1])[0]
        torch.testing.assert_close(together[:1], alone, rtol=PARITY, atol=PARITY)
        assert not torch.allclose(net(x, times + 50)[0], together, atol=0.01)


def test_dropout_acts_in_training_only() -> None:
    net = randomised(TINY)
    x, times = batch(TINY)
    with torch.no_grad():
        assert torch.equal(net(x, times)[0], net(x, times)[0])
        net.train()
        assert not torch.equal(net(x, times)[0], net(x, times)[0])


# --- class labels

CLASSES = 3
LABELLED = replace(TINY, classes=CLASSES)


def the_same_without_classes(net: UNet) -> UNet:
    """Its other weights in a network that takes no labels."""
    plain = UNet(TINY).eval()
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if name != "label_emb.weight"})
    return plain


def test_classes_add_one_embedding_by_its_published_name() -> None:
    shapes = {name: tuple(p.shape) for name, p in UNet(LABELLED).state_dict().items()}
    assert shapes == {**PUBLISHED_TINY, "label_emb.weight": (CLASSES, 128)}


def test_an_image_without_a_label_is_seen_as_by_the_same_network_without_classes() -> None:
    net = randomised(LABELLED)
    x, times = batch(TINY)
    with torch.no_grad():
        plain, features = the_same_without_classes(net)(x, times)
        for found, seen in (net(x, times, torch.tensor([-1, -1])), net(x, times)):
            assert torch.equal(found, plain)
            assert torch.equal(seen.activations, features.activations)
            assert torch.equal(seen.embedding, features.embedding)


@pytest.mark.parametrize("labels", [[0, 2], [1, 1], [-1, 2], [0, -1]], ids=str)
def test_a_label_s_embedding_is_added_to_that_of_the_time(labels: list[int]) -> None:
    """Image by image, and by -1 nothing is: features say the sum, and the function is the published one at it."""
    net = randomised(LABELLED)
    x, times = batch(TINY)
    with torch.no_grad():
        found, features = net(x, times, torch.tensor(labels))
        added = torch.stack([torch.zeros(128) if k < 0 else net.label_emb.weight[k] for k in labels])
        time = net.features(x, times).embedding
        torch.testing.assert_close(features.embedding, time + added, rtol=0, atol=0)
        for i in range(2):
            # The last layer of the time embedding takes the label's vector as a bias: the same sum by other means.
            moved = the_same_without_classes(net)
            moved.time_embed[2].bias += added[i]
            expected = moved(x[i : i + 1], times[i : i + 1])[0]
            torch.testing.assert_close(found[i : i + 1], expected, rtol=PARITY, atol=PARITY)


def test_every_class_matters_and_images_keep_their_own() -> None:
    net = randomised(LABELLED)
    x, times = batch(TINY)
    with torch.no_grad():
        seen = [net(x[:1], times[:1], torch.tensor([k]))[0] for k in (-1, 0, 1, 2)]
        mixed = net(x[:1].expand(4, -1, -1, -1), times[:1].expand(4), torch.tensor([-1, 0, 1, 2]))[0]
    for i, one in enumerate(seen):
        torch.testing.assert_close(mixed[i : i + 1], one, rtol=PARITY, atol=PARITY)
        assert all(not torch.allclose(one, other, atol=0.01) for other in seen[:i])


def test_the_embedding_of_a_class_that_no_image_has_is_not_trained() -> None:
    """Nor is the first one by images without a label, although it stands in for them."""
    net = randomised(LABELLED)
    x, times = batch(TINY)
    net(x, times, torch.tensor([-1, 2]))[0].square().mean().backward()
    moved = net.label_emb.weight.grad.abs().amax(1) > 0
    assert moved.tolist() == [False, False, True]


def test_a_config_of_the_version_before_has_no_classes() -> None:
    fields = {name: value for name, value in TINY.as_dict().items() if name != "classes"}
    assert UNetConfig.from_dict(fields) == TINY
    assert UNetConfig.from_dict(LABELLED.as_dict()) == LABELLED


# --- times


@pytest.mark.parametrize("width", [2, 32, 128])
def test_timestep_embedding(width: int) -> None:
    """Angles are up to 1000 in float32, so sines and cosines keep 1e-4."""
    times = torch.tensor([0.0, 1.0, 17.0, 250.25, 1000.0])
    found = timestep_embedding(times, width)
    np.testing.assert_allclose(found.numpy(), sinusoids(times.double().numpy(), width), atol=1e-4)
    assert found.dtype == torch.float32


def test_timestep_embedding_in_double_precision_keeps_its_digits() -> None:
    times = torch.tensor([0.0, 1.0, 17.0, 250.25, 1000.0], dtype=torch.float64)
    found = timestep_embedding(times, 32)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), sinusoids(times.numpy(), 32), atol=1e-12)


def test_an_odd_embedding_is_padded_by_a_zero() -> None:
    found = timestep_embedding(torch.tensor([5.0]), 7)
    assert found.shape == (1, 7)
    assert torch.equal(found[:, :6], timestep_embedding(torch.tensor([5.0]), 6))
    assert float(found[0, 6]) == 0.0


def test_config_round_trip_through_lists() -> None:
    """JSON has no tuples."""
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in TINY.as_dict().items()}
    assert UNetConfig.from_dict(fields) == TINY


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 28, "width": 28}, r"28x28 but .* with 4 multipliers.*multiples of 8; use --multipliers 1,2,2$"),
        ({"height": 32, "width": 20}, r"32x20 .*multiples of 8; use --multipliers 1,2,2$"),
        ({"height": 7, "width": 7}, r"7x7 .*use --multipliers 1$"),
        ({"attention": (16, 5)}, r"attention was asked for at \[5\].*\[32, 16, 8, 4\]"),
        ({"heads": 3}, r"256 channels cannot be split into 3 attention heads"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), found 1.0"),
        ({"dropout": -0.1}, r"dropout must be in"),
        ({"multipliers": ()}, r"at least 1"),
        ({"blocks": 0}, r"at least 1"),
        ({"channels": 0}, r"at least 1"),
        ({"classes": 1}, r"^a network that knows classes needs at least 2 of them, found 1$"),
        ({"classes": -1}, r"at least 2 of them, found -1$"),
    ],
    ids=str,
)
def test_refusals(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        UNetConfig(**{"image_channels": 3, "height": 32, "width": 32, **fields})


def test_what_attention_reads_has_the_strides_of_its_shape() -> None:
    """Also of one image with one head and one pixel, where every layout counts as contiguous; CUDA refuses others."""
    told: list[tuple[int, ...]] = []

    def hear(*qkv: torch.Tensor) -> torch.Tensor:
        told.extend(one.stride() for one in qkv)
        return qkv[2]

    block = Attention(16, heads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffcov.nets.blocks.F.scaled_dot_product_attention", hear)
        block(torch.randn(1, 16, 1, 1), torch.zeros(1, 4))
    assert told == [(16, 16, 16, 1)] * 3
