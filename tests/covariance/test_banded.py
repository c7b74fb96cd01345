"""``banded``: what it regresses, and that a fitted head knows busy images from calm ones, band by band."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from diffcov.basis.bands import frequency_radius, radial_bands
from diffcov.covariance import registry
from diffcov.covariance.banded import Banded
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import estimate
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.session import Session
from diffcov.errors import InputError
from diffcov.nets.features import Features
from diffcov.statistics.spectrum import Spectrum
from oracles.measured import told_look, told_spectrum
from oracles.textures import TextureWorld

ROUNDING = 1e-9
"""Relative: a few float64 operations, of which a difference that may nearly cancel is squared."""

SCHEDULE = NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.1])
SHAPE = (3, 4, 6)
DATA = DataDescription(*SHAPE)


def spectrum_at(t: int) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(t), dtype=torch.float64) + 0.1


def axes() -> Tensor:
    """A rotation of three channels that is nobody's default."""
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    return q


TOLD = told_spectrum([1, 2, 3], spectrum_at, SHAPE, axes())
KNOWN = Ingredients.of(SCHEDULE, DATA, TOLD)


def banded(head: FittedHead, data: DataDescription = DATA) -> Banded:
    return Banded(Ingredients.of(SCHEDULE, data, TOLD, head))


def anywhere(count: int, t: int) -> Look:
    images = torch.zeros(count, *SHAPE)
    return told_look(SCHEDULE, images, t, images)


# --- by hand


def noised(dtype: torch.dtype = torch.float64) -> Noised:
    """Images whose x0_hat was clipped: it does not go with the predicted noise."""
    draw = torch.Generator().manual_seed(7)
    t = torch.tensor([1, 3, 2, 2, 1])
    x_0, eps, x0_hat, eps_hat = (
        torch.randn(5, *SHAPE, generator=draw, dtype=torch.float64).to(dtype) for _ in range(4)
    )
    x_t = q_sample(SCHEDULE, x_0, t, eps)
    look = Look(x_t, t, x0_hat, eps_hat, eps_hat, Features(x_t, x_t), consistent=False)
    return Noised(SCHEDULE, x_0, eps, look)


def test_the_target_is_the_squared_error_over_its_own_mean_in_the_spectrum() -> None:
    """(U (eps - eps_hat))^2 of the clipped mean, in the spectrum's own basis, at each image's own time."""
    given = noised()
    found = Banded.head_target(given, KNOWN)
    for i, t in enumerate(given.look.t.tolist()):
        abar, bbar = SCHEDULE.alpha_bar[t], SCHEDULE.beta_bar[t]
        of_the_clipped = (given.look.x_t[i] - abar.sqrt() * given.look.x0_hat[i]) / bbar.sqrt()
        error = TOLD.basis.forward(given.eps[i] - of_the_clipped)
        torch.testing.assert_close(found[i], error.square() / spectrum_at(t), rtol=ROUNDING, atol=0.0)


def test_the_target_is_the_same_where_all_images_have_one_time() -> None:
    given = noised()
    together = Banded.head_target(given, KNOWN)
    for i, t in enumerate(given.look.t.tolist()):
        one = slice(i, i + 1)
        alone = Noised(SCHEDULE, given.x_0[one], given.eps[one], given.look.rows(one, t))
        torch.testing.assert_close(Banded.head_target(alone, KNOWN), together[one], rtol=ROUNDING, atol=0.0)


def test_the_target_has_the_network_s_precision() -> None:
    """Float32 in, float32 out, although the spectrum is float64."""
    found = Banded.head_target(noised(torch.float32), KNOWN)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), Banded.head_target(noised(), KNOWN), rtol=1e-4, atol=1e-5)


def test_var_x0_is_the_spectral_one_times_the_factor() -> None:
    factor = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(3)) + 0.5
    seen: list[Tensor] = []

    def head(features: Features, t: Tensor) -> Tensor:
        seen.append(t)
        return factor

    covariance = banded(FittedHead(head))
    for t in (1, 2, 3):
        found = covariance.unbounded(anywhere(2, t))
        expected = float(SCHEDULE.ratio[t]) * spectrum_at(t) * factor.double()
        torch.testing.assert_close(found.var, expected, rtol=ROUNDING, atol=0.0)
        assert found.var.dtype == torch.float64
        assert found.basis == TOLD.basis
        assert seen[-1].tolist() == [t, t]


