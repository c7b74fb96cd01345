"""Looks, and looks at images of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.diffusion.level import Level, q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.features import Features

ROUNDING = 1e-10
"""Absolute, for a few float64 operations with x_0 up to 1 and 1/sqrt(abar_t) up to 157 (linear)."""

SHAPE = (2, 3, 4)
LINEAR = NoiseSchedule.linear(1000)
ZERO = NoiseSchedule.from_betas([0.1, 0.5, 1.0])
TIMES = torch.tensor([1, 500, 999, 1000])


def normal(seed: int) -> Tensor:
    return torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noised(schedule: NoiseSchedule, t: int | Tensor, predicts: str = "v") -> Noised:
    """With an output that is a fifth off what it should be."""
    x_0, eps, meaning = normal(0).clamp(-1, 1), normal(1), PARAMETRISATIONS[predicts]
    level = Level.at(schedule, t, x_0)
    x_t = q_sample(schedule, x_0, t, eps)
    output = meaning.target(x_0, eps, level) + normal(2) / 5
    eps_hat = meaning.eps(x_t, output, level)
    features = Features(normal(3), normal(4).flatten(1))
    look = Look(x_t, t, meaning.x0(x_t, output, level), eps_hat, eps_hat, features, learned=normal(5))
    return Noised(schedule, x_0, eps, look, first=7)


def clipped(given: Noised) -> Noised:
    look = given.look
    return given.seen(replace(look, x0_hat=look.x0_hat.clamp(-1, 1), consistent=False))


# --- looks


def test_a_look_at_images_of_one_time_says_the_time() -> None:
    assert noised(LINEAR, 3).look.time == 3
    with pytest.raises(TypeError, match=r"different times; take them apart with Look\.rows$"):
        _ = noised(LINEAR, TIMES).look.time


def test_some_images_of_a_look_are_a_look() -> None:
    whole = noised(LINEAR, TIMES).look
    part = whole.rows(slice(1, 3), 500)
    assert part.time == 500
    for name in ("x_t", "x0_hat", "eps_hat", "predicted", "learned"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[1:3]), name
    assert torch.equal(part.features.activations, whole.features.activations[1:3])
    assert torch.equal(part.features.embedding, whole.features.embedding[1:3])
    assert part.consistent
    assert not replace(whole, consistent=False).rows(slice(0, 1), 1).consistent
    assert replace(whole, learned=None).rows(slice(0, 1), 1).learned is None


# --- the truth beside them


def test_the_images_have_numbers() -> None:
    assert noised(LINEAR, 3).rows == slice(7, 11)


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
@pytest.mark.parametrize("t", [1, 500, 1000, TIMES], ids=["first", "middle", "last", "all"])
def test_a_residual_is_the_error_in_units_of_the_noise(t: int | Tensor, predicts: str) -> None:
    """eps - eps_hat = sqrt(abar / bbar) (x0_hat - x_0)."""
    found = noised(LINEAR, t, predicts)
    level = Level.at(LINEAR, t, found.x_0)
    assert torch.equal(found.error, found.x_0 - found.look.x0_hat)
    assert torch.equal(found.residual, found.eps - found.look.eps_hat)
    expected = -found.error * level.signal / level.noise
    torch.testing.assert_close(found.residual, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("t", [1, 500, 1000, TIMES], ids=["first", "middle", "last", "all"])
def test_a_clipped_look_has_the_residual_of_the_noise_that_goes_with_its_x0(t: int | Tensor) -> None:
    found = clipped(noised(LINEAR, t, "eps"))
    level = Level.at(LINEAR, t, found.x_0)
    assert bool((found.look.x0_hat.abs() == 1).any()), "the clip must bind somewhere"
    expected = -found.error * level.signal / level.noise
    torch.testing.assert_close(found.residual, expected, rtol=0, atol=ROUNDING)
    assert not torch.allclose(found.residual, found.eps - found.look.eps_hat)


@pytest.mark.parametrize("seen", [lambda given: given, clipped], ids=["as predicted", "clipped"])
def test_where_nothing_of_the_image_is_left_the_residual_is_its_error(
    seen: Callable[[Noised], Noised],
) -> None:
    """x_T is noise alone: eps is seen exactly, and what is unknown is x_0, in the unit r_T = 1."""
    last = seen(noised(ZERO, 3))
    assert torch.equal(last.residual, -last.error)
    assert bool(last.residual.any())
    mixed = torch.tensor([1, 2, 3, 3])
    together = seen(noised(ZERO, mixed)).residual
    for i, t in enumerate(mixed.tolist()):
        torch.testing.assert_close(together[i], seen(noised(ZERO, t)).residual[i], rtol=0, atol=ROUNDING)


def test_the_same_images_through_another_look() -> None:
    given = noised(LINEAR, 500)
    other = given.seen(replace(given.look, x0_hat=given.x_0))
    assert torch.equal(other.error, torch.zeros_like(other.error))
    assert (other.x_0 is given.x_0, other.eps is given.eps, other.first) == (True, True, 7)
    curved = replace(given, curvature=normal(9))
    assert curved.seen(other.look).curvature is curved.curvature
