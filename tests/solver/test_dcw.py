"""``dcw``: which band is pushed how far, against a hand-worked case, a whole Haar transform and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import UsageError
from diffcov.solver.dcw import DCW
from diffcov.solver.ddim import DDIM
from diffcov.solver.registry import make_solver
from oracles.gaussian import GaussianWorld
from oracles.measured import told_look

SCHEDULE = NoiseSchedule.linear(1000)
S, T = 400, 600


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def taken(solver: DCW | DDIM, look: Look, s: int = S) -> tuple[Step, Tensor]:
    """The step from 600 and its mean."""
    steps = solver.steps(SCHEDULE, explicit(1000, (s, T) if s else (T,)))
    return steps[0], solver.walk(steps).mean(steps[0], look)


def change(low_band: float, high_band: float, look: Look, eta: float = 0.0) -> tuple[float, Tensor, Tensor]:
    """sigma of the step, m - x0_hat, and what is added to m."""
    step, plain = taken(DDIM(eta), look)
    _, found = taken(DCW(eta, low_band, high_band), look)
    return math.sqrt(step.beta_ts * step.beta_bar_s / step.beta_bar_t), plain - look.x0_hat, found - plain


def test_without_coefficients_it_is_ddim_to_the_bit() -> None:
    look = told_look(SCHEDULE, random(3, 2, 5, 7), T, random(3, 2, 5, 7, seed=1))
    for eta in (0.0, 0.5, 1.0, (0.2, 0.0)):
        steps = DDIM(eta).steps(SCHEDULE, explicit(1000, (S, T)))
        found = [solver.walk(steps).mean(steps[0], look) for solver in (DCW(eta, 0.0, 0.0), DDIM(eta))]
        assert DCW(eta).steps(SCHEDULE, explicit(1000, (S, T))) == steps
        assert torch.equal(*found)


def test_four_pixels_by_hand() -> None:
    """m - x0_hat = (1, 2, 3, 6): its low band is 3 everywhere, and the others hold (-2, -1, 0, 3)."""
    step, _ = taken(DDIM(), told_look(SCHEDULE, random(1, 1, 2, 2), T, random(1, 1, 2, 2)))
    wanted = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]], dtype=torch.float64)
    x0_hat = random(1, 1, 2, 2, seed=4)
    eps = (wanted + (1 - math.sqrt(step.alpha_bar_s)) * x0_hat) / step.direction
    look = Look(random(1, 1, 2, 2), T, x0_hat, eps, eps, None, None)  # type: ignore[arg-type]
    sigma, away, added = change(0.1, 0.03, look)
    torch.testing.assert_close(away, wanted)
    high = torch.tensor([[[[-2.0, -1.0], [0.0, 3.0]]]], dtype=torch.float64)
    torch.testing.assert_close(added, 0.1 * sigma * 3.0 + 0.03 * (1 - sigma) * high)
    assert 0.3 < sigma < 0.9, "both weights count"


def test_a_constant_image_has_no_high_band() -> None:
    constant = torch.full((2, 3, 4, 6), 0.7, dtype=torch.float64)
    look = told_look(SCHEDULE, constant, T, -0.4 * constant)
    sigma, away, added = change(0.05, 0.9, look)
    torch.testing.assert_close(added, 0.05 * sigma * away, rtol=1e-12, atol=1e-14)
    _, away, added = change(0.0, 0.9, look)
    torch.testing.assert_close(added, torch.zeros_like(away), rtol=0, atol=1e-14)


@pytest.mark.parametrize("pattern", [[[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]], ids=str)
def test_stripes_and_checks_have_no_low_band(pattern: list[list[int]]) -> None:
    """The three high bands, each by itself, share one coefficient."""
    image = torch.tensor(pattern, dtype=torch.float64).tile(1, 2, 2, 3)
    sigma, away, added = change(0.9, 0.2, told_look(SCHEDULE, image, T, 0.3 * image))
    torch.testing.assert_close(added, 0.2 * (1 - sigma) * away, rtol=1e-12, atol=1e-14)


def haar(x: Tensor) -> Tensor:
    """All four bands of an even image, by the orthonormal filters along rows and columns: (4, B, C, H/2, W/2)."""
    rows = [(x[..., ::2, :] + sign * x[..., 1::2, :]) / math.sqrt(2) for sign in (1, -1)]
    return torch.stack([(r[..., ::2] + sign * r[..., 1::2]) / math.sqrt(2) for r in rows for sign in (1, -1)])


def unhaar(bands: Tensor) -> Tensor:
    """The inverse of :func:`haar`, whose matrix is orthogonal."""
    low, high = (torch.stack([a + b, a - b], -1).flatten(-2) / math.sqrt(2) for a, b in (bands[:2], bands[2:]))
    return torch.stack([low + high, low - high], -2).flatten(-3, -2) / math.sqrt(2)


@pytest.mark.parametrize("s", [1, S])
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_it_is_the_published_correction_in_the_wavelet_domain(eta: float, s: int) -> None:
    """x^f + lambda^f (x^f - x0_hat^f) for each band f, transformed back."""
    look = told_look(SCHEDULE, random(2, 3, 6, 8), T, random(2, 3, 6, 8, seed=1))
    torch.testing.assert_close(unhaar(haar(look.x_t)), look.x_t)
    step, plain = taken(DDIM(eta), look, s)
    sigma = math.sqrt(step.beta_tilde)
    weights = torch.tensor([0.08 * sigma, *[0.02 * (1 - sigma)] * 3], dtype=torch.float64).view(4, 1, 1, 1, 1)
    corrected = haar(plain) + weights * (haar(plain) - haar(look.x0_hat))
    torch.testing.assert_close(taken(DCW(eta, 0.08, 0.02), look, s)[1], unhaar(corrected))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 7)], ids=str)
def test_odd_sides_end_in_blocks_of_what_there_is(size: tuple[int, int]) -> None:
    """As if the last row and column stood there twice."""
    x, eps = random(2, 1, *size), random(2, 1, *size, seed=1)
    padded = [torch.nn.functional.pad(one, (0, size[1] % 2, 0, size[0] % 2), mode="replicate") for one in (x, eps)]
    whole = taken(DCW(0.0, 0.3, 0.1), told_look(SCHEDULE, padded[0], T, padded[1]))[1]
    found = taken(DCW(0.0, 0.3, 0.1), told_look(SCHEDULE, x, T, eps))[1]
    torch.testing.assert_close(found, whole[..., : size[0], : size[1]])


def test_a_clipped_x0_hat_is_what_it_is_pushed_away_from() -> None:
    """eps_hat is as predicted; the mean and the difference both know the clipped x0_hat."""
    look = told_look(SCHEDULE, 3 * random(2, 1, 4, 4), T, random(2, 1, 4, 4, seed=1)).clipped(-1, 1)
    assert float(look.x0_hat.abs().max()) == 1
    step, found = taken(DCW(0.0, 0.1, 0.1), look)
    plain = math.sqrt(step.alpha_bar_s) * look.x0_hat + step.direction * look.eps_hat
    sigma, away = math.sqrt(step.beta_tilde), plain - look.x0_hat
    bands = haar(away) * torch.tensor([sigma, *[1 - sigma] * 3], dtype=torch.float64).view(4, 1, 1, 1, 1)
    torch.testing.assert_close(found, plain + 0.1 * unhaar(bands))


def test_it_converges_to_no_flow_and_says_so() -> None:
    """In the Gaussian world DDIM's error falls with the number of steps; with the pushes it grows."""
    world = GaussianWorld(SCHEDULE, 0.1, 0.25)
    x = torch.full((1, 1, 2, 2), 1.2, dtype=torch.float64)
    z = (x - world.marginal_mean(1000)) / world.marginal_var(1000) ** 0.5
    exact = world.marginal_mean(1) + world.marginal_var(1) ** 0.5 * z

    def error(solver: DCW | DDIM, steps: int) -> float:
        times = torch.linspace(1, 1000, steps).round().long().tolist()
        taken, now = solver.steps(SCHEDULE, explicit(1000, times)), x
        for step in taken[:-1]:
            now = solver.mean(step, told_look(SCHEDULE, now, step.t, world.eps_hat(now, step.t)))
        return float((now - exact).abs().max())

    assert error(DDIM(), 200) < 0.3 * error(DDIM(), 50)
    assert error(DCW(), 200) > 1.5 * error(DCW(), 50)
    assert "nothing converges unless they are 0" in " ".join(str(DCW.__doc__).split())


