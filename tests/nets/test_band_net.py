"""The band network: what it reads of the features, and how its few amplitudes become a map over cosines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.basis import cosine
from diffcov.nets.band_net import BANDS, BandNet
from diffcov.nets.features import Features
from diffcov.nets.variance_head import parameter_count

FLOAT32 = 1e-6
"""A few float32 operations on numbers near 1."""
POOLED = 2e-5
"""Means over pixels in another order, then two layers."""

WIDTH, EMBEDDING = 12, 5
SHAPES = [(1, 8, 8), (2, 6, 10), (3, 16, 8), (4, 5, 7), (3, 1, 1)]


def features(height: int = 6, width: int = 10, seed: int = 0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    return Features(torch.randn(3, WIDTH, height, width, generator=draw), torch.randn(3, EMBEDDING, generator=draw))


def network(shape: tuple[int, int, int]) -> BandNet:
    """With random weights throughout."""
    torch.manual_seed(1)
    net = BandNet(WIDTH, EMBEDDING, shape)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.4)
    return net


def last(net: BandNet) -> nn.Linear:
    found = net.layers[-1]
    assert isinstance(found, nn.Linear)
    return found


def saying(shape: tuple[int, int, int], amplitudes: Tensor) -> Tensor:
    """(C, H, W), the map of a network that says these amplitudes (groups, BANDS) whatever it sees."""
    net = BandNet(WIDTH, EMBEDDING, shape)
    with torch.no_grad():
        last(net).bias.copy_(amplitudes.flatten())
    out: Tensor = net(features(*shape[1:])).detach()
    assert torch.equal(out[0], out[1])
    return out[0]


def groups(shape: tuple[int, int, int]) -> int:
    return min(shape[0], 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sizes(shape: tuple[int, int, int]) -> None:
    """8 amplitudes for grey, and 8 more that all other colours share."""
    net = BandNet(WIDTH, EMBEDDING, shape)
    out = net(features(*shape[1:]))
    assert out.shape == (3, *shape)
    assert out.dtype == torch.float32
    assert last(net).out_features == BANDS * groups(shape)


def test_its_size_does_not_depend_on_the_image_s() -> None:
    """And nothing that follows from the image's shape alone is saved."""
    small, large = (BandNet(WIDTH, EMBEDDING, (3, n, n)) for n in (8, 64))
    assert parameter_count(small) == parameter_count(large)
    assert {k: v.shape for k, v in small.state_dict().items()} == {k: v.shape for k, v in large.state_dict().items()}
    assert set(small.state_dict()) == {name for name, _ in small.named_parameters()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_amplitudes_are_a_flat_map(shape: tuple[int, int, int]) -> None:
    """The weights of each coefficient sum to 1: nothing is louder for lying between two bands."""
    out = saying(shape, torch.full((groups(shape), BANDS), 0.7))
    torch.testing.assert_close(out, torch.full(shape, 0.7), rtol=FLOAT32, atol=0.0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_amplitudes_are_interpolated_over_log_frequency(shape: tuple[int, int, int]) -> None:
    """Straight between 8 places evenly spaced in log(1 + radius), radius in half periods along the longer side."""
    _, height, width = shape
    amplitudes = torch.randn(groups(shape), BANDS, generator=torch.Generator().manual_seed(4))
    out = saying(shape, amplitudes)
    longest = max(height, width)
    for c, u, v in itertools.product(range(shape[0]), range(height), range(width)):
        radius = np.hypot(u * longest / height, v * longest / width)
        largest = np.hypot((height - 1) * longest / height, (width - 1) * longest / width)
        place = np.log1p(radius) / np.log1p(largest) * (BANDS - 1) if largest else 0.0
        expected = np.interp(place, np.arange(BANDS), amplitudes[min(c, 1)].numpy())
        assert float(out[c, u, v]) == pytest.approx(expected, abs=5e-6), (c, u, v)


def test_the_map_is_continuous() -> None:
    """Neighbouring frequencies differ by no more than their distance times the steepest rise between two bands."""
    amplitudes = torch.randn(1, BANDS, generator=torch.Generator().manual_seed(5))
    out = saying((1, 64, 64), amplitudes)[0].double().numpy()
    steepest = float(amplitudes.diff().abs().max())
    radius = np.hypot(*np.meshgrid(np.arange(64), np.arange(64), indexing="ij"))
    place = np.log1p(radius) / np.log1p(radius.max()) * (BANDS - 1)
    for axis in (0, 1):
        assert (np.abs(np.diff(out, axis=axis)) <= steepest * np.abs(np.diff(place, axis=axis)) + 1e-6).all()
    assert len(np.unique(out.round(6))) > 1000, "it is no staircase"


def test_the_first_band_is_the_mean_s_and_the_last_reaches_the_highest_frequency() -> None:
    only = torch.eye(BANDS)
    first, highest = saying((1, 8, 8), only[:1]), saying((1, 8, 8), only[-1:])
    assert float(first[0, 0, 0]) == 1
    assert float(first[0, 0, 1]) < 1
    assert float(highest[0, 7, 7]) == pytest.approx(1, abs=FLOAT32)
    assert float(highest[0].flatten()[:-1].max()) < 1
    assert float(highest[0, 0, 0]) == 0


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_grey_and_the_other_colours_move_apart(channels: int) -> None:
    """Band for band: grey's amplitudes touch the first axis only, the others' all the rest alike."""
    zero, some = torch.zeros(BANDS), torch.linspace(-1, 2, BANDS)
    grey = saying((channels, 8, 8), torch.stack([some, zero]))
    assert bool(grey[0].any())
    assert not bool(grey[1:].any())
    colour = saying((channels, 8, 8), torch.stack([zero, some]))
    assert not bool(colour[0].any())
    assert all(torch.equal(colour[c], grey[0]) for c in range(1, channels))


def test_grey_is_the_first_axis_of_the_basis() -> None:
    """The first row of the colour rotation that goes with it is the mean of the channels."""
    image = torch.ones(3, 4, 4, dtype=torch.float64) * torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    seen = cosine(3, 4, 4).forward(image)
    torch.testing.assert_close(seen[1:], torch.zeros_like(seen[1:]), rtol=0, atol=1e-12)
    assert bool((seen[0].abs() > 1e-6).all())


# --- what it reads


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pixels_may_trade_places(shape: tuple[int, int, int]) -> None:
    """Only means over the image are read; that is why the map can be as large as the image likes."""
    net, given = network(shape), features(*shape[1:])
    order = torch.randperm(shape[1] * shape[2], generator=torch.Generator().manual_seed(2))
    shuffled = given.activations.flatten(2)[:, :, order].reshape_as(given.activations)
    torch.testing.assert_close(net(Features(shuffled, given.embedding)), net(given), rtol=POOLED, atol=POOLED)


def test_mean_power_and_time_each_enter() -> None:
    """Features of another mean but the same power, of another power but the same mean, of another time."""
    net, given = network((1, 6, 10)), features()
    before = net(given)
    mean = given.activations.mean((2, 3), keepdim=True)
    turned = {
        "mean": Features(given.activations - 2 * mean, given.embedding),
        "power": Features(mean + 3 * (given.activations - mean), given.embedding),
        "time": Features(given.activations, given.embedding + 1),
    }
    power = [turned["mean"].activations.square().mean((2, 3)), given.activations.square().mean((2, 3))]
    torch.testing.assert_close(*power, rtol=1e-4, atol=1e-5)
    for what, others in turned.items():
        assert float((net(others) - before).detach().abs().min()) > 1e-4, what


def test_images_do_not_see_one_another() -> None:
    net, given = network((3, 6, 10)), features()
    for i in range(3):
        one = Features(given.activations[i : i + 1], given.embedding[i : i + 1])
        torch.testing.assert_close(net(one)[0], net(given)[i], rtol=POOLED, atol=POOLED)


def test_features_of_no_power_are_no_trouble() -> None:
    """The logarithm of a mean square of zero."""
    net = network((1, 6, 10))
    given = Features(torch.zeros(3, WIDTH, 6, 10, requires_grad=True), features().embedding)
    out = net(given)
    (slope,) = torch.autograd.grad(out.sum(), given.activations)
    assert bool(torch.isfinite(out).all())
    assert bool(torch.isfinite(slope).all())


def test_by_hand() -> None:
    """Norm of (means, logarithms of mean squares), then the time beside them; amplitudes by plain matrix products."""
    net, given = network((3, 6, 10)), features()
    power = given.activations.square().mean((2, 3)).log()
    pooled = F.layer_norm(torch.cat([given.activations.mean((2, 3)), power], 1), [2 * WIDTH], *net.norm.parameters())
    first, second, third = (layer for layer in net.layers if isinstance(layer, nn.Linear))
    h = F.silu(torch.cat([pooled, given.embedding], 1) @ first.weight.T + first.bias)
    amplitudes = F.silu(h @ second.weight.T + second.bias) @ third.weight.T + third.bias
    for i in range(3):
        expected = saying((3, 6, 10), amplitudes[i].detach())
        torch.testing.assert_close(net(given)[i].detach(), expected, rtol=1e-4, atol=1e-4)
