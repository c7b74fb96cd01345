"""A network in float64: everything around it is in float64 too, and says what it says in float32 but for rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import explicit
from diffcov.engines.forward import look_along, measure
from diffcov.engines.meters.calibration import CalibrationMeter
from diffcov.engines.meters.decomposition import DecompositionMeter
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw, sample
from diffcov.engines.sweep import estimate
from diffcov.noise import ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.base import Statistic
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.tiny import DATA, takes_both_signs, tiny_covariance, tiny_examples, tiny_model

T = 50
GRID = explicit(T, (2, 9, 17, 30))
"""Ends where x0_hat is divided by sqrt(alpha_bar) = 0.6 and float32 loses little."""
CLIPPED = View(clip_x0=True)
ROUNDING = 2e-5
"""Relative to the largest value: some dozens of float32 operations of values of order 1."""


@pytest.fixture(scope="module")
def single() -> MeanModel:
    return tiny_model(T)


@pytest.fixture(scope="module")
def double(single: MeanModel) -> MeanModel:
    """The same weights in float64."""
    return copy.deepcopy(single).double().freeze()


def agree(found: Tensor, expected: Tensor) -> None:
    """But for rounding, of which there is some."""
    assert found.dtype == torch.float64
    assert not torch.equal(found, expected.double())
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=ROUNDING * float(expected.abs().max()))


def images(model: MeanModel, name: str, solver: Solver, view: View = CLIPPED) -> Tensor:
    chosen = Sampler(through(model, view), tiny_covariance(name, model), solver, GRID, cap_levels=2.0)
    return sample(chosen, ImageNoise(0, range(4), DATA.shape, dtype=model.work_dtype))


def test_it_knows_its_precision(single: MeanModel, double: MeanModel) -> None:
    assert (single.precision, single.work_dtype) == ("fp32", torch.float32)
    assert (double.precision, double.work_dtype) == ("fp64", torch.float64)
    assert through(double, CLIPPED).work_dtype == torch.float64


def test_what_it_is_given_and_what_it_says_is_float64(double: MeanModel) -> None:
    given: list[torch.dtype] = []
    hook = double.network.trunk.register_forward_pre_hook(lambda module, args: given.extend(x.dtype for x in args))
    look = double.look(ImageNoise(0, range(2), DATA.shape, dtype=torch.float64).draw(), 9)
    hook.remove()
    assert given == [torch.float64] * 2, "the noisy images and the times"
    assert look.eps_hat.dtype == look.x0_hat.dtype == torch.float64
    assert look.features.activations.dtype == look.features.embedding.dtype == torch.float64


# --- sampling


SOLVERS = (DDPM(), DDIM())
PAIRS = [
    (name, solver) for name in registry.COVARIANCES for solver in SOLVERS
    if solver.eta == 1 or not registry.load(name).of_ddpm
]  # fmt: skip


@pytest.mark.parametrize(("name", "solver"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_samples_are_float64_and_those_of_float32_but_for_rounding(
    single: MeanModel, double: MeanModel, name: str, solver: Solver
) -> None:
    """With every covariance; a head stays in float32, as it was fitted."""
    found, expected = (images(model, name, solver, View()) for model in (double, single))
    assert expected.dtype == torch.float32
    agree(found, expected)


def test_generate_works_in_float64_unasked(double: MeanModel) -> None:
    chosen = Sampler(through(double, CLIPPED), tiny_covariance("corrected", double), DDPM(), GRID, cap_levels=2.0)
    told: list[torch.dtype] = []
    hook = double.network.trunk.register_forward_pre_hook(lambda module, args: told.append(args[0].dtype))
    found = draw(chosen, 4)
    hook.remove()
    assert set(told) == {torch.float64}
    assert torch.equal(found, DATA.decode(images(double, "corrected", DDPM())))


def test_a_head_in_float64_is_a_head_in_float64(double: MeanModel) -> None:
    covariance = tiny_covariance("npr", double)
    x_t = ImageNoise(0, range(2), DATA.shape, dtype=torch.float64).draw()
    look = double.look(x_t, 9)
    before = covariance.unbounded(look).var
    covariance.head = copy.deepcopy(covariance.head).double()
    assert (before.dtype, covariance.unbounded(look).var.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(covariance.unbounded(look).var.float(), before, rtol=1e-4, atol=1e-5)


# --- measuring


def test_the_forward_path_is_float64_from_the_images_on(single: MeanModel, double: MeanModel) -> None:
    """In float32 images and noise are rounded before they are mixed."""
    pairs = zip(*(look_along(model, tiny_examples(3), (9, 30)) for model in (double, single)), strict=True)
    for found, expected in pairs:
        abar, i = double.schedule.alpha_bar[found.look.time], found.rows
        x_0 = DATA.encode(tiny_examples(3).images[i], torch.float64)
        assert torch.equal(found.x_0, x_0)
        exact = abar.sqrt() * x_0 + (1 - abar).sqrt() * found.eps
        torch.testing.assert_close(found.look.x_t, exact, rtol=0, atol=1e-14)
        assert torch.equal(found.eps, expected.eps), "the same numbers in any precision"
        agree(found.look.x_t, expected.look.x_t)
        agree(found.look.predicted, expected.look.predicted)


@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_bounds_and_calibration_are_those_of_float32_but_for_rounding(
    single: MeanModel, double: MeanModel, name: str
) -> None:
    found: list[list[Tensor]] = []
    for model in (double, single):
        covariance = tiny_covariance(name, model)
        bound = LikelihoodMeter(model.schedule, DATA, {name: covariance}, [GRID], 4)
        terms = DecompositionMeter(model.schedule, DATA, covariance, GRID.times, 4)
        calibration = CalibrationMeter(DATA, {name: covariance}, GRID.times)
        measure(through(model, CLIPPED), tiny_examples(4), [bound, terms, calibration])
        ratio = calibration.result(name).by_band
        found.append([bound.result(name, GRID).nats, terms.result().terms.nan_to_num(posinf=0.0), ratio])
    for mine, theirs in list(zip(*found, strict=True))[: 2 if name == "small" or takes_both_signs(name) else 3]:
        agree(mine, theirs)


@pytest.mark.parametrize("kind", [VarianceTable, Spectrum, ResidualMatrices])
def test_statistics_are_those_of_float32_but_for_rounding(
    single: MeanModel, double: MeanModel, kind: type[Statistic]
) -> None:
    found, expected = (estimate(model, tiny_examples(6), [kind], (2, 9, 30), 8)[kind] for model in (double, single))
    for name, total in found.tensors().items():
        theirs = expected.tensors()[name]
        assert total.dtype == theirs.dtype
        if name in ("count", *kind.place):
            assert torch.equal(total, theirs)
        else:
            atol = ROUNDING * float(theirs.abs().max())
            torch.testing.assert_close(total, theirs, rtol=0, atol=atol)