def test_its_identity_holds_both_coefficients() -> None:
    assert make_solver("dcw").as_dict() == {"name": "dcw", "eta": 0.0, "low_band": 0.052, "high_band": 0.01}
    assert make_solver("dcw").label == "dcw"
    assert make_solver("dcw", low_band=0.1).label == "dcw-low_band0.1"
    assert not make_solver("dcw").stochastic
    assert make_solver("dcw", 0.5).stochastic
    assert make_solver("dcw").why_no_bound == "its posterior has no variance"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"low_band": -0.1}, "^--low-band must be between 0 and 1, found -0.1; published is 0.052$"),
        ({"high_band": 1.5}, "^--high-band must be between 0 and 1, found 1.5; published is 0.01$"),
        ({"low_band": math.nan}, "^--low-band must be between 0 and 1, found nan; published is 0.052$"),
        ({"eta": 2.0}, "^eta must be between 0"),
        ({"order": 2}, "^dcw has no order, but order 2 was asked for; it takes --eta, --low-band, --high-band$"),
    ],
)
def test_values_that_cannot_be_are_refused(chosen: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_solver("dcw", **chosen)


def test_other_solvers_have_no_bands() -> None:
    with pytest.raises(UsageError, match=r"^ddim has no low-band, but low-band 0.1 was asked for; it takes --eta$"):
        make_solver("ddim", low_band=0.1)
