"""v * (J^T v): equal to the explicit Jacobian's, right on average, and beside the very look of the model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.guided import Guided
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.scaled import Scaled
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.curvature import look_with_curvature
from diffcov.nets.features import Features
from oracles.attentive import attentive_model

FLOAT32 = 1e-4
"""Of the largest entry: two float32 passes through a network of two dozen layers, summed in other orders."""
SAME_PASS = 5e-6
"""Of the largest entry: batches of another size add the same float32 numbers in another order."""
BFLOAT16 = 0.05
"""Of the largest entry: 8 bits of mantissa, through two dozen layers."""

SHAPES = [(1, 8, 8), (3, 4, 4)]


def given(shape: tuple[int, int, int], batch: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """(x_t, times that differ, signs)."""
    draw = torch.Generator().manual_seed(1)
    x_t = torch.randn(batch, *shape, generator=draw)
    signs = torch.randint(0, 2, (batch, *shape), generator=draw) * 2.0 - 1
    return x_t, torch.linspace(1, 50, batch).long(), signs


def jacobian(model: MeanModel, x_t: Tensor, t: Tensor) -> Tensor:
    """(B, d, d) d eps_hat / d x_t of each image, row by row through the backward pass."""

    def of_one(x: Tensor, time: Tensor) -> Tensor:
        found = torch.autograd.functional.jacobian(lambda z: model.look(z[None], time[None]).eps_hat[0], x)
        return found.reshape(x.numel(), x.numel())

    return torch.stack([of_one(x, time) for x, time in zip(x_t, t, strict=True)])


def product(signs: Tensor, matrix: Tensor) -> Tensor:
    """v * (M v), image by image."""
    v = signs.flatten(1)
    return (v * torch.einsum("bij,bj->bi", matrix, v)).reshape(signs.shape)


def agree(found: Tensor, truth: Tensor, tolerance: float) -> None:
    assert found.dtype == truth.dtype == torch.float32
    torch.testing.assert_close(found, truth, rtol=0, atol=tolerance * float(truth.abs().max()))


# --- trunks with operations of other people, which only know how to go backward


class SquareOfOldStyle(torch.autograd.Function):
    """x^2 as checkpointing and fused layers are usually written: forward takes the context."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class SquareOfNewStyle(torch.autograd.Function):
    """x^2 with a separate ``setup_context``, but no ``jvp``."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


SQUARES: dict[str, Callable[[Tensor], Tensor]] = {
    "torch's own": torch.square,
    "old style function": SquareOfOldStyle.apply,
    "new style function": SquareOfNewStyle.apply,
}


class Squared(nn.Module):
    """Another trunk, on the square of its input."""

    def __init__(self, trunk: nn.Module, square: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.trunk, self.square = trunk, square
        self.feature_channels, self.embedding_width = trunk.feature_channels, trunk.embedding_width

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        out: tuple[Tensor, Features] = self.trunk(self.square(x), times)
        return out


def squared_model(square: Callable[[Tensor], Tensor], shape: tuple[int, int, int] = (1, 8, 8)) -> MeanModel:
    model = attentive_model(shape)
    return MeanModel(Squared(model.network, square), model.reading).freeze()


# --- against the explicit Jacobian


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_explicit_jacobian(shape: tuple[int, int, int]) -> None:
    """v_i (J^T v)_i for each image at its own time; J is not symmetric, so that J would be seen."""
    model, (x_t, t, signs) = attentive_model(shape), given(shape)
    J = jacobian(model, x_t, t)
    _, found = look_with_curvature(model, x_t, t, signs)
    agree(found, product(signs, J.transpose(1, 2)), FLOAT32)
    other = product(signs, J)
    assert float((other - found).abs().max()) > 0.1 * float(found.abs().max())


@pytest.mark.parametrize("square", SQUARES)
def test_the_mean_over_all_signs_is_the_diagonal(square: str) -> None:
    """All 16 sign vectors of a 2x2 image: what is off the diagonal cancels exactly, whoever wrote the operations."""
    model = squared_model(SQUARES[square], (1, 2, 2))
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4))).reshape(16, 1, 2, 2)
    for t in (1, 25, 50):
        x_t = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(t))
        times = torch.full((16,), t)
        J = jacobian(squared_model(torch.square, (1, 2, 2)), x_t, times[:1])[0]
        _, found = look_with_curvature(model, x_t.expand(16, 1, 2, 2), times, signs)
        agree(found.mean(0).flatten(), J.diagonal(), FLOAT32)
        assert float(found.std(0).min()) > 0.01 * float(J.diagonal().abs().max()), "single signs do differ"


def test_the_mean_over_many_signs_approaches_the_diagonal() -> None:
    """Of an image too large for all signs: the distance is what the variance, sum over j != i of J_ji^2 / N, says."""
    model, many = attentive_model((3, 4, 4)), 3000
    x_t, t, _ = given((3, 4, 4), 1)
    J = jacobian(model, x_t, t)[0]
    signs = torch.randint(0, 2, (many, 3, 4, 4), generator=torch.Generator().manual_seed(3)) * 2.0 - 1
    found = [look_with_curvature(model, x_t.expand_as(part), t.expand(len(part)), part)[1] for part in signs.split(500)]
    off = torch.cat(found).mean(0).flatten() - J.diagonal()
    std = ((J.square().sum(0) - J.diagonal().square()) / many).sqrt()
    z = off / std
    assert float(z.abs().max()) < 5
    assert 0.5 < float(z.square().mean()) < 1.7, "48 squared standard normals, dependent"


# --- the look beside it


def parts(look: Look) -> tuple[Tensor, ...]:
    """All that it says of an image."""
    return look.x_t, look.x0_hat, look.eps_hat, look.predicted, *look.features


@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_look_is_the_model_s_bit_for_bit(precision: torch.dtype | None) -> None:
    """So that a head sees the same features beside one that needs the curvature and alone; fused attention included."""
    model, (x_t, t, signs) = attentive_model((1, 8, 8), precision), given((1, 8, 8))
    found, _ = look_with_curvature(model, x_t, t, signs)
    with torch.no_grad():
        expected = model.look(x_t, t)
    assert isinstance(found, Look)
    assert isinstance(found.features, Features)
    assert found.t is t
    assert (found.learned, found.consistent) == (None, True)
    for mine, theirs in zip(parts(found), parts(expected), strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs)


def test_signs_do_not_enter_the_look() -> None:
    model, (x_t, t, signs) = attentive_model((1, 8, 8)), given((1, 8, 8))
    (one, up), (other, down) = (look_with_curvature(model, x_t, t, s) for s in (signs, signs.flip(0)))
    assert torch.equal(one.eps_hat, other.eps_hat)
    assert not torch.equal(up, down)


def test_opposite_signs_see_the_same() -> None:
    """(-v) * (J^T (-v)) = v * (J^T v), to the bit: only signs change on the way."""
    model, (x_t, t, signs) = attentive_model((1, 8, 8)), given((1, 8, 8))
    assert torch.equal(*(look_with_curvature(model, x_t, t, s)[1] for s in (signs, -signs)))


def test_an_image_does_not_see_its_neighbours() -> None:
    """What a batch says of an image is what the image says alone."""
    model, (x_t, t, signs) = attentive_model((3, 4, 4)), given((3, 4, 4))
    look, together = look_with_curvature(model, x_t, t, signs)
    for i in range(len(x_t)):
        one = slice(i, i + 1)
        alone, curvature = look_with_curvature(model, x_t[one], t[one], signs[one])
        agree(curvature, together[one], FLOAT32)
        agree(alone.eps_hat, look.eps_hat[one], SAME_PASS)


def test_one_pass() -> None:
    """The network is run once, for look and curvature together."""
    model, (x_t, t, signs) = attentive_model((1, 8, 8)), given((1, 8, 8))
    look_with_curvature(model, x_t, t, signs)
    assert model.network.batches == [5]


# --- graphs, modes and precision


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "not frozen"])
def test_nothing_has_a_graph(frozen: bool) -> None:
    """Neither results nor inputs nor weights: no memory is held on to, and no gradient is left anywhere."""
    model, (x_t, t, signs) = attentive_model((1, 8, 8)), given((1, 8, 8))
    model.requires_grad_(not frozen)
    look, curvature = look_with_curvature(model, x_t, t, signs)
    for out in (*parts(look), curvature):
        assert out.grad_fn is None
        assert not out.requires_grad
    assert not x_t.requires_grad
    assert x_t.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


CONTEXTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("square", SQUARES)
def test_the_surrounding_mode_does_not_matter(context: str, square: str) -> None:
    """Nor whether the images were made in it."""
    model, (x_t, t, signs) = squared_model(SQUARES[square]), given((1, 8, 8))
    look, expected = look_with_curvature(model, x_t, t, signs)
    before = torch.is_grad_enabled()
    with CONTEXTS[context]():
        for inputs in ((x_t, t, signs), (x_t.clone(), t.clone(), signs.clone())):
            inside, found = look_with_curvature(model, *inputs)
            assert torch.equal(inside.eps_hat, look.eps_hat)
            assert torch.equal(found, expected)
    assert float(expected.abs().max()) > 0
    assert torch.is_grad_enabled() == before


def test_half_precision_inside() -> None:
    """autocast bf16: single precision comes out, near what single precision inside gives."""
    half, single = attentive_model((1, 8, 8), torch.bfloat16), attentive_model((1, 8, 8))
    x_t, t, signs = given((1, 8, 8))
    _, found = look_with_curvature(half, x_t, t, signs)
    _, expected = look_with_curvature(single, x_t, t, signs)
    agree(found, expected, BFLOAT16)
    assert not torch.equal(found, expected), "it was half inside"


def test_a_genuine_fault_of_the_network_is_not_hidden() -> None:
    """It reaches the caller as it is."""

    def broken(x: Tensor) -> Tensor:
        return x @ torch.ones(3, 3)

    model, (x_t, t, signs) = squared_model(broken), given((1, 8, 8))
    with pytest.raises(RuntimeError, match=r"must match|cannot be multiplied"):
        look_with_curvature(model, x_t, t, signs)


class Linear(nn.Module):
    """eps_hat = M x, on images of d values."""

    feature_channels, embedding_width = 1, 1

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        return (x.flatten(1) @ self.matrix.T).reshape(x.shape), Features(x[:, :1], times[:, None])


def test_a_linear_network_by_hand() -> None:
    """eps_hat = M x: v * (M^T v), whatever x is; whole numbers, so to the bit."""
    matrix = torch.tensor([[1.0, 40.0, 700.0], [2.0, 50.0, 800.0], [3.0, 60.0, 900.0]])
    data = DataDescription(1, 1, 3)
    model = MeanModel(Linear(matrix), Reading(NoiseSchedule.linear(50), data, TimeConvention())).freeze()
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]).reshape(2, 1, 1, 3)
    x_t = torch.tensor([[5.0, 6.0, 7.0], [0.0, 0.0, 0.0]]).reshape(2, 1, 1, 3)
    look, found = look_with_curvature(model, x_t, torch.tensor([3, 9]), signs)
    assert found.flatten(1).tolist() == [
        [1 - 2 + 3, -40 + 50 - 60, 700 - 800 + 900],
        [1 + 2 - 3, 40 + 50 - 60, -700 - 800 + 900],
    ]
    assert look.eps_hat[0].flatten().tolist() == [5 + 240 + 4900.0, 10 + 300 + 5600.0, 15 + 360 + 6300.0]


# --- other readings and other views of the network


MATRIX = torch.tensor([[1.0, 0.4, 0.7], [0.2, 0.5, 0.8], [0.3, 0.6, 0.9]])
SIGNS = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]).reshape(3, 1, 1, 3)
ROUNDING = 1e-6
"""Relative: a handful of float32 operations."""


class ByClass(Linear):
    """eps_hat = M x (1 + label), labels -1 counted as 0; a second half of channels that it claims to have learned."""

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Features]:
        out, features = super().forward(x, times)
        if labels is not None:
            out = out * (1 + labels.clamp(min=0))[:, None, None, None]
        return torch.cat([out, 3 * out], 1), features


def three(reading: Reading, network: type[Linear] = Linear) -> MeanModel:
    return MeanModel(network(MATRIX), reading).freeze()


def reading_of(predicts: str = "eps", classes: int = 0) -> Reading:
    return Reading(NoiseSchedule.linear(50), DataDescription(1, 1, 3), TimeConvention(), predicts, classes)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_the_jacobian_is_that_of_eps_hat_whatever_the_network_predicts(predicts: str) -> None:
    """Of an output M x: M, b + a M where that is v, and (1 - a M) / b where it is x_0."""
    model, times = three(reading_of(predicts)), torch.tensor([3, 25, 50])
    x_t = torch.randn(3, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    look, found = look_with_curvature(model, x_t, times, SIGNS)
    level = Level.at(model.schedule, times, x_t)
    a, b, one = torch.as_tensor(level.signal)[:, 0], torch.as_tensor(level.noise)[:, 0], torch.eye(3)
    J = {"eps": MATRIX.expand(3, 3, 3), "v": b * one + a * MATRIX, "x0": (one - a * MATRIX) / b}[predicts]
    torch.testing.assert_close(found, product(SIGNS, J.transpose(1, 2)), rtol=ROUNDING, atol=ROUNDING)
    eps_hat = torch.einsum("bij,bj->bi", J, x_t.flatten(1)).reshape(x_t.shape)
    torch.testing.assert_close(look.eps_hat, eps_hat, rtol=ROUNDING, atol=10 * ROUNDING)


def test_a_scale_divides_the_jacobian_too() -> None:
    model, times = three(reading_of()), torch.tensor([3, 25, 50])
    x_t = torch.randn(3, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    _, plain = look_with_curvature(model, x_t, times, SIGNS)
    _, found = look_with_curvature(Scaled(model, 1.25), x_t, times, SIGNS)
    torch.testing.assert_close(found, plain / 1.25, rtol=ROUNDING, atol=0)


def test_labels_reach_the_network_and_guidance_mixes_both_jacobians() -> None:
    """Of (1 + label) M: the label's own with it, M without; guided by W, their mixture."""
    model, times, labels = three(reading_of(classes=3), ByClass), torch.tensor([3, 25, 50]), torch.tensor([0, 1, 2])
    x_t = torch.randn(3, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    bare = product(SIGNS, MATRIX.T.expand(3, 3, 3))
    factor = (1 + labels)[:, None, None, None]
    for denoiser, cond, expected in (
        (model, labels, factor * bare),
        (model, None, bare),
        (Guided(model, 3.0), labels, (1 + 3 * (factor - 1)) * bare),
    ):
        _, found = look_with_curvature(denoiser, x_t, times, SIGNS, cond)
        torch.testing.assert_close(found, expected, rtol=ROUNDING, atol=ROUNDING)


def test_a_learned_half_is_handed_on_without_a_graph() -> None:
    model = three(reading_of(classes=3), ByClass)
    x_t = torch.randn(3, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    look, _ = look_with_curvature(model, x_t, torch.tensor([3, 25, 50]), SIGNS)
    assert look.learned is not None
    assert torch.equal(look.learned, 3 * look.eps_hat)
    assert look.learned.grad_fn is None
    assert not look.learned.requires_grad
