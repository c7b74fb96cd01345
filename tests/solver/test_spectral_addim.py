"""The noise stretched per frequency: by how much, where, and what becomes of it with the term that it leaves out."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import InputError, UsageError
from diffcov.solver.addim import ADDIM
from diffcov.solver.ddim import DDIM
from diffcov.solver.spectral_addim import SpectralADDIM
from diffcov.solver.spectral_ei import SpectralEI
from diffcov.statistics.spectrum import Spectrum
from oracles.diagonal import DiagonalWorld
from oracles.measured import no_rotation, told_look, told_spectrum

SHAPE = (1, 4, 4)
LINEAR = NoiseSchedule.linear(1000)
STEPS = [(1, 990), (100, 500), (400, 990), (700, 710)]


@cache
def world() -> DiagonalWorld:
    """Variances of cosines from 4 down to 1e-3."""
    var = torch.logspace(math.log10(4), -3, 16, dtype=torch.float64).reshape(SHAPE)
    return DiagonalWorld(LINEAR, var, cosine(*SHAPE, no_rotation(1)))


@cache
def spectrum(truth: DiagonalWorld) -> Spectrum:
    return truth.spectrum()


def known(truth: DiagonalWorld, mse: float = 0.75) -> SpectralADDIM:
    return SpectralADDIM(mse).given({"spectrum": spectrum(truth)})


def typical(truth: DiagonalWorld, t: int) -> Tensor:
    """Two x_t, one the other's negative, whose coefficients are at one standard deviation of q(x_t), either sign."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)[torch.arange(16) % 2].reshape(SHAPE)
    std = (float(LINEAR.alpha_bar[t]) * truth.var + float(LINEAR.beta_bar[t])).sqrt()
    return truth.basis.inverse(torch.stack([signs * std, -signs * std]))


@pytest.mark.parametrize(("s", "t"), STEPS)
@pytest.mark.parametrize("mse", [0.0, 0.75, 1.0])
def test_the_mean_square_of_a_frequency_grows_by_what_is_uncertain_there(s: int, t: int, mse: float) -> None:
    """E[e'^2] = bbar_s (1 - v) + gamma^2 mse var_x0, as E[eps_hat^2] = 1 - v of a perfect mean."""
    truth, (step,) = world(), known(world()).steps(LINEAR, explicit(1000, (s, t)))[:1]
    look = truth.look(typical(truth, t), t)
    mean = known(truth, mse).mean(step, look)
    stretched = truth.basis.forward(mean - math.sqrt(step.alpha_bar_s) * look.x0_hat)
    wanted = step.beta_bar_s * (1 - truth.var_eps(t)) + step.gamma**2 * mse * truth.cov_x0(t)
    torch.testing.assert_close(stretched.square().mean(0), wanted, rtol=1e-6, atol=1e-12)
    assert torch.equal(stretched.sign(), truth.basis.forward(look.eps_hat).sign())


def test_a_share_of_nothing_is_ddim() -> None:
    truth, step = world(), Step(LINEAR, 300, 700, 0.0)
    look = truth.look(typical(truth, 700), 700)
    torch.testing.assert_close(known(truth, 0.0).mean(step, look), DDIM().mean(step, look), rtol=0, atol=1e-10)


def test_the_norm_of_an_image_grows_as_addim_s_does() -> None:
    """The spectrum's mean is the table: what differs is the frequency that it is put back at."""
    truth, step = world(), Step(LINEAR, 300, 700, 0.0)
    eps_hat = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    look = told_look(LINEAR, 2 * eps_hat, 700, eps_hat)
    plain = math.sqrt(step.alpha_bar_s) * look.x0_hat
    mine, theirs = known(truth), ADDIM().given({"table": truth.table()})
    grown = [solver.mean(step, look) - plain for solver in (mine, theirs)]
    norms = [one.square().flatten(1).sum(1) for one in grown]
    torch.testing.assert_close(*norms, rtol=1e-6, atol=0)
    assert float((grown[0] - grown[1]).abs().max()) > 0.1


def test_of_one_pixel_it_is_addim() -> None:
    truth, step = DiagonalWorld(LINEAR, torch.full((1, 1, 1), 0.3).double()), Step(LINEAR, 300, 700, 0.0)
    eps_hat = torch.tensor([0.7, -1.2, 1e-3], dtype=torch.float64).reshape(3, 1, 1, 1)
    look = told_look(LINEAR, 2 * eps_hat, 700, eps_hat)
    theirs = ADDIM().given({"table": truth.table()})
    torch.testing.assert_close(known(truth).mean(step, look), theirs.mean(step, look), rtol=1e-6, atol=1e-9)


def test_where_nothing_is_predicted_the_square_is_what_is_uncertain() -> None:
    """eps_hat = 0 has no sign; addim has no answer there."""
    step, nothing = Step(LINEAR, 300, 700, 0.0), torch.zeros(1, *SHAPE, dtype=torch.float64)
    solver = SpectralADDIM().given({"spectrum": told_spectrum([700], lambda t: torch.full(SHAPE, 0.4), SHAPE)})
    mean = solver.mean(step, told_look(LINEAR, nothing, 700, nothing))
    found = cosine(*SHAPE, no_rotation(1)).forward(mean).square()
    wanted = step.gamma**2 * 0.75 * float(LINEAR.ratio[700]) * 0.4
    torch.testing.assert_close(found, torch.full_like(found, wanted), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("s", "t"), STEPS)
def test_with_the_cross_term_the_factor_is_that_of_spectral_ei(s: int, t: int) -> None:
    """f^2 E[e^2] + 2 sqrt(abar_s) f E[x0_hat e] = bbar_s E[e^2] + 2 sqrt(abar_s bbar_s) E[x0_hat e] + gamma^2 var_x0.

    The integrator of order 1, from another derivation, has the larger root; without the term f is another.
    """
    truth = world()
    solver = SpectralEI(order=1).given({"spectrum": spectrum(truth)})
    (step,) = solver.steps(LINEAR, explicit(1000, (s, t)))[:1]
    look = truth.look(typical(truth, t), t)
    x0_hat, e = truth.basis.forward(look.x0_hat), truth.basis.forward(look.eps_hat)
    signal, e_sq, cross = math.sqrt(step.alpha_bar_s), e.square().mean(0), (x0_hat * e).mean(0)
    whole = step.beta_bar_s * e_sq + 2 * signal * math.sqrt(step.beta_bar_s) * cross
    whole = whole + step.gamma**2 * truth.cov_x0(t)
    half = signal * cross
    factor = (-half + (half.square() + e_sq * whole).sqrt()) / e_sq
    mean = truth.basis.forward(solver.walk([step]).mean(step, look))
    found = ((mean - signal * x0_hat) / e)[0]
    torch.testing.assert_close(found, factor, rtol=2e-3, atol=2e-3 * float(factor.abs().max()))
    plain = (step.direction**2 + step.gamma**2 * truth.cov_x0(t) / e_sq).sqrt()
    if s == 100:
        assert float((plain / factor).max()) > 1.5


def test_it_needs_a_spectrum_and_makes_up_for_a_share() -> None:
    with pytest.raises(InputError, match=r"^spectral-addim needs the spectrum and was given none; use Solver.given$"):
        SpectralADDIM().walk([])
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match=f"^spectral-addim makes up for a share .* 0 and 1, found {share:g}$"):
            SpectralADDIM(mse=share)