def test_its_bound_is_that_of_its_coefficients() -> None:
    """A loud factor cannot leave the range of the data: as for ``spectral``, coefficient by coefficient."""
    head = FittedHead(lambda features, t: torch.full((1, *SHAPE), 1e6))
    loud = banded(head, DataDescription(*SHAPE, low=-0.5, high=0.5))
    assert torch.equal(loud.at(anywhere(1, 3)).var[0], TOLD.basis.largest_variance(0.25))


@pytest.mark.parametrize(
    ("part", "command"),
    [
        (FittedHead(lambda features, t: t), "a spectrum and none was found; run: diffcov estimate-var"),
        (TOLD, "a fitted head and none was found; run: diffcov fit-var-head --kind banded"),
    ],
)
def test_it_needs_both_spectrum_and_head(part: FittedHead | Spectrum, command: str) -> None:
    with pytest.raises(InputError, match=f"the banded covariance needs {command}"):
        Banded(Ingredients.of(SCHEDULE, DATA, part))


# --- fitted, in worlds where the truth is known

IMAGES, ITERATIONS, FRESH = 4000, 500, 1500
SAME = 0.025
"""|log factor|, mean over images and coefficients, where the truth is 1: the fits' own noise is 0.005 and 0.017."""


@dataclass(frozen=True)
class Found:
    """What a fitted head says of x_t that it has never seen, and what is true.

    Attributes:
        factor: (N, C, H, W), the head's.
        truth: (N, C, H, W), Var[U eps | x_t] over the spectrum.
        texture: (N,), which one each image has.
    """

    factor: Tensor
    truth: Tensor
    texture: Tensor

    def gained(self) -> float:
        """Share of the likelihood that any factor can gain over the spectrum alone which this one gains.

        Expected twice negative log-likelihood a coefficient, less constants: E[truth / a + log a], least at the truth.
        """
        alone, fitted, best = (
            float((self.truth / a + a.log()).mean()) for a in (torch.ones_like(self.truth), self.factor, self.truth)
        )
        assert best < alone
        return (alone - fitted) / (alone - best)

    def louder(self) -> tuple[Tensor, Tensor]:
        """(C, bands) log factor of texture 1 over texture 0, the head's and the true one."""
        band, names = radial_bands(*self.truth.shape[2:])

        def contrast(values: Tensor) -> Tensor:
            means = [values[self.texture == k].mean(0) for k in (0, 1)]
            return torch.stack(
                [(means[1][:, band == b].mean(1) / means[0][:, band == b].mean(1)).log() for b in range(len(names))], 1
            )

        return contrast(self.factor), contrast(self.truth)


@cache
def world(name: str) -> TextureWorld:
    """ "one": a single spectrum; "two": rough and smooth images; "colour": colourful images and nearly grey ones."""
    r = frequency_radius(8, 8)
    smooth, rough = (1 / (1 + r) ** 2)[None], (0.01 + 0.15 * r / 8)[None]
    falling = 1 / (1 + frequency_radius(6, 6))
    spectra, weights = {
        "one": (smooth[None], (1.0,)),
        "two": (torch.stack([smooth, rough]), (0.5, 0.5)),
        "colour": (torch.stack([torch.stack([falling, c * falling, c * falling]) for c in (0.1, 1.0)]), (0.4, 0.6)),
    }[name]
    return TextureWorld(SCHEDULE, spectra, weights)


