"""The likelihood of the probability flow, for means and solvers whose chain has no bound.

In y = x / sqrt(abar) and sigma = sqrt(bbar / abar) the flow is dy / d sigma = eps_hat, so along it

    d log p(y) / d sigma = -div_y eps_hat = -sqrt(abar) tr(d eps_hat / d x_t),

from x_{t_1} at the first time of a grid to N(0, I) at its last. Heun's method takes each step of the grid: the mean of
both ends, which has order 2. Below t_1 stands the decoder of the bound, so that images with grey levels have a
likelihood at all:

    -log p(x_0) <= E_q(x_t1 | x_0)[-log p(x_t1) - log p(x_0 | x_t1) + log q(x_t1 | x_0)]

Source: arXiv 2011.13456, section 4.3 and appendix D.2 (instantaneous change of variables, Hutchinson's trace).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffcov.data import Examples, ExampleSet
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.level import q_sample
from diffcov.engines.curvature import look_with_curvature
from diffcov.engines.finite import Watch
from diffcov.engines.meters.likelihood import Estimate, decoder_nats
from diffcov.errors import NonFiniteError, UsageError
from diffcov.noise import MEASURING, ImageNoise
from diffcov.processes.base import current

__all__ = ["FlowLikelihood", "MadeNats", "Nats", "flow_likelihood"]

EXACT = 16
"""Dimensions up to which the trace is taken whole, one backward pass a dimension."""
Nats = tuple[Tensor, Tensor]
"""Of a batch of images, (B,) float64 each: along the whole grid, and along every other time of it."""
MadeNats = Callable[[], Nats]
"""What makes them."""


@dataclass(frozen=True)
class FlowLikelihood:
    """An upper bound on -log p of N images by the probability flow, in nats an image (all d pixels together).

    It is a bound for what stands below t_1, see above; the flow's part has the error of its steps, and that of the
    random signs unless the trace is whole.

    Attributes:
        nats: (N,) float64, along the whole grid.
        coarse: (N,) float64, along every other time of it: the difference is three times the discretisation error.
        dims: d.
        exact: whether the trace was taken whole; else with one vector of random signs an image.
        network_calls: forward passes an image, each but the decoder's with one backward pass.
    """

    nats: Tensor
    coarse: Tensor
    dims: int
    exact: bool
    network_calls: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values in bits/dim."""
        unit = self.dims * math.log(2)
        total = Estimate.of(self.nats / unit)
        return {
            "bits_per_dim": total.mean,
            "stderr": None if math.isnan(total.stderr) else total.stderr,
            "discretisation": abs(float((self.nats - self.coarse).mean())) / unit / 3,
            "trace": "whole" if self.exact else "random signs",
            "network_calls_an_image": self.network_calls,
        }


@torch.no_grad()
def flow_likelihood(
    denoiser: Denoiser,
    examples: ExampleSet,
    grid: Grid,
    *,
    seed: int = 0,
    batch_size: int = 64,
    kept: Callable[[int, MadeNats], Nats] = lambda start, make: make(),
    on_batch: Callable[[int], None] = lambda done: None,
) -> FlowLikelihood:
    """The likelihood of images along a grid; their noise and their signs depend on (seed, image) alone.

    Several processes share the batches, and all get the whole.

    Args:
        denoiser: the mean, as it predicts: a clip would bend the flow.
        examples: on the mean's device; a mean with classes sees their labels.
        grid: at least two times, at which alpha_bar is above 0.
        seed: of noise and signs.
        batch_size: images a network call.
        kept: (number of a batch's first image, what makes the nats of its images along the grid and along every other
            time of it) -> those nats, made or kept from an earlier try.
        on_batch: told the number of images done.

    Raises:
        UsageError: a single time, or one at which alpha_bar is 0.
        NonFiniteError: NaN or infinity anywhere.
    """
    if grid.K < 2:
        raise UsageError("the flow needs at least 2 times to go along; give --steps 2 or more")
    if denoiser.schedule.alpha_bar[grid.times[-1]] == 0:
        raise UsageError(
            f"the flow begins at finite noise, and alpha_bar is 0 at t={grid.times[-1]}; give times below it with "
            "--grid"
        )
    exact = denoiser.data.dims <= EXACT
    every_other = (*grid.times[:-1:2], grid.times[-1])
    ours, starts = current(), range(0, len(examples), batch_size)

    def of_batch(start: int) -> Nats:
        part = examples[start : start + batch_size]
        begun = _Begun(denoiser, part, start, grid.times[0], seed, exact)
        return begun.nats(grid.times), begun.nats(every_other)

    def along_both() -> dict[int, Nats]:
        found = {}
        for start in starts[ours.rank :: ours.size]:
            found[start] = kept(start, partial(of_batch, start))
            on_batch(min(start + batch_size, len(examples)))
        return found

    found = {start: both for part in ours.gathered(along_both) for start, both in part.items()}
    nats, rough = (torch.cat([found[start][k] for start in starts]) for k in range(2))
    if not (torch.isfinite(nats).all() and torch.isfinite(rough).all()):
        raise NonFiniteError("NaN or infinity along the probability flow; the mean is broken, or the steps are too few")
    along = 2 * (len(grid.times) + len(every_other) - 2)  # two a step, on both grids
    calls = 1 + along * (denoiser.data.dims if exact else 1)  # the first is the decoder's
    return FlowLikelihood(nats, rough, denoiser.data.dims, exact, calls * denoiser.calls)


