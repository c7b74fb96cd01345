"""v * (J^T v): what a sign vector v sees of the diagonal of J = d eps_hat / d x_t, beside the prediction itself."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.denoiser.network import MeanModel
from diffcov.denoiser.prediction import Prediction
from diffcov.nets.features import Features

__all__ = ["predict_with_curvature"]


def predict_with_curvature(model: MeanModel, x_t: Tensor, t: Tensor, signs: Tensor) -> tuple[Prediction, Tensor]:
    """One pass forward and one backward to the input.

    Off the diagonal the products v_i v_j J_ji have mean 0 over independent signs, so v * (J^T v) has mean diag(J).
    Forward mode, v * (J v), has the same mean and costs twice as much (benchmarks/curvature.py): torch convolves with
    the weights' absent tangents too, and fused attention has no forward derivative.

    Args:
        model: the mean model, frozen.
        x_t: (B, C, H, W) float32.
        t: (B,) times in 1..T.
        signs: (B, C, H, W) float32 of -1 and 1.

    Returns:
        The prediction, bit for bit that of ``predict``, and v * (J^T v) (B, C, H, W) float32; neither has a graph.
    Source: arXiv 2406.10808.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_(True)
        eps_hat, features = model.predict(x, t)
        (along,) = torch.autograd.grad(eps_hat, x, signs)
    return Prediction(eps_hat.detach(), Features(*(f.detach() for f in features))), signs * along
