"""Variance heads on disk: the head alone (kilobytes), bound to its trunk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from diffcov.denoiser.reading import Reading
from diffcov.nets.variance_head import HeadSpec
from diffcov.store import artifact
from diffcov.store.binding import Trunk
from diffcov.store.checkpoint import check_size, load_weights

__all__ = ["HeadFile", "load_head", "save_head"]

KIND = "head"


@dataclass(frozen=True)
class HeadFile:
    """A head as read from disk: frozen, in eval mode, on the CPU.

    Attributes:
        head: (features, times) -> (B, C, H, W).
        spec: what it is.
        trunk: digest of the mean model it was fitted on.
        training: how it was fitted.
        digest: of its weights.
    """

    head: nn.Module
    spec: HeadSpec
    trunk: str
    training: dict[str, Any]
    digest: str


def save_head(path: Path, head: nn.Module, spec: HeadSpec, mean: Reading, trunk: str, training: dict[str, Any]) -> str:
    """Write the weights of a head of a mean model; returns their digest. OutputError if the file system refuses."""
    metadata = {
        "head": asdict(spec),
        "schedule": mean.schedule.spec,
        "data": mean.data.as_dict(),
        "trunk": trunk,
        "training": training,
    }
    return artifact.write(path, KIND, head.state_dict(), metadata)


def load_head(path: Path, trunk: Trunk | None = None) -> HeadFile:
    """Read a head.

    Args:
        path: the file.
        trunk: the mean model it will be used with; None reads it without a check.

    Raises:
        InputError: missing, damaged, not a head, or fitted on another mean (both digests are named).
        NonFiniteError: NaN or infinity in the weights.
    """
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        spec = HeadSpec(**{**found.metadata["head"], "shape": tuple(found.metadata["head"]["shape"])})
        check_size(spec.build, found.tensors, path)
        head = spec.build()
        made_for, training = found.metadata["trunk"], found.metadata["training"]
    if trunk is not None:
        remedy = f"diffcov fit-var-head --kind {spec.kind} --force"
        trunk.check(path, f"{spec.kind} head", made_for, remedy, found.metadata)
    load_weights(head, found.tensors, path)
    return HeadFile(head.eval().requires_grad_(False), spec, made_for, training, found.digest)