class _Begun:
    """A batch of images at the first time, and the parts of their likelihood below it."""

    def __init__(self, denoiser: Denoiser, part: Examples, start: int, first: int, seed: int, exact: bool) -> None:
        self.denoiser, self.exact, data = denoiser, exact, denoiser.data
        schedule, numbers = denoiser.schedule, range(start, start + len(part))
        self.cond = part.labels if denoiser.classes else None
        x_0 = data.encode(part.images, denoiser.work_dtype).double()
        draw = ImageNoise(seed, numbers, data.shape, denoiser.device, "flow", denoiser.work_dtype, MEASURING)
        eps = draw.draw().double()
        self.signs = draw.draw().double().sign()
        self.x = q_sample(schedule, x_0, first, eps)
        look = denoiser.look(self.x, first, self.cond)
        below = decoder_nats(schedule, data, Noised(schedule, x_0, eps, look, start))
        # E log q(x_t1 | x_0) is that of a Gaussian; y = x / sqrt(abar) has another density than x
        spread = data.dims / 2 * (1 + math.log(2 * math.pi * float(schedule.beta_bar[first])))
        self.below = below - spread + data.dims / 2 * math.log(float(schedule.alpha_bar[first]))

    def nats(self, times: tuple[int, ...]) -> Tensor:
        """-log p along these times, the first of which is where the batch stands; (B,) float64 on the CPU."""
        schedule = self.denoiser.schedule
        y = self.x / math.sqrt(schedule.alpha_bar[times[0]])
        change, watch = torch.zeros(len(y), dtype=torch.float64, device=y.device), Watch()
        for s, t in pairwise(times):
            slope, spread = self._field(y, s)
            width = math.sqrt(schedule.ratio[t]) - math.sqrt(schedule.ratio[s])
            ahead, spread_ahead = self._field(y + width * slope, t)
            y = y + width / 2 * (slope + ahead)
            change = change + width / 2 * (spread + spread_ahead)
            watch.see("the images", t, y)
            watch.see("the divergence of the noise", t, change)
        watch.require("along the probability flow", "the mean is broken, or the steps are too few")
        last = float(schedule.alpha_bar[times[-1]])
        dims = y[0].numel()
        norm = (last * y.square()).flatten(1).sum(1)
        log_prior = -norm / 2 - dims / 2 * math.log(2 * math.pi) + dims / 2 * math.log(last)
        return (self.below - log_prior - change).cpu()

    def _field(self, y: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """eps_hat (B, C, H, W) and its divergence in y (B,)."""
        root = math.sqrt(self.denoiser.schedule.alpha_bar[t])
        times = torch.full((len(y),), t, device=y.device)
        if not self.exact:
            look, along = look_with_curvature(self.denoiser, root * y, times, self.signs, self.cond)
            return look.eps_hat, root * along.flatten(1).sum(1)
        total = torch.zeros(len(y), dtype=torch.float64, device=y.device)
        for one in torch.eye(y[0].numel(), dtype=y.dtype, device=y.device):
            look, along = look_with_curvature(
                self.denoiser, root * y, times, one.reshape(y[0].shape).expand_as(y).contiguous(), self.cond
            )
            total = total + along.flatten(1).sum(1)
        return look.eps_hat, root * total
