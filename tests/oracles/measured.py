"""Looks and statistics that are simply told: what a perfect network says, what an endless measurement would keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.denoiser.look import Look
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.features import Features
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum

__all__ = ["no_rotation", "told_look", "told_matrices", "told_spectrum"]

Shape = tuple[int, int, int]


def no_rotation(channels: int) -> Tensor:
    """Channels as they are, (C, C)."""
    return torch.eye(channels, dtype=torch.float64)


def told_look(
    schedule: NoiseSchedule,
    x_t: Tensor,
    t: int,
    eps_hat: Tensor,
    features: Features | None = None,
    learned: Tensor | None = None,
) -> Look:
    """The look of a network that says ``eps_hat`` of ``x_t``; features are x_t itself unless they are told."""
    x0_hat = PARAMETRISATIONS["eps"].x0(x_t, eps_hat, Level.at(schedule, t, x_t))
    return Look(x_t, t, x0_hat, eps_hat, eps_hat, features or Features(x_t, x_t), learned)


def told_spectrum(
    times: Sequence[int], var_eps: Callable[[int], Tensor], shape: Shape, colour: Tensor | None = None
) -> Spectrum:
    """``var_eps(t)`` (C, H, W), over cosine coefficients, at each of ``times``; as if from one typical image.

    Images of up to 64 pixels a side, so that every frequency is a cell of its own.
    """
    found = Spectrum.empty(Knots(tuple(times)), shape, no_rotation(shape[0]) if colour is None else colour)
    for knot, t in enumerate(times):
        found.add(knot, var_eps(t)[None])
    return found


def told_matrices(
    times: Sequence[int], cov_eps: Callable[[int], Tensor], shape: Shape, colour: Tensor | None = None
) -> ResidualMatrices:
    """``cov_eps(t)`` (d, d), over flattened pixels, at each of ``times``.

    As if from two images whose products of coefficients do not scatter: nothing is shrunk. Sums are kept in float32.
    """
    colour = no_rotation(shape[0]) if colour is None else colour
    found = ResidualMatrices.empty(Knots(tuple(times)), shape, colour)
    d = found.dims
    U = cosine(*shape, colour).forward(torch.eye(d, dtype=torch.float64).reshape(-1, *shape)).reshape(d, d).T
    rows, columns = torch.tril_indices(d, d)
    found.count.fill_(2)
    for knot, t in enumerate(times):
        moments = U @ cov_eps(t) @ U.T
        found.total[knot] = (2 * moments)[rows, columns].float()
        std = moments.diagonal().clamp(min=1e-30).sqrt()
        correlation = moments / (std[:, None] * std)
        found.pairs[knot] = 2 * (correlation.square().sum() - correlation.diagonal().square().sum())
    return found
