"""The objective of variance heads: regress each covariance's target on the features of the frozen trunk.

Several heads share every trunk pass. The trunk is frozen and in eval mode: dropout in it would enter the target
(eps - eps_hat)^2 as if it were uncertainty of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.base import Fitted, Need
from diffcov.covariance.head import HeadCovariance, Noised
from diffcov.denoiser.network import MeanModel
from diffcov.diffusion.process import clipped_eps
from diffcov.engines.training.batches import Batch
from diffcov.engines.training.curvature import predict_with_curvature
from diffcov.engines.training.losses import LOSSES
from diffcov.errors import InputError, UsageError
from diffcov.nets.head import HeadSpec

__all__ = ["HeadObjective", "HeadPlan", "head_covariance"]


def head_covariance(kind: str) -> type[HeadCovariance]:
    """The covariance class that reads heads of this kind.

    Raises:
        UsageError: no such covariance, or one that has no head.
    """
    if kind not in registry.heads():
        raise UsageError(f"there is no head of kind {kind!r}; choose from {', '.join(registry.heads())}")
    found = registry.load(kind)
    assert issubclass(found, HeadCovariance)
    return found


@dataclass(frozen=True)
class HeadPlan:
    """How a head of some kind is fitted.

    Attributes:
        kind: name of its covariance.
        loss: name in ``LOSSES``.
        network: name in ``models.head.NETWORKS``.

    Raises:
        UsageError: a kind without heads, or one that is not fitted by this loss.
    """

    kind: str
    loss: str
    network: str

    def __post_init__(self) -> None:
        known = head_covariance(self.kind).losses
        if self.loss not in known:
            raise UsageError(f"a head of kind {self.kind} is fitted by {' or '.join(known)}, not by {self.loss}")

    @classmethod
    def of(cls, kind: str, loss: str | None, network: str) -> HeadPlan:
        """With the kind's own loss where none is asked for, and its own network where it cannot be ``network``."""
        covariance = head_covariance(kind)
        own = covariance.architectures
        return cls(kind, loss or covariance.losses[0], network if network in own else own[0])

    @property
    def wanted(self) -> frozenset[Need]:
        """What a fit reads: what its covariance needs beside the head, and where the head starts."""
        kind = head_covariance(self.kind)
        start = kind.start_needs if LOSSES[self.loss].from_start else frozenset()
        return (kind.needs | start) - {Need.HEAD}

    def require(self, fitted: Fitted) -> None:
        """Check that what a fit reads has been measured (InputError, with the command)."""
        for need in Need:
            if need in self.wanted and not fitted.holds(need, self.kind):
                raise InputError(
                    f"a {self.kind} head fitted by {self.loss} starts from {need.value}, and none was found; "
                    f"run: {need.command(self.kind)}"
                )

    def spec(self, model: MeanModel) -> HeadSpec:
        """The head on this trunk."""
        return HeadSpec(
            kind=self.kind,
            network=self.network,
            link=LOSSES[self.loss].link,
            reach=head_covariance(self.kind).reach,
            feature_channels=model.feature_channels,
            embedding_width=model.embedding_width,
            shape=model.data.shape,
            timesteps=model.schedule.T,
        )

    def start(self, model: MeanModel, fitted: Fitted) -> Tensor:
        """(T+1,) what the head says before it is fitted."""
        kind, T = head_covariance(self.kind), model.schedule.T
        self.require(fitted)
        if LOSSES[self.loss].from_start:
            return kind.start(model.schedule, fitted)
        return torch.full((T + 1,), kind.published_start, dtype=torch.float64)


class HeadObjective:
    """Fit heads, each by its own loss.

    Args:
        model: the mean model; frozen here.
        heads: head modules by kind.
        losses: names in ``LOSSES`` by kind.
        fitted: what targets are measured against, for the kinds that need it.
    """

    def __init__(
        self,
        model: MeanModel,
        heads: Mapping[str, nn.Module],
        losses: Mapping[str, str],
        fitted: Fitted | None = None,
    ) -> None:
        self.model = model.freeze()
        self.heads = nn.ModuleDict(dict(heads)).train()
        self.fitted = fitted or Fitted()
        self.kinds = {kind: head_covariance(kind) for kind in heads}
        self.values = {kind: LOSSES[losses[kind]].value for kind in heads}

    @property
    def module(self) -> nn.Module:
        """The heads; the trunk is not among its parameters."""
        return self.heads

    @property
    def parts(self) -> Sequence[nn.Module]:
        """Each head: fitted together they become what they would have become alone."""
        return list(self.heads.values())

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """{kind: (B,) mean loss of the head}."""
        with torch.no_grad():
            if any(kind.needs_curvature for kind in self.kinds.values()):
                prediction, curvature = predict_with_curvature(self.model, batch.x_t, batch.t, batch.signs())
            else:
                prediction, curvature = self.model.predict(batch.x_t, batch.t), None
            clipped = clipped_eps(
                self.model.schedule, batch.x_t, batch.t, prediction.eps_hat, self.model.data.low, self.model.data.high
            )
            noised = Noised(self.model.schedule, batch.t, batch.eps, prediction.eps_hat, clipped, curvature)
            targets = {name: kind.head_target(noised, self.fitted) for name, kind in self.kinds.items()}
        return {
            name: self.values[name](self.heads[name](prediction.features, batch.t), target).flatten(1).mean(1)
            for name, target in targets.items()
        }
