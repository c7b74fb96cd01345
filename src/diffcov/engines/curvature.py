"""v * (J^T v): what a sign vector v sees of the diagonal of J = d eps_hat / d x_t, beside the look itself."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.look import Look
from diffcov.nets.features import Features

__all__ = ["look_with_curvature"]


def look_with_curvature(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, signs: Tensor, cond: Tensor | None = None
) -> tuple[Look, Tensor]:
    """One pass forward and one backward to the input.

    Off the diagonal the products v_i v_j J_ji have mean 0 over independent signs, so v * (J^T v) has mean diag(J).
    Forward mode, v * (J v), has the same mean and costs twice as much (benchmarks/curvature.py): torch convolves with
    the weights' absent tangents too, and fused attention has no forward derivative.

    Args:
        denoiser: the mean, frozen, as it predicts.
        x_t: (B, C, H, W).
        t: (B,) times in 1..T.
        signs: (B, C, H, W) of -1 and 1.
        cond: (B,) class labels.

    Returns:
        The look, bit for bit that of ``denoiser.look``, and v * (J^T v) (B, C, H, W); neither has a graph.
    Source: arXiv 2406.10808.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_(True)
        look = denoiser.look(x, t, cond)
        (along,) = torch.autograd.grad(look.eps_hat, x, signs)
    return _without_graph(look, x_t), signs * along


def _without_graph(look: Look, x_t: Tensor) -> Look:
    return replace(
        look,
        x_t=x_t,
        x0_hat=look.x0_hat.detach(),
        eps_hat=look.eps_hat.detach(),
        predicted=look.predicted.detach(),
        features=Features(*(part.detach() for part in look.features)),
        learned=None if look.learned is None else look.learned.detach(),
    )