@cache
def fit(name: str) -> tuple[MeanModel, nn.Module, Spectrum]:
    """Spectrum and head as the commands make them, on the world's perfect mean."""
    own = world(name)
    model = own.model().freeze()
    x_0, _ = own.sample(IMAGES, torch.Generator().manual_seed(1))
    examples = Examples(own.data.decode(x_0))
    spectrum = estimate(model, examples, [Spectrum], (1, 2, 3), 3000, batch_size=500)[Spectrum]
    known = Ingredients.of(SCHEDULE, own.data, spectrum)
    plan = HeadPlan.of("banded", None, "complex")
    torch.manual_seed(0)
    head = plan.spec(model).build(plan.start(known))
    config = TrainingConfig(batch_size=64, lr=1e-2, warmup=20, ema_decay=0.99)
    session = Session(HeadObjective(model, {"banded": head}, {"banded": plan.loss}, {"banded": known}), config)
    batches = NoisyBatches(examples, own.data, SCHEDULE, 64, False, 4)
    train(session, batches, Budget(ITERATIONS), Callbacks(), Intervals(10**6, math.inf))
    return model, session.ema.module.get_submodule("banded"), spectrum


@cache
def found(name: str, t: int) -> Found:
    """At x_t that no fit has seen, through the real covariance."""
    own, (model, head, measured) = world(name), fit(name)
    draw = torch.Generator().manual_seed(50 + t)
    x_0, texture = own.sample(FRESH, draw)
    x_t = q_sample(SCHEDULE, x_0, t, torch.randn(x_0.shape, generator=draw, dtype=torch.float64)).float()
    covariance = registry.load("banded")(Ingredients.of(SCHEDULE, own.data, measured, FittedHead(head)))
    with torch.no_grad():
        var_x0 = covariance.unbounded(model.look(x_t, t)).var
    spectrum = measured.var_eps(SCHEDULE, torch.tensor([t]))
    return Found(var_x0 / (float(SCHEDULE.ratio[t]) * spectrum), own.var_eps(x_t.double(), t) / spectrum, texture)


@pytest.mark.parametrize(("t", "least"), [(1, 0.65), (2, 0.5)])
def test_of_two_textures_it_gains_most_of_what_can_be_gained(t: int, least: float) -> None:
    """Over the spectrum alone, which is the best of all covariances that are the same for every image."""
    assert found("two", t).gained() > least


@pytest.mark.parametrize(("t", "least"), [(1, 0.6), (2, 0.4)])
def test_its_factor_goes_the_right_way_in_every_band(t: int, least: float) -> None:
    """Rough images: louder in high bands and softer in low ones, about as much as is true; smooth ones reversed.

    At t = 2 the textures differ by a fifth of what they do at t = 1, and noise hides which one it is.
    """
    mine, truth = found("two", t).louder()
    clear = truth.abs() > 0.1
    assert clear.sum() >= 3
    assert bool((truth[clear] > 0).any())
    assert bool((truth[clear] < 0).any())
    assert torch.equal(mine[clear].sign(), truth[clear].sign())
    share = mine[clear] / truth[clear]
    assert least < float(share.min()) <= float(share.max()) < 1.4, share


def test_colour_moves_without_grey() -> None:
    """Where only the opponent colours are uncertain by the image, grey's factor stays at 1."""
    it = found("colour", 1)
    assert it.gained() > 0.5
    mine, truth = it.louder()
    assert float(truth[1:].min()) > 0.5
    assert float((mine[1:] / truth[1:]).min()) > 0.5
    assert float(it.factor[:, 0].log().abs().mean()) < SAME


@pytest.mark.parametrize("t", [1, 2, 3])
def test_of_one_texture_it_stays_at_the_spectrum(t: int) -> None:
    """Every image has the same variances: there is nothing to learn, and nothing is imagined."""
    it = found("one", t)
    assert float(it.factor.log().abs().mean()) < SAME
    assert float((it.factor.mean(0) - 1).abs().max()) < 3 * SAME
    lost = it.truth / it.factor + it.factor.log() - it.truth
    assert float(lost.mean()) < SAME**2, "nats a coefficient, over the spectrum alone"


def test_on_average_it_is_the_spectrum() -> None:
    """E over x_t of the true factor is 1 in every coefficient, and the head's is nearly."""
    for t in (1, 2, 3):
        it = found("two", t)
        assert float((it.truth.mean(0) - 1).abs().max()) < 0.15, "3000 squared errors a coefficient"
        assert abs(float(it.factor.mean()) - 1) < 0.1
