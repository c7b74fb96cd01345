"""The objective of variance heads: regress each covariance's target on the features of the frozen trunk.

The minimiser of E(target - head)^2 is E[target | x_t]. Several heads share every trunk pass. The trunk is frozen and
in eval mode: dropout in it would enter the target (eps - eps_hat)^2 as if it were uncertainty of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.base import HeadCovariance
from diffcov.errors import UsageError
from diffcov.mean_model import MeanModel
from diffcov.training.batches import Batch

__all__ = ["HeadObjective", "head_covariance"]


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


class HeadObjective:
    """Fit heads by squared error. Source: arXiv 2206.07309.

    Args:
        model: the mean model; frozen here.
        heads: head modules by kind.
    """

    def __init__(self, model: MeanModel, heads: Mapping[str, nn.Module]) -> None:
        self.model = model.freeze()
        self.heads = nn.ModuleDict(dict(heads)).train()
        self.targets = {kind: head_covariance(kind).head_target for kind in heads}

    @property
    def module(self) -> nn.Module:
        """The heads; the trunk is not among its parameters."""
        return self.heads

    @property
    def parts(self) -> Sequence[nn.Module]:
        """Each head: fitted together they become what they would have become alone."""
        return list(self.heads.values())

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """{kind: (B,) mean squared error of the head}."""
        with torch.no_grad():
            eps_hat, features = self.model.predict(batch.x_t, batch.t)
        return {
            kind: (self.heads[kind](features) - target(batch.eps, eps_hat)).square().flatten(1).mean(1)
            for kind, target in self.targets.items()
        }
