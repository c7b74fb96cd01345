"""Noise is white in pixels: the same picture under every covariance. What earlier versions drew is drawn again."""

from __future__ import annotations

import hashlib
from itertools import combinations

import pytest
import torch
from torch import Tensor

from diffcov.covariance.registry import COVARIANCES
from diffcov.denoiser.clipped import Clipped
from diffcov.diffusion.grids import even
from diffcov.engines.last_noise import last_noise_cap
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw, sample
from diffcov.noise import GivenNoise
from diffcov.solver.ddpm import DDPM
from oracles.tiny import DATA, tiny_covariance, tiny_model

T = 20
MODEL = tiny_model(T)
DRAWN_BEFORE = {
    ("corrected", 1): "c743cc671eeda7155421cd49cf6a027293592e7e9ca7dda39917e116a89568e9",
    ("corrected", 2): "02adcb0bcce05461f5223aa7a599ad341d5b028c527560b4b0e4c38fd0809420",
    ("spectral", 1): "bd21f584f72597f19e590e8283e19a317e8713974f27228e3440e70dfe34867c",
    ("spectral", 2): "950a15a610f46619fe270bb41b23d6770e4483c1fff603bb048361cf2778766a",
    ("banded", 1): "ca7a1ecf0df927a6536797771b281f17efac64fc5a532c90487e52b32ee20829",
    ("banded", 2): "1f1734265ca75e55069dc4ba95abd9a034ad8f88bf756ced5801e9695d15d1d1",
    ("full", 1): "d8596e0e470962b2658ad8ff443e331b03c256af01039b40093f849633c86b24",
    ("full", 2): "14a554ef83a8ce51aa708a3fceee537ecda9d691a0d74c4edf7ce0ce5d840037",
}
"""sha256 of eight images in grey levels, drawn by the program of before noise was white in pixels (commit c098812)."""
IN_COEFFICIENTS = ("spectral", "banded", "full")


def sampler(name: str, noise: int = 3) -> Sampler:
    return Sampler(Clipped(MODEL), tiny_covariance(name, MODEL), DDPM(), even(T, 4), 2.0, noise=noise)


@pytest.mark.parametrize(("name", "noise"), DRAWN_BEFORE)
def test_what_was_drawn_before_can_be_drawn_again(name: str, noise: int) -> None:
    images = draw(sampler(name, noise), 8)
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == DRAWN_BEFORE[name, noise]


@pytest.mark.parametrize("name", ["small", "corrected", "npr"])
def test_versions_two_and_three_draw_alike_in_pixels(name: str) -> None:
    """A covariance that is diagonal in pixels has one root: nothing changed for it."""
    assert torch.equal(draw(sampler(name, 2), 4), draw(sampler(name, 3), 4))


@pytest.mark.parametrize("name", IN_COEFFICIENTS)
def test_the_noise_of_a_step_is_that_of_pixels(name: str) -> None:
    """With two steps, what the last noise adds is U^T sqrt(lifted and capped variances) U z, against whole matrices."""
    chosen = Sampler(Clipped(MODEL), tiny_covariance(name, MODEL), DDPM(), even(T, 2), 2.0)
    (first, last), start = chosen.solver.steps(MODEL.schedule, chosen.grid), torch.randn(1, *DATA.shape)
    d = DATA.dims
    z = torch.randn(1, *DATA.shape)
    seen: list[Tensor] = []
    sample(chosen, GivenNoise([start, z]), on_look=lambda look: seen.append(look.x_t))
    sample(chosen, GivenNoise([start, 0 * z]), on_look=lambda look: seen.append(look.x_t))
    found = (seen[1] - seen[3]).double()
    cap = last_noise_cap(2.0, DATA.level_width)
    given = chosen.covariance.at(chosen.denoiser.look(start, first.t)).lifted(first).capped(cap)
    eye = torch.eye(d, dtype=torch.float64).reshape(-1, *DATA.shape)
    U = given.basis.forward(eye).flatten(1).T
    covariance = U.T @ (given.var.double().expand(1, *DATA.shape).flatten()[:, None] * U)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    torch.testing.assert_close(found.flatten(), root @ z.double().flatten(), rtol=0, atol=1e-5)
    assert float(values.max()) <= cap * (1 + 1e-6), "no direction has more than the cap"
    assert last.s == 0


def test_samples_of_two_covariances_are_more_alike_than_they_were() -> None:
    """The mean correlation of the same images under all pairs of covariances, one of them not diagonal in pixels."""

    def alike(noise: int) -> float:
        drawn = {name: draw(sampler(name, noise), 16).double() for name in COVARIANCES}
        pairs = [pair for pair in combinations(drawn, 2) if {*pair} & {*IN_COEFFICIENTS}]
        both = [torch.stack([drawn[one].flatten() for one in pair]) for pair in pairs]
        return sum(float(torch.corrcoef(pair)[0, 1]) for pair in both) / len(both)

    assert alike(3) > alike(2) + 0.05
