"""Stop a fit of heads when the likelihood of held-out images no longer falls, each head by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from diffcov.engines.training.head_fit import HeadObjective
from diffcov.engines.training.held_out import HeldOut
from diffcov.errors import NonFiniteError
from diffcov.processes.base import current

__all__ = ["PATIENCE", "TOLERANCE", "Curve", "EarlyStopping", "Evaluation"]

PATIENCE = 4
"""Evaluations without a gain after which a head is left as it is, unless another number is asked for."""
TOLERANCE = 0.01
"""Nats a value of a chain of ten steps that count as a gain: 0.014 bits/dim. A curve that falls more slowly than by so
much in so many evaluations as there is patience has come to its end."""
WINDOW = 3
"""A curve is smoothed by the mean of so many evaluations."""
IMAGES_BETWEEN = 3200
"""Images of fitting between two evaluations, which take 256 looks."""


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        iteration: iterations done.
        held_out: nats a value of each head that is still being fitted.
        smoothed: the same, averaged over the last three evaluations.
    """

    iteration: int
    held_out: dict[str, float]
    smoothed: dict[str, float]


@dataclass
class Curve:
    """The held-out likelihood of one head, smoothed.

    Attributes:
        recent: the last :data:`WINDOW` evaluations, in nats a value.
        best: the least smoothed value.
        best_iteration: where it was.
        mark: the smoothed value of the last gain; the next has to be below it by :data:`TOLERANCE`.
        since: evaluations since.
    """

    recent: list[float] = field(default_factory=list)
    best: float = math.inf
    best_iteration: int = 0
    mark: float = math.inf
    since: int = 0

    @property
    def smoothed(self) -> float:
        """The mean of the last evaluations."""
        return sum(self.recent) / len(self.recent)

    def add(self, iteration: int, nats: float) -> None:
        """Add one evaluation."""
        self.recent = [*self.recent, nats][-WINDOW:]
        if self.smoothed < self.best:
            self.best, self.best_iteration = self.smoothed, iteration
        if self.smoothed < self.mark - TOLERANCE:
            self.mark, self.since = self.smoothed, 0
        else:
            self.since += 1

    def tensor(self) -> Tensor:
        """The curve as one tensor, float64; empty where there is no evaluation yet, and the best is infinite."""
        if not self.recent:
            return torch.empty(0, dtype=torch.float64)
        return torch.tensor([self.best, self.best_iteration, self.mark, self.since, *self.recent], dtype=torch.float64)

    @classmethod
    def of(cls, stored: Tensor) -> Curve:
        """The inverse of :meth:`tensor`."""
        if not len(stored):
            return cls()
        best, best_iteration, mark, since, *recent = stored.tolist()
        return cls(recent, best, int(best_iteration), mark, int(since))


class EarlyStopping:
    """Evaluate heads now and then, keep the best weights of each, and let a head rest that gains no more.

    A head that rests is not touched again, so that what becomes of it does not depend on which others are fitted with
    it. Its weights are those of its best smoothed evaluation. While the latest evaluation is the best one, they are the
    averaged weights as they are: nothing says yet that they could be better.

    Args:
        objective: the heads; those that rest are left out of its losses.
        held_out: looks at images that they are not fitted on.
        patience: evaluations without a gain after which a head rests; 0 never lets one rest.
        batch_size: images an iteration, from which it follows how often to evaluate.
    """

    def __init__(self, objective: HeadObjective, held_out: HeldOut, patience: int, batch_size: int) -> None:
        self.objective = objective
        self.held_out = held_out
        self.patience = patience
        self.every = max(1, IMAGES_BETWEEN // batch_size)
        self.best = deepcopy(objective.heads).eval().requires_grad_(False)
        self.curves = {kind: Curve() for kind in objective.kinds}
        self.evaluated = -1

    @property
    def over(self) -> bool:
        """Whether every head rests."""
        return len(self.objective.resting) == len(self.curves)

    def due(self, iteration: int) -> bool:
        """Whether to evaluate after so many iterations."""
        return iteration % self.every == 0 and iteration > self.evaluated and not self.over

    def evaluate(self, iteration: int, averaged: nn.Module) -> Evaluation:
        """Judge the averaged weights.

        Raises:
            NonFiniteError: a likelihood that is no number.
        """
        assert isinstance(averaged, nn.ModuleDict)
        found = self._nats(averaged)
        for kind, nats in found.items():
            if not math.isfinite(nats):
                raise NonFiniteError(f"the held-out likelihood of the {kind} head is {nats} at iteration {iteration}")
            curve = self.curves[kind]
            curve.add(iteration, nats)
            if curve.best_iteration == iteration:
                self.best[kind].load_state_dict(averaged[kind].state_dict())
        self.evaluated = iteration
        self._rest()
        return Evaluation(iteration, found, {kind: self.curves[kind].smoothed for kind in found})

    def _nats(self, averaged: nn.ModuleDict) -> dict[str, float]:
        """Nats of all looks; each process takes its rows of every batch."""
        numbers = range(self.held_out.count)

        def judged() -> list[Mapping[str, Tensor]]:
            found = [self.objective.nats(averaged, self.held_out.at(number)) for number in numbers]
            return [{kind: nats.cpu() for kind, nats in batch.items()} for batch in found]

        parts = current().gathered(judged)
        kinds = parts[0][0]
        return {kind: float(torch.cat([part[n][kind] for n in numbers for part in parts]).mean()) for kind in kinds}

    def _rest(self) -> None:
        tired = {kind for kind, curve in self.curves.items() if self.patience and curve.since >= self.patience}
        self.objective.resting = frozenset(tired)

    def kept(self, averaged: nn.Module, iteration: int) -> Mapping[str, tuple[nn.Module, int]]:
        """The weights to keep and the iteration that they are of, by kind; see the class."""
        assert isinstance(averaged, nn.ModuleDict)
        return {
            kind: (self.best[kind], curve.best_iteration)
            if kind in self.objective.resting or curve.best_iteration < self.evaluated
            else (averaged[kind], iteration)
            for kind, curve in self.curves.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: ``curve.*``, ``best.*`` and ``evaluated``."""
        out = {f"curve.{kind}": curve.tensor() for kind, curve in self.curves.items()}
        out |= {f"best.{name}": value for name, value in self.best.state_dict().items()}
        return {**out, "evaluated": torch.tensor(self.evaluated)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`tensors`, with a patience that may be another. KeyError: they are another's."""
        self.curves = {kind: Curve.of(tensors[f"curve.{kind}"]) for kind in self.curves}
        self.best.load_state_dict({name: tensors[f"best.{name}"] for name in self.best.state_dict()})
        self.evaluated = int(tensors["evaluated"])
        self._rest()
