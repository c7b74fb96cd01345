"""What every command after training opens first: the run's mean model, and the images it was trained on."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from diffcov.cli.console import warn
from diffcov.cli.device import pick_device
from diffcov.errors import InputError
from diffcov.io.checkpoint import MeanCheckpoint, load_mean
from diffcov.io.datasets import load_images
from diffcov.io.run import Run
from diffcov.mean_model import PRECISIONS

__all__ = ["open_mean", "open_training_images"]


def open_mean(run: Run, device: str, precision: str | None) -> MeanCheckpoint:
    """The run's mean model on a device, in its own precision unless another is given.

    Raises:
        InputError: there is none, or it is damaged.
        NonFiniteError: its weights are not finite.
    """
    mean = load_mean(run.require_mean())
    mean.model.to(pick_device(device))
    if precision is not None:
        mean.model.autocast = PRECISIONS[precision]
    return mean


def open_training_images(mean: MeanCheckpoint, data: str | None, limit: int | None) -> tuple[Tensor, dict[str, Any]]:
    """(uint8 (N, C, H, W) on the model's device, where they came from): the mean's own images, or others of their kind.

    Raises:
        InputError: images that are gone, or of another shape or number of grey levels than the mean's.
    """
    own = mean.training["data"]
    source = data if data is not None else own["source"]
    if data is None and limit is None:
        limit = own["limit"]
    images = load_images(source, limit)
    if images.description != mean.spec.data:
        raise InputError(
            f"{source} holds images of {images.description}, but the mean model was trained on {mean.spec.data}; "
            "give images of that kind with --data"
        )
    provenance = images.provenance(limit)
    if data is None and limit == own["limit"] and provenance["digest"] != own["digest"]:
        warn(f"the images in {source} have changed since the mean model was trained on them")
    return images.images.to(mean.model.device), provenance
