"""Exposure bias: the norm of eps_hat on the sampled path against that on the forward path.

The network is trained on x_t made from data, and sampled on x_t that it made itself. Where the two norms differ, the
sampled path has left the one the mean (and the table) was made for.

Source: arXiv 2301.11706 names the bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised

__all__ = ["NormMeter"]


class NormMeter:
    """E||eps_hat||^2 / d at each time, from looks along the forward path or from a sampler's calls.

    Args:
        times: where to look.
    """

    def __init__(self, times: Sequence[int]) -> None:
        self._numbers = {t: m for m, t in enumerate(times)}
        self._total = torch.zeros(len(self._numbers), dtype=torch.float64)
        self._count = torch.zeros(len(self._numbers), dtype=torch.float64)

    @property
    def times(self) -> Sequence[int]:
        """Where to look."""
        return tuple(self._numbers)

    def add(self, noised: Noised) -> None:
        """One batch of the forward path."""
        self.hear(noised.look)

    def hear(self, look: Look) -> None:
        """One look of a sampler: its eps_hat as predicted, whatever was done to it since."""
        m = self._numbers[look.time]
        self._total[m] += look.predicted.square().flatten(1).mean(1, dtype=torch.float64).sum().cpu()
        self._count[m] += len(look.x_t)

    def sums(self) -> Sequence[Tensor]:
        """All that it has added up."""
        return self._total, self._count

    def mean(self) -> Tensor:
        """(len(times),) float64, in the order of ``times``; NaN where nothing was heard."""
        return self._total / self._count
