"""v * (J v): what a sign vector v sees of the diagonal of J = d eps_hat / d x_t, beside the prediction itself."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffcov.mean_model import MeanModel
from diffcov.prediction import Features, Prediction

__all__ = ["plain_attention", "predict_with_curvature"]


def plain_attention() -> AbstractContextManager[None]:
    """Attention without fused kernels, which have no forward derivative.

    Their sums round differently: a head sees the same features beside one that needs the curvature and alone only if
    both passes are made so.
    """
    return sdpa_kernel(SDPBackend.MATH)


def predict_with_curvature(model: MeanModel, x_t: Tensor, t: Tensor, signs: Tensor) -> tuple[Prediction, Tensor]:
    """One pass forward with its derivative along ``signs``; where an operation has no such derivative, one backward.

    Off the diagonal the products v_i v_j J_ij have mean 0 over independent signs, so both v * (J v) (forward mode) and
    v * (J^T v) (backward) have mean diag(J).

    Args:
        model: the mean model, frozen.
        x_t: (B, C, H, W) float32.
        t: (B,) times in 1..T.
        signs: (B, C, H, W) float32 of -1 and 1.

    Returns:
        The prediction, and v * (J v) (B, C, H, W) float32; nothing of either has a graph.
    Source: arXiv 2406.10808.
    """
    try:
        return _forward_mode(model, x_t, t, signs)
    except RuntimeError:  # a NotImplementedError is one, and functions that take a context raise it plainly
        return _backward(model, x_t, t, signs)


def _forward_mode(model: MeanModel, x_t: Tensor, t: Tensor, signs: Tensor) -> tuple[Prediction, Tensor]:
    def predict(x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        eps_hat, features = model.predict(x, t)
        return eps_hat, (features.activations, features.embedding)

    with warnings.catch_warnings(), torch.no_grad(), plain_attention():
        # At its first derivative torch compiles some of its own with TorchScript, which is on its way out.
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        found: tuple[Any, ...] = torch.func.jvp(predict, (x_t,), (signs,), has_aux=True)
    eps_hat, along, features = found
    return Prediction(eps_hat, Features(*features)), signs * along


def _backward(model: MeanModel, x_t: Tensor, t: Tensor, signs: Tensor) -> tuple[Prediction, Tensor]:
    with torch.enable_grad():
        x = x_t.detach().requires_grad_(True)
        eps_hat, features = model.predict(x, t)
        (along,) = torch.autograd.grad(eps_hat, x, signs)
    prediction = Prediction(eps_hat.detach(), Features(*(f.detach() for f in features)))
    return prediction, signs * along
