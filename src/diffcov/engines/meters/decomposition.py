"""The best K steps for every K at once: the bound on the likelihood is a sum over steps, so dynamic programming.

-ELBO of a trajectory is F[0, t_1] + F[t_1, t_2] + .. + F[t_{K-1}, t_K] + prior[t_K]. One network call at t gives the
whole column F[:, t], because the posterior and the lift of every s < t need nothing else.

Source: arXiv 2106.03802 (decomposed terms and dynamic programming).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.optimal import OptimalGrids
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.meters.interpolation import chebyshev_nodes, interpolation_matrix
from diffcov.engines.meters.likelihood import decoder_nats, prior_nats
from diffcov.errors import NonFiniteError, UsageError

__all__ = ["Decomposition", "DecompositionMeter", "shortest_paths"]


@dataclass(frozen=True)
class Decomposition:
    """The terms of the bound between M candidate times, mean over images, in nats an image.

    Attributes:
        T: number of trained steps.
        dims: d.
        candidates: int64 (M,), strictly increasing in 1..T.
        terms: (M+1, M+1) float64; entry [j, i] is the cost of arriving at candidate j (0: at the data) from candidate
            i > j; +inf where i <= j.
        prior: (M+1,) float64, the cost of starting at a candidate; entry 0 is +inf.

    Raises:
        NonFiniteError: NaN anywhere.
    """

    T: int
    dims: int
    candidates: Tensor
    terms: Tensor
    prior: Tensor

    def __post_init__(self) -> None:
        for name, values in (("transition", self.terms), ("prior", self.prior)):
            if values.isnan().any():
                times = [0, *self.candidates.tolist()]
                place = [times[i] for i in values.isnan().nonzero()[0].tolist()]
                where = " to ".join(f"t={t}" for t in reversed(place))
                raise NonFiniteError(
                    f"the {name} terms of the likelihood hold NaN, first that of {where}: the mean model or the "
                    "covariance is broken"
                )

    def cost(self, grid: Grid) -> float:
        """-ELBO along a grid, nats an image.

        Raises:
            UsageError: a time that is no candidate.
        """
        numbers = {int(t): i for i, t in enumerate(self.candidates, start=1)}
        missing = [t for t in grid.times if t not in numbers]
        if missing:
            raise UsageError(f"t={missing[0]} is not among the {len(numbers)} times that were measured")
        path = [0, *(numbers[t] for t in grid.times)]
        steps = [float(self.terms[j, i]) for j, i in pairwise(path)]
        return math.fsum([*steps, float(self.prior[path[-1]])])


class DecompositionMeter:
    """Adds up the terms of one covariance between all candidate times.

    Args:
        schedule: of the model.
        data: of the model.
        covariance: whose steps are weighed.
        candidates: strictly increasing times in 1..T.
        count: N, the number of images.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        data: DataDescription,
        covariance: Covariance,
        candidates: Sequence[int],
        count: int,
    ) -> None:
        self.schedule, self.data, self.covariance, self.count = schedule, data, covariance, count
        self._numbers = {t: i for i, t in enumerate(candidates, start=1)}
        self._candidates = torch.tensor(list(candidates), dtype=torch.int64)
        size = len(self._numbers) + 1
        self._terms = torch.zeros(size, size, dtype=torch.float64)
        self._prior = torch.zeros(size, dtype=torch.float64)

    @property
    def times(self) -> Sequence[int]:
        """The candidates."""
        return tuple(self._numbers)

    def add(self, noised: Noised) -> None:
        """The column of the look's time."""
        t = noised.look.time
        i = self._numbers[t]
        self._prior[i] += prior_nats(self.schedule, noised.x_0, t).sum().cpu() / self.count
        self._terms[0, i] += decoder_nats(self.schedule, self.data, noised).sum().cpu() / self.count
        if i > 1:
            rho = self.schedule.snr_gain(self._candidates[: i - 1], t)
            nodes = chebyshev_nodes(rho)
            nats = self.covariance.checked(noised.look).kl_lifted(noised.error, nodes)
            self._terms[1:i, i] += interpolation_matrix(nodes, rho) @ nats.sum(1).cpu() / self.count

    def sums(self) -> Sequence[Tensor]:
        """All that it has added up."""
        return self._terms, self._prior

    def result(self) -> Decomposition:
        """The means; what cannot be a step is +inf."""
        size = self._terms.shape[0]
        step = torch.ones(size, size, dtype=torch.bool).triu(1)
        prior = self._prior.clone()
        prior[0] = math.inf
        terms = self._terms.masked_fill(~step, math.inf)
        return Decomposition(self.schedule.T, self.data.dims, self._candidates, terms, prior)


def shortest_paths(found: Decomposition) -> OptimalGrids:
    """Dynamic programming over the terms: cost_K[i] = min over j < i of cost_{K-1}[j] + terms[j, i].

    The k-th time of a path is at least candidate k, so round k needs the block below and right of k alone; all
    rounds together add M^3 / 3 numbers and hold two M x M tables.

    Raises:
        NonFiniteError: no path of some length has a finite cost.
    """
    M = found.candidates.numel()
    arriving = found.terms.T.contiguous()  # row i: from candidate i to each j, so that minima run along memory
    buffer = torch.empty(M * M, dtype=torch.float64)
    parents = torch.zeros(M + 1, M + 1, dtype=torch.int32)
    reached = arriving[:, 0].clone()
    cost = torch.full((M + 1,), math.inf, dtype=torch.float64)
    last = torch.zeros(M + 1, dtype=torch.int64)
    cost[1], last[1] = (reached + found.prior).min(0)
    for K in range(2, M + 1):
        height = M + 1 - K  # arrivals K..M, from K-1..M-1
        sums = buffer[: height * height].view(height, height)
        torch.add(arriving[K:, K - 1 : M], reached[None, K - 1 : M], out=sums)
        reached[K:], step = sums.min(1)
        reached[:K] = math.inf
        parents[K, K:] = (step + K - 1).to(torch.int32)
        cost[K], last[K] = (reached + found.prior).min(0)
    impossible = (~torch.isfinite(cost[1:])).nonzero()
    if impossible.numel():
        raise NonFiniteError(f"no grid of {int(impossible[0]) + 1} steps has a finite likelihood")
    packed = found.candidates[_walk_back(parents, last) - 1].to(torch.int32)
    return OptimalGrids(found.T, cost, packed)


def _walk_back(parents: Tensor, last: Tensor) -> Tensor:
    """Candidate numbers of the path of every length, first to last, packed by length: (M (M+1) / 2,) int64.

    All paths walk together: at position k those of length k and more take one step each.
    """
    M = last.numel() - 1
    node = last.clone()
    paths = torch.zeros(M + 1, M + 1, dtype=torch.int64)
    for k in range(M, 0, -1):
        paths[k:, k] = node[k:]
        node[k:] = parents[k, node[k:]].long()
    return paths[paths > 0]
