"""The objective of variance heads: regress each covariance's target on the features of the frozen mean.

Several heads share every network pass. The mean is frozen and in eval mode: dropout in it would enter the target
(eps - eps_hat)^2 as if it were uncertainty of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import FittedHead, Ingredient, Ingredients
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.noised import Noised
from diffcov.engines.curvature import look_with_curvature
from diffcov.engines.training.batches import Batch
from diffcov.engines.training.held_out import STEPS, step_gain
from diffcov.engines.training.losses import LOSSES
from diffcov.errors import UsageError
from diffcov.gaussian import kl_lifted
from diffcov.nets.features import Features
from diffcov.nets.variance_head import HeadSpec

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
        network: name in ``nets.variance_head.NETWORKS``.

    Raises:
        UsageError: a kind without heads, or one that is not fitted by this loss.
    """

    kind: str
    loss: str
    network: str

    def __post_init__(self) -> None:
        known = self.covariance.losses
        if self.loss not in known:
            raise UsageError(f"a head of kind {self.kind} is fitted by {' or '.join(known)}, not by {self.loss}")

    @classmethod
    def of(cls, kind: str, loss: str | None, network: str, plain_features: bool = False) -> HeadPlan:
        """A plan with the kind's own loss where none is asked for, and its own network where it cannot be ``network``.

        Features that are no more than x_t and eps_hat get the network that makes its own of them.
        """
        covariance = head_covariance(kind)
        wanted, own = "stem" if plain_features else network, covariance.architectures
        return cls(kind, loss or covariance.losses[0], wanted if wanted in own else own[0])

    @property
    def covariance(self) -> type[HeadCovariance]:
        """The class that will read the head."""
        return head_covariance(self.kind)

    @property
    def wanted(self) -> tuple[type[Ingredient], ...]:
        """Classes of what a fit reads: what its covariance needs beside the head, and where the head starts."""
        start = self.covariance.start_needs if LOSSES[self.loss].from_start else ()
        every = dict.fromkeys((*self.covariance.needs, *start))
        return tuple(kind for kind in every if kind is not FittedHead)

    def require(self, ingredients: Ingredients) -> None:
        """Check that what a fit reads has been measured (InputError, with the command)."""
        ingredients.require(self.wanted, self.kind, f"a {self.kind} head fitted by {self.loss} starts from")

    def spec(self, denoiser: Denoiser) -> HeadSpec:
        """The head on this mean."""
        return HeadSpec(
            kind=self.kind,
            network=self.network,
            link=LOSSES[self.loss].link,
            reach=self.covariance.reach,
            feature_channels=denoiser.feature_channels,
            embedding_width=denoiser.embedding_width,
            shape=denoiser.data.shape,
            timesteps=denoiser.schedule.T,
        )

    def start(self, ingredients: Ingredients) -> Tensor:
        """(T+1,) what the head says before it is fitted."""
        self.require(ingredients)
        if LOSSES[self.loss].from_start:
            return self.covariance.start(ingredients.schedule, ingredients)
        return torch.full((ingredients.schedule.T + 1,), self.covariance.published_start, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class _HeadLook:
    """One head's part of a look.

    Attributes:
        features: what it reads.
        target: what it regresses, (B, C, H, W).
        noised: where that comes from, clipped if its covariance is.
    """

    features: Features
    target: Tensor
    noised: Noised


class HeadObjective:
    """Fit heads, each by its own loss.

    Attributes:
        resting: kinds of heads that are not fitted any more; none at first.

    Args:
        denoiser: the mean as it predicts, not clipped; frozen here.
        heads: head modules by kind.
        losses: names in ``LOSSES`` by kind.
        ingredients: by kind, what targets are measured against.

    Raises:
        UsageError: a denoiser that clips.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        heads: Mapping[str, nn.Module],
        losses: Mapping[str, str],
        ingredients: Mapping[str, Ingredients],
    ) -> None:
        if denoiser.view.clip_x0:
            raise UsageError(
                "heads are fitted on a mean that is not clipped: each says itself which error it regresses"
            )
        self.denoiser = denoiser.eval().requires_grad_(False)
        self.clipped = Clipped(denoiser)
        self.heads = nn.ModuleDict(dict(heads)).train()
        self.ingredients = dict(ingredients)
        self.kinds = {kind: head_covariance(kind) for kind in heads}
        self.values = {kind: LOSSES[losses[kind]].value for kind in heads}
        self.resting: frozenset[str] = frozenset()
        self._gain = step_gain(denoiser.schedule).to(denoiser.device)

    @property
    def module(self) -> nn.Module:
        """The heads; the mean is not among its parameters."""
        return self.heads

    @property
    def parts(self) -> Sequence[nn.Module]:
        """Each head: fitted together they become what they would have become alone."""
        return list(self.heads.values())

    @property
    def active(self) -> Mapping[str, type[HeadCovariance]]:
        """Classes of the heads that are still being fitted, by kind: those that are not in ``resting``."""
        return {name: kind for name, kind in self.kinds.items() if name not in self.resting}

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """{kind: (B,) mean loss of the head} of the active ones."""
        with torch.no_grad():
            looks = self._looks(batch)
        return {
            name: self.values[name](self.heads[name](look.features, batch.t), look.target).flatten(1).mean(1)
            for name, look in looks.items()
        }

    @torch.no_grad()
    def nats(self, heads: nn.ModuleDict, batch: Batch) -> Mapping[str, Tensor]:
        """{kind: (B,) float64 nats a value} of :data:`STEPS` steps, of the active ones, whatever they are fitted by.

        Of a variance g of the error of eps_hat, in which a DDPM step from t is :func:`step_gain` long, they are
        (log(1 + gain g) + gain (target - g) / (1 + gain g)) / 2, times the number of steps: what the bound on the
        likelihood is made of, and least in the mean where g is the target's mean. Below 0 a head says 0.

        Args:
            heads: the weights to judge, such as the averaged ones.
            batch: of images that the heads are not fitted on.
        """
        found = {}
        for name, look in self._looks(batch).items():
            output = heads[name](look.features, batch.t).double().clamp(min=0)
            unit = self.kinds[name].head_unit(look.noised, self.ingredients[name])
            gain = self._gain[batch.t][:, None, None, None] * unit.double()
            found[name] = STEPS * kl_lifted(gain, look.target.double(), output).flatten(1).mean(1)
        return found

    def _looks(self, batch: Batch) -> dict[str, _HeadLook]:
        """What each active head reads and regresses, from one pass of the trunk.

        What it reads is contiguous: the gradient of a group norm over channels_last activations that need none ends
        the process (torch 2.13 on a CPU).
        """
        bare = self._noised(batch)
        through_clip = bare.seen(self.clipped.change(bare.look))
        features, found = Features(*(part.contiguous() for part in bare.look.features)), {}
        for name, kind in self.active.items():
            noised = through_clip if kind.clips else bare
            found[name] = _HeadLook(features, kind.head_target(noised, self.ingredients[name]), noised)
        return found

    def _noised(self, batch: Batch) -> Noised:
        denoiser = self.denoiser
        labels = batch.labels if denoiser.classes else None
        if any(kind.needs_curvature for kind in self.active.values()):
            look, curvature = look_with_curvature(denoiser, batch.x_t, batch.t, batch.signs(), labels)
        else:
            look, curvature = denoiser.look(batch.x_t, batch.t, labels), None
        return Noised(denoiser.schedule, batch.x_0, batch.eps, look, curvature=curvature)
