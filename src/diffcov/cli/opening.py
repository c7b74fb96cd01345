"""What every command after training opens first: the run's mean model, and the images it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from diffcov.cli.console import note, warn
from diffcov.cli.device import pick_device
from diffcov.cli.options import with_run
from diffcov.covariance.base import Covariance, Fitted, Need
from diffcov.covariance.registry import COVARIANCES
from diffcov.data import DataDescription
from diffcov.denoiser.network import PRECISIONS
from diffcov.engines.training.heads import HeadPlan, head_covariance
from diffcov.errors import InputError
from diffcov.store.checkpoint import MeanCheckpoint, load_mean
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.run import Run
from diffcov.study.choice import Use, choose
from diffcov.study.fitted import LoadedCovariance, available, file_of, load_covariance, load_fitted

__all__ = ["open_covariances", "open_held_out", "open_mean", "open_starts", "open_training_images", "warn_unclipped"]


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
        raise _another_kind(source, images.description, mean)
    provenance = images.provenance(limit)
    if data is None and limit == own["limit"] and provenance["digest"] != own["digest"]:
        warn(f"the images in {source} have changed since the mean model was trained on them")
    return images.images.to(mean.model.device), provenance


def open_held_out(
    mean: MeanCheckpoint, data: str | None, limit: int | None, split: str | None
) -> tuple[Tensor, dict[str, Any]]:
    """(uint8 (N, C, H, W) on the model's device, where they came from): images to evaluate on.

    Args:
        mean: the mean model.
        data: another source than its own.
        limit: a fixed random choice of so many.
        split: "train" or "test"; None takes the test split where the source has one, and says which it took.

    Raises:
        InputError: images that are gone, of another shape or number of grey levels, or a split that is not there.
    """
    source = data if data is not None else mean.training["data"]["source"]
    chosen = split or ("test" if has_test_split(source) else "train")
    images = load_images(source, limit, chosen)
    if images.description != mean.spec.data:
        raise _another_kind(source, images.description, mean)
    if split is None:
        advice = "" if chosen == "test" else ": it has no test split, and these images were trained on"
        note(f"evaluating on {images.count} images of the {chosen} split of {source}{advice if data is None else ''}")
    return images.images.to(mean.model.device), images.provenance(limit)


def open_covariances(
    run: Run, text: str, mean: MeanCheckpoint, times: Iterable[int], use: Use | None = None
) -> dict[str, LoadedCovariance]:
    """The covariances that ``--covariance`` names, in the registry's order.

    Args:
        run: the run.
        text: "auto", names with commas between, or "all" for every one that the run can build (the rest are named).
        mean: its mean model.
        times: that a table must hold.
        use: what "auto" is meant for.

    Raises:
        UsageError: an unknown name.
        InputError: what one needs is missing, damaged or made for another mean.
    """
    if text == "all":
        found = available(run)
        for name, lacking in found.items():
            if lacking is not None:
                note(f"without {name}: run {with_run(lacking, run.path)} first")
        names = [name for name, lacking in found.items() if lacking is None]
    else:
        chosen = [choose(run, part.strip(), use) for part in text.split(",")]
        for choice in chosen:
            if choice.why:
                note(f"covariance: {choice.name} ({choice.why})")
        asked = {choice.name for choice in chosen}
        names = [name for name in COVARIANCES if name in asked]
    wanted = tuple(times)
    return {name: load_covariance(run, name, mean.digest, mean.model.device, wanted) for name in names}


def open_starts(run: Run, plans: Sequence[HeadPlan], mean: MeanCheckpoint) -> tuple[dict[str, dict[str, str]], Fitted]:
    """What heads start from and are measured against.

    Returns:
        By kind, the digests of the files (by name) that its head will belong to for good; and what they hold.

    Raises:
        InputError: something is missing (the command that makes it is named), damaged or made for another mean.
    """
    fitted, relative_to = Fitted(), dict[str, dict[str, str]]()
    for plan in plans:
        found, digests = load_fitted(run, plan.kind, plan.wanted, mean.digest, mean.model.device)
        plan.require(found)
        fitted = fitted.joined(found)
        belongs = {file_of(run, need, plan.kind).name for need in head_covariance(plan.kind).needs}
        relative_to[plan.kind] = {name: digest for name, digest in digests.items() if name in belongs}
    return relative_to, fitted


def warn_unclipped(covariances: Iterable[Covariance], clip_x0: bool) -> None:
    """Say so if variances of the clipped mean are about to be used with one that is not clipped."""
    measured = [one.name for one in covariances if one.needs & {Need.SPECTRUM, Need.MATRICES}]
    if measured and not clip_x0:
        warn(
            f"{', '.join(measured)} hold the error of the clipped x0_hat, which at large t is smaller than without "
            "--clip-x0; corrected does not"
        )


def _another_kind(source: str, found: DataDescription, mean: MeanCheckpoint) -> InputError:
    return InputError(
        f"{source} holds images of {found}, but the mean model was trained on {mean.spec.data}; "
        "give images of that kind with --data"
    )
