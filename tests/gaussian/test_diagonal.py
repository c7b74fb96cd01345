"""A Gaussian that is diagonal in a basis: its clip, its lift, its draws, and its divergences against dense matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from diffcov.basis import PIXEL, Basis, Dense, cosine
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.gaussian import Diagonal
from oracles.correlated import correlated, world_of

EXACT = 1e-9
SHAPE, D = (2, 3, 4), 24
LINEAR = NoiseSchedule.linear(1000)
COLOUR = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
BASES: dict[str, Basis] = {
    "pixel": PIXEL,
    "cosine": cosine(*SHAPE, COLOUR),
    "dense": world_of(correlated(SHAPE), SHAPE, LINEAR).basis,
}


def variances(*leading: int, seed: int = 0) -> Tensor:
    """(*leading, C, H, W), from 0.01 to 1.01."""
    return torch.rand(*leading, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01


def errors(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def matrix_of(basis: Basis) -> Tensor:
    """U (d, d), over flattened images."""
    return basis.forward(torch.eye(D, dtype=torch.float64).reshape(-1, *SHAPE)).flatten(1).T


def covariance_of(given: Diagonal) -> Tensor:
    """U^T diag(var) U (d, d) of one image."""
    U = matrix_of(given.basis)
    return U.T @ (given.var.expand(SHAPE).flatten()[:, None] * U)


# --- the clip


def test_clip_is_elementwise() -> None:
    wild = torch.tensor([-1e9, -1e-9, 0.0, 0.2, 0.5, 1e9, math.inf, -math.inf], dtype=torch.float64)
    assert Diagonal(PIXEL, wild).clipped(0.3).var.tolist() == [0, 0, 0, 0.2, 0.3, 0.3, 0.3, 0]
    assert Diagonal(PIXEL, wild).clipped(0.25).var.tolist() == [0, 0, 0, 0.2, 0.25, 0.25, 0.25, 0]


class Uneven(Dense):
    """Three coefficients, each with a reach of its own."""

    def largest_variance(self, var_pixel: float) -> Tensor:
        return var_pixel * torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)


def test_clip_to_a_bound_a_coefficient() -> None:
    wild = torch.tensor([[-1.0, 0.2, 5.0], [math.inf, -math.inf, 0.5]], dtype=torch.float32)
    uneven = Uneven(torch.eye(3, dtype=torch.float64), (1, 1, 3))
    found = Diagonal(uneven, wild).clipped(1.0).var
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[0, 0.2, 1.0], [0.1, 0, 0.5]]), rtol=1e-6, atol=0)
    assert Diagonal(uneven, torch.tensor(0.2)).clipped(1.0).var.tolist() == pytest.approx([0.1, 0.2, 0.2])


def test_a_clip_remembers_what_lay_at_the_floor() -> None:
    """A value of 0 counts, one that the ceiling cut does not; a lift is above the floor everywhere."""
    wild = Diagonal(PIXEL, torch.tensor([-1.0, 0.0, 1e-9, 0.5, 7.0, -math.inf, 2.0, math.inf], dtype=torch.float64))
    for found in (wild, wild.clipped(0.3)):
        assert found.floor_share == 3 / 8
    assert wild.clipped(0.3).lifted(Step(LINEAR, 100, 200)).floor_share == 0
    assert Diagonal(PIXEL, torch.zeros(())).floor_share == 1


# --- the lift, the cap, and draws


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_lift_is_that_of_the_whole_matrix(name: str, eta: float) -> None:
    """lambda2 I + gamma^2 Cov[x_0 | x_t], whatever the basis."""
    given, step = Diagonal(BASES[name], variances()), Step(LINEAR, 300, 500, eta)
    expected = step.lambda2 * torch.eye(D, dtype=torch.float64) + step.gamma**2 * covariance_of(given)
    torch.testing.assert_close(covariance_of(given.lifted(step)), expected, rtol=0, atol=EXACT)


def test_the_cap_holds_every_coefficient() -> None:
    given = Diagonal(BASES["cosine"], variances(3))
    found = given.capped(0.4)
    assert found.basis == given.basis
    assert torch.equal(found.var, given.var.clamp(max=0.4))
    assert float(given.var.max()) > 0.9, "and the given one is left alone"


def linear_map(draw: Callable[[Tensor], Tensor]) -> Tensor:
    """(d, d): what becomes of each unit vector of noise, a column each."""
    return draw(torch.eye(D, dtype=torch.float64).reshape(-1, *SHAPE)).flatten(1).T


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("var", [variances(), torch.tensor(0.3, dtype=torch.float64)], ids=["each", "one"])
def test_white_noise_becomes_a_draw(name: str, var: Tensor) -> None:
    """A A^T is the covariance, whichever root A is; that of noise in pixels is the symmetric one."""
    given = Diagonal(BASES[name], var)
    root, of_coefficients = linear_map(given.color), linear_map(given.color_coefficients)
    for A in (root, of_coefficients):
        torch.testing.assert_close(A @ A.T, covariance_of(given), rtol=0, atol=EXACT)
    torch.testing.assert_close(root, root.T, rtol=0, atol=EXACT)
    assert float(torch.linalg.eigvalsh(root).min()) > 0


@pytest.mark.parametrize("name", ["cosine", "dense"])
def test_the_same_noise_is_the_same_picture_in_every_basis(name: str) -> None:
    """Equal variances give equal draws, to the bit where one number says it; others stay as near as their roots are."""
    noise, one = errors(200), torch.tensor(0.3, dtype=torch.float64)
    in_pixels = Diagonal(PIXEL, one).color(noise)
    assert torch.equal(Diagonal(BASES[name], one).color(noise), in_pixels)
    torch.testing.assert_close(Diagonal(BASES[name], one.expand(SHAPE)).color(noise), in_pixels, rtol=0, atol=EXACT)
    given = Diagonal(BASES[name], variances())
    correlation = [
        float(torch.corrcoef(torch.stack([drawn.flatten(), noise.flatten()]))[0, 1])
        for drawn in (given.color(noise), given.color_coefficients(noise))
    ]
    mean_root = float(variances().sqrt().mean() / variances().mean().sqrt())
    assert correlation[0] == pytest.approx(mean_root, abs=0.02), "tr(root) / sqrt(d tr(covariance))"
    assert correlation[0] > correlation[1] + 0.3


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("var", [torch.tensor(0.3), torch.tensor(0.3, dtype=torch.float64), variances(), variances(5)])
def test_a_draw_has_the_precision_of_its_noise(name: str, var: Tensor) -> None:
    for dtype in (torch.float32, torch.float64):
        found = Diagonal(BASES[name], var).color(torch.ones(5, *SHAPE, dtype=dtype))
        assert found.dtype == dtype
        assert found.shape == (5, *SHAPE)


# --- divergences


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("scalar", [False, True])
def test_the_divergence_of_a_step_is_that_of_the_whole_matrices(name: str, scalar: bool) -> None:
    """KL between N(mean, lambda2 I) and N(mean + gamma error, the lift), by torch; relative, for it is a sum of d."""
    given = Diagonal(BASES[name], torch.tensor(0.2, dtype=torch.float64) if scalar else variances())
    assert given.is_scalar == scalar
    error = errors(3)
    for s, t in [(100, 200), (250, 500), (1, 1000)]:
        step = Step(LINEAR, s, t)
        one = torch.eye(D, dtype=torch.float64)
        q = MultivariateNormal(step.gamma * error.flatten(1), step.lambda2 * one)
        p = MultivariateNormal(torch.zeros(D, dtype=torch.float64), covariance_of(given.lifted(step)))
        found = given.kl_lifted(error, LINEAR.snr_gain(torch.tensor([s]), t))
        torch.testing.assert_close(found[0], kl_divergence(q, p), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    "var", [torch.tensor(0.2, dtype=torch.float64), variances(), variances(4), variances(4).float()]
)
def test_many_arrivals_at_once_are_each_on_its_own(name: str, var: Tensor) -> None:
    """Also where there are so many that they are taken in parts: 999 of 4 images are 96 thousand values."""
    given, error = Diagonal(BASES[name], var), errors(4)
    rho = LINEAR.snr_gain(torch.arange(1, 1000), 1000)
    found = given.kl_lifted(error, rho)
    assert found.shape == (999, 4)
    assert found.dtype == torch.float64
    for i in (0, 1, 500, 681, 682, 683, 998):
        torch.testing.assert_close(found[i], given.kl_lifted(error, rho[i : i + 1])[0], rtol=1e-12, atol=0)
    for image in range(4):
        own = Diagonal(given.basis, var[image] if var.dim() == 4 else var)
        torch.testing.assert_close(
            found[:, image], own.kl_lifted(error[image : image + 1], rho)[:, 0], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("other", BASES)
def test_seen_in_another_basis_it_has_that_one_s_variances(name: str, other: str) -> None:
    """diag(V C V^T), each image's own where they differ, and of a scalar the same everywhere."""
    V, like = matrix_of(BASES[other]), errors(3)
    var = variances(3)
    found = Diagonal(BASES[name], var.float()).seen_in(BASES[other], like)
    assert found.dtype == torch.float64
    for image in range(3):
        expected = (V @ covariance_of(Diagonal(BASES[name], var[image])) @ V.T).diagonal().reshape(SHAPE)
        torch.testing.assert_close(found[image], expected, rtol=1e-6, atol=0)
    same = Diagonal(BASES[name], variances()).seen_in(BASES[other], like)
    assert same.shape == like.shape
    assert torch.equal(same[0], same[2])
    white = Diagonal(BASES[name], torch.tensor(0.3, dtype=torch.float64)).seen_in(BASES[other], like)
    torch.testing.assert_close(white, torch.full_like(like, 0.3), rtol=1e-9, atol=0)


def test_dense_is_what_it_says() -> None:
    """Or the bases above would all be simple ones."""
    assert isinstance(BASES["dense"], Dense)
    assert float((matrix_of(BASES["dense"]).abs() > 0.01).double().mean()) > 0.5
