"""What ``ocm`` regresses is Var[eps | x_t] in every world whose mean is perfect, and is the published quantity."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.covariance import registry
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.covariance.ocm import OCM
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.curvature import look_with_curvature
from diffcov.engines.training.head_fit import head_covariance
from diffcov.engines.training.losses import LOSSES
from diffcov.nets.features import Features
from oracles.diagonal import DiagonalWorld
from oracles.gaussian import GaussianWorld
from oracles.mixture import MixtureWorld
from oracles.trunks import perfect_model

FLOAT32 = 1e-6
"""Absolute, in units of eps^2: targets are 1 minus a number near 1, in float32."""
FLOAT64 = 1e-9
"""Absolute, in units of eps^2: second derivatives of a logarithm of sums of exponentials."""

SCHEDULE = NoiseSchedule.linear(1000)
TIMES = torch.tensor([1, 20, 100, 300, 500, 800, 1000])
SHAPE = (3, 4, 5)
NOTHING = Ingredients(SCHEDULE, DataDescription(*SHAPE))


def some_signs(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(9)) * 2.0 - 1


def target(model: MeanModel, x_t: Tensor, t: Tensor, signs: Tensor) -> Tensor:
    """What a head is shown, through the real pass."""
    look, curvature = look_with_curvature(model, x_t, t, signs)
    nothing = torch.full_like(x_t, torch.nan)
    found = OCM.head_target(Noised(model.schedule, nothing, nothing, look, curvature=curvature), NOTHING)
    assert found.dtype == torch.float32
    return found


@pytest.mark.parametrize("var", [0.01, 0.25, 1.0])
def test_in_the_gaussian_world_every_target_is_the_variance(var: float) -> None:
    """1 - sqrt(bbar) d eps_hat / d x_t = abar v / (abar v + bbar), for every x_t and all signs: there is no noise."""
    world = GaussianWorld(SCHEDULE, mean=0.3, var=var)
    model = perfect_model(world, DataDescription(*SHAPE)).freeze()
    draw = torch.Generator().manual_seed(0)
    x_t = 3 * torch.randn(len(TIMES), *SHAPE, generator=draw)
    truth = torch.tensor([world.var_eps(int(t)) for t in TIMES])[:, None, None, None].expand_as(x_t)
    torch.testing.assert_close(target(model, x_t, TIMES, some_signs(x_t.shape)), truth, rtol=0, atol=FLOAT32)


def test_in_the_mixture_world_every_target_is_the_variance_at_its_x_t() -> None:
    """Independent pixels again, but the variance depends on x_t: between the modes it more than doubles."""
    world = MixtureWorld(SCHEDULE)
    model = perfect_model(world, DataDescription(1, 1, 61)).freeze()
    x_t = torch.linspace(-1.5, 1.5, 61).expand(len(TIMES), 1, 1, 61).contiguous()
    truth = torch.stack([world.var_eps(x.double(), int(t)) for x, t in zip(x_t, TIMES, strict=True)])
    found = target(model, x_t, TIMES, some_signs(x_t.shape)).double()
    # Of x_t in float32: where it is divided by a std of sqrt(bbar_1) = 0.01 its rounding is felt.
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=10 * FLOAT32)
    assert float(truth[3].max() / truth[3].min()) > 2


def test_where_pixels_depend_on_each_other_the_mean_over_signs_is_each_pixel_s_variance() -> None:
    """diag(Cov[eps | x_t]) of a world that is diagonal in cosines; one sign vector alone says something else."""
    draw = torch.Generator().manual_seed(1)
    world = DiagonalWorld(SCHEDULE, torch.rand(1, 2, 3, generator=draw, dtype=torch.float64) + 0.01, cosine(1, 2, 3))
    model = perfect_model(world, DataDescription(1, 2, 3)).freeze()
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6))).reshape(64, 1, 2, 3)
    for t in (100, 500):
        x_t = torch.randn(1, 1, 2, 3, generator=draw).expand(64, 1, 2, 3)
        found = target(model, x_t, torch.full((64,), t), signs)
        truth = world.cov_eps(t).diagonal().reshape(1, 2, 3)
        torch.testing.assert_close(found.mean(0).double(), truth, rtol=0, atol=FLOAT32)
        assert float(found.std(0).min()) > 1e-3
        assert float(truth.max() / truth.min()) > 1.01


def test_it_is_the_published_regression() -> None:
    """bbar_t v * (H v), H the Hessian of log q(x_t): here from the density itself, never through eps_hat.

    arXiv 2406.10808 regresses it by squared error with a head h of its own and then says r (1 + h); our head is 1 + h.
    """
    world = MixtureWorld(SCHEDULE)
    draw = torch.Generator().manual_seed(2)
    x_0 = world.sample((len(TIMES), 2, 3, 4), draw)
    eps = torch.randn(x_0.shape, generator=draw, dtype=torch.float64)
    x_t = q_sample(SCHEDULE, x_0, TIMES, eps).requires_grad_(True)
    log_q = sum(world.log_density(x, int(t)).sum() for x, t in zip(x_t, TIMES, strict=True))
    signs = some_signs(x_t.shape).double()
    (score,) = torch.autograd.grad(log_q, x_t, create_graph=True)
    (Hv,) = torch.autograd.grad((score * signs).sum(), x_t)
    published = SCHEDULE.beta_bar[TIMES][:, None, None, None] * signs * Hv

    (along,) = torch.autograd.grad(
        sum((world.eps_hat(x, int(t)) * v).sum() for x, t, v in zip(x_t, TIMES, signs, strict=True)), x_t
    )
    x_t = x_t.detach()
    look = Look(x_t, TIMES, x_t, x_t, x_t, Features(x_t, x_t))
    found = OCM.head_target(Noised(SCHEDULE, x_0, eps, look, curvature=signs * along), NOTHING)
    torch.testing.assert_close(found, 1 + published, rtol=FLOAT64, atol=FLOAT64)

    h = torch.randn(x_t.shape, generator=draw, dtype=torch.float64)
    squared = LOSSES["squared"].value(1 + h, found)
    torch.testing.assert_close(squared, (h - published).square(), rtol=1e-6, atol=FLOAT64)
    for i, t in enumerate(TIMES.tolist()):
        head = (1 + h[i : i + 1]).float()
        fitted = FittedHead(lambda features, times, head=head: head)
        says = OCM(Ingredients.of(SCHEDULE, NOTHING.data, fitted)).unbounded(look.rows(slice(i, i + 1), t))
        torch.testing.assert_close(says.var.double(), float(SCHEDULE.ratio[t]) * head.double(), rtol=1e-6, atol=0.0)


def test_its_start_is_right_on_average_for_a_perfect_mean() -> None:
    """E[1 - sqrt(bbar) v * (J v)] = E[(eps - eps_hat)^2], what the table holds."""
    world = GaussianWorld(SCHEDULE, mean=0.0, var=0.2)
    start = OCM.start(SCHEDULE, Ingredients.of(SCHEDULE, NOTHING.data, world.table()))
    truth = torch.tensor([world.var_eps(t) for t in range(1, 1001)], dtype=torch.float64)
    torch.testing.assert_close(start[1:], truth, rtol=FLOAT64, atol=0.0)


def test_only_ocm_asks_for_the_curvature() -> None:
    """It costs a Jacobian product a step, which a fit of other kinds does not pay."""
    assert [name for name in registry.heads() if head_covariance(name).needs_curvature] == ["ocm"]
