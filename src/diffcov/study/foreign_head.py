"""A published variance head becomes one of the run's: of which kind it is, and bound to the mean it came with.

The published heads say E[(eps - eps_hat)^2] (``npr``), E[eps^2] (``sn``), and beta_bar_t times the diagonal of the
Hessian of log q (``ocm``), from zero and without any link: as ours do that are fitted by squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffcov.covariance.ingredients import Ingredients
from diffcov.data import ExampleSet
from diffcov.denoiser.mean_model import MeanModel
from diffcov.engines.forward import look_along
from diffcov.engines.training.head_fit import HeadPlan
from diffcov.errors import InputError, UsageError
from diffcov.nets.variance_head import HeadSpec
from diffcov.store.checkpoint import load_weights
from diffcov.store.foreign.extended import PUBLISHED
from diffcov.store.foreign.facts import Foreign, ForeignHead
from diffcov.store.head import save_head
from diffcov.store.run import RunFolder

__all__ = ["PublishedHead", "known_kind", "published_head"]

LOSS = "squared"
"""What published heads are fitted by."""


@dataclass(frozen=True)
class PublishedHead:
    """A head of a known kind.

    Attributes:
        kind: name of its covariance.
        how: who said so.
        module: the head.
        spec: what it is.
        source: the file that it was in.
    """

    kind: str
    how: str
    module: nn.Module
    spec: HeadSpec
    source: Path

    def save(self, run: RunFolder, model: MeanModel) -> Path:
        """Write it as the run's head of its kind; returns where. OutputError if the file system refuses."""
        path = run.head(self.kind)
        told: dict[str, Any] = {"imported": {"from": str(self.source.absolute()), "kind": self.how}, "loss": LOSS}
        save_head(path, self.module, self.spec, model.reading, model.digest, told)
        return path


def known_kind(found: Foreign, told: str | None) -> str | None:
    """The kind of the head that a model was published with, as far as it is known before any image is looked at.

    Raises:
        UsageError: a kind that nobody published, or one that was told where there is no head.
    """
    if told is not None and told not in PUBLISHED:
        raise UsageError(f"--head takes {', '.join(PUBLISHED)}, the kinds that are published; found {told!r}")
    if told is not None and found.head is None:
        raise UsageError(f"--head {told} was given, and {found.source} holds no variance head (out2)")
    return told if told is not None or found.head is None else found.head.kind


def published_head(
    found: Foreign, told: str | None, model: MeanModel, examples: ExampleSet | None, times: Sequence[int], seed: int = 0
) -> PublishedHead | None:
    """The head that a model was published with; None if there is none.

    Its kind is the one that was told, else the one that the file's name says, else the one whose mean it has on images.
    Where there are images, what was told or is said has to be so on them.

    Args:
        found: the model.
        told: the kind that was asked for.
        model: the mean, on the device of the images.
        examples: real images, or None.
        times: where to look at them.
        seed: of the noise.

    Raises:
        UsageError: a kind that nobody published, or one that was told where there is no head.
        InputError: weights that are not those of such a head, a kind that nothing says, or one that images deny.
    """
    kind, how = known_kind(found, told), "--head" if told is not None else found.source.name
    if found.head is None:
        return None
    heads = {name: _built(found.head, name, model, found.source) for name in PUBLISHED}
    if examples is not None:
        off = _distances({name: head for name, (head, _) in heads.items()}, model, examples, times, seed)
        nearest = min(off, key=off.__getitem__)
        if kind is not None and kind != nearest:
            numbers = ", ".join(f"{name} {value:.2g}" for name, value in off.items())
            raise InputError(
                f"the head in {found.source} is of kind {kind} as {how} says, and on these images it is nearer to "
                f"{nearest} (off by {numbers}); say --head {nearest}, or leave the check out with --no-check"
            )
        kind, how = (nearest, "tried on images") if kind is None else (kind, how)
    if kind is None:
        raise InputError(
            f"{found.source} holds a variance head (out2), and nothing says of which kind: say --head with one of "
            f"{', '.join(PUBLISHED)}, or give images with --data"
        )
    module, spec = heads[kind]
    return PublishedHead(kind, how, module, spec, found.source)


def _built(head: ForeignHead, kind: str, model: MeanModel, source: Path) -> tuple[nn.Module, HeadSpec]:
    plan = HeadPlan(kind, LOSS, head.network)
    spec = plan.spec(model)
    module = spec.build(plan.start(Ingredients.of(model.schedule, model.data)))
    load_weights(module.network, {name: tensor.float() for name, tensor in head.weights.items()}, source)
    return module.eval().requires_grad_(False).to(model.device), spec


@torch.inference_mode()
def _distances(
    heads: dict[str, nn.Module], model: MeanModel, examples: ExampleSet, times: Sequence[int], seed: int
) -> dict[str, float]:
    """How far the mean of each reading of a head is from what it regresses, root mean square over times."""
    sums: dict[str, dict[int, list[Tensor]]] = {name: {t: [] for t in times} for name in (*heads, "error")}
    for noised in look_along(model, examples, tuple(times), seed=seed, batch_size=64):
        t = torch.full((len(noised.x_0),), noised.look.time, device=noised.x_0.device)
        sums["error"][noised.look.time].append(noised.residual.square().mean())
        for name, head in heads.items():
            sums[name][noised.look.time].append(head(noised.look.features, t).double().mean())
    means = {name: torch.stack([torch.stack(rows[t]).mean() for t in times]) for name, rows in sums.items()}
    return {
        name: float((means[name] - PUBLISHED[name].typical(means["error"])).square().mean().sqrt()) for name in heads
    }
