"""A smooth curve through measured values: the cubic smoothing spline, whose roughness the values themselves choose.

Values y_m at x_m hold errors of known variance v_m. The truth is f(x) = a + b x + sqrt(theta) W(x), where W is the
integral of Brownian motion and nothing is known of a and b. Its mean given the values is the cubic smoothing spline,
and its variance says how far the truth may be from that, between the values too. theta is the one under which the
values are likeliest once a and b are integrated out (REML): values that bend are followed more closely. One theta
serves the whole axis, so the variance is right on average over the places and too small where a curve that is smooth
elsewhere bends sharply.

Source: the prior, and its interval as a measure of a spline's error, are Wahba's (Journal of the Royal Statistical
Society B 40 (1978) 364 and 45 (1983) 133).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["SmoothCurve"]

ROUGHNESS = torch.logspace(-7, 2, 46, dtype=torch.float64).tolist()
"""What theta is chosen among: from nearly straight to free between neighbours."""
LEAST_VARIANCE = 1e-10
"""Of a value: those without any error have a curve too."""


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """One curve for each column of values; all columns are equally rough.

    Args:
        x: (M,) float64, where the values are, different places in any order; through one alone goes a constant.
        y: (M, n) float64, the values.
        variance: (M,) float64 >= 0, of their errors, which are independent from place to place.
        roughness: theta, where it is known from elsewhere.
    """

    x: Tensor
    y: Tensor
    variance: Tensor
    roughness: float | None = None

    @cached_property
    def theta(self) -> float:
        """The roughness, where nothing else is told that under which the values are likeliest."""
        return max(ROUGHNESS, key=self._log_likelihood) if self.roughness is None else self.roughness

    def mean(self, x: Tensor) -> Tensor:
        """(B, n) float64, the curves at (B,), which are kept within the range of the values' places."""
        return self.weights(x) @ self.y

    def weights(self, x: Tensor) -> Tensor:
        """(B, M) float64: how the curve at (B,) is made of the values; each row sums to 1."""
        return self._predicted(x)[0]

    def stderr(self, x: Tensor) -> Tensor:
        """(B,) float64: standard deviation of the truth around the curve, by noise and by bends."""
        return self._predicted(x)[1].clamp(min=0).sqrt()

    def _predicted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The best linear unbiased prediction at (B,): (its weights (B, M), its mean squared error (B,)).

        [K + V, H; H^T, 0] [w; mu] = [k(x); h(x)] with the line's two functions H = [1, x]: w predicts, and the error
        is k(x, x) - w k(x) - mu h(x).
        """
        x = x.clamp(self.x.min(), self.x.max())
        asked = torch.cat([self.theta * self._kernel(self.x, x), self._line(x).T])
        solved = torch.linalg.solve(self._system(self.theta), asked)
        own = self.theta * self._kernel(x, x).diagonal()
        return solved[: len(self.x)].T, own - (solved * asked).sum(0)

    def _log_likelihood(self, theta: float) -> float:
        """That of a column of the values, on average, the line integrated out.

        -(log |det S| + y^T P y) / 2 with the matrix S of the prediction, and P its inverse's part that meets y.
        """
        system = self._system(theta)
        y = torch.cat([self.y, self.y.new_zeros(len(system) - len(self.y), self.y.shape[1])])
        fit = (y * torch.linalg.solve(system, y)).sum(0).mean()
        return -float(torch.linalg.slogdet(system).logabsdet + fit) / 2

    def _system(self, theta: float) -> Tensor:
        """(M + 2, M + 2), the matrix of the prediction."""
        noise = self.variance.clamp(min=LEAST_VARIANCE).diag()
        line = self._line(self.x)
        top = torch.cat([theta * self._kernel(self.x, self.x) + noise, line], 1)
        return torch.cat([top, torch.cat([line.T, line.new_zeros(line.shape[1], line.shape[1])], 1)])

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Cov[W(a), W(b)] = least^2 (3 largest - least) / 6, (A, B), counted from the first place on."""
        first = self.x.min()
        least = torch.minimum(a[:, None], b[None]) - first
        largest = torch.maximum(a[:, None], b[None]) - first
        return least.square() * (3 * largest - least) / 6

    def _line(self, x: Tensor) -> Tensor:
        """(B, 2): 1 and x; 1 alone where one place says nothing of a slope."""
        return torch.stack([torch.ones_like(x), x][: len(self.x)], 1)
