"""Classifier-free guidance: away from what an image without a label would be. Source: arXiv 2207.12598."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from diffcov.denoiser.base import Denoiser, View, Wrapper
from diffcov.denoiser.look import Look
from diffcov.errors import UsageError

__all__ = ["Guided"]


class Guided(Wrapper):
    """(1 - W) times the look without a label plus W times the look with it; two network calls a look.

    x_0 and eps are mixed by the same weights, which sum to 1, so that they still say the same of x_t. Features are
    those of the look with the label.

    Args:
        inner: a denoiser with classes that also knows images without a label; neither scaled nor clipped.
        weight: W; 1 would be the inner one itself, larger ones go further.

    Raises:
        UsageError: a weight that is no number, a denoiser that has no classes or must have a label, or that is wrapped
            in what comes after guidance.
    """

    def __init__(self, inner: Denoiser, weight: float) -> None:
        super().__init__(inner)
        if not math.isfinite(weight):
            raise UsageError(f"guidance takes a number, found {weight}")
        if inner.view != View():
            raise UsageError("guidance comes first: put Scaled and Clipped outside of Guided")
        if not inner.classes:
            raise UsageError("guidance needs a mean with classes, and this one has none; train one with --classes")
        if inner.needs_labels:
            raise UsageError(
                "guidance needs a mean that has seen images without a label, and this one has not; train it with "
                "--label-dropout 0.1"
            )
        self.weight = float(weight)

    def look(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Look:
        """Two calls: with the labels, and without."""
        if cond is None:
            raise UsageError("guidance needs to know which classes are wanted; give labels (--class)")
        towards, away = self.inner.look(x_t, t, cond), self.inner.look(x_t, t, None)
        W = self.weight
        eps_hat = away.eps_hat + W * (towards.eps_hat - away.eps_hat)
        x0_hat = away.x0_hat + W * (towards.x0_hat - away.x0_hat)
        return replace(towards, x0_hat=x0_hat, eps_hat=eps_hat, predicted=eps_hat)

    @property
    def needs_labels(self) -> bool:
        return True

    @property
    def calls(self) -> int:
        return 2 * self.inner.calls

    @property
    def view(self) -> View:
        return replace(self.inner.view, guidance=self.weight)
