"""What eps_hat is divided by while sampling, from ``--eps-scale``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffcov.cli.console import note, progress
from diffcov.cli.opening import open_training_images
from diffcov.eps_scale import fit_eps_scale
from diffcov.errors import UsageError
from diffcov.evaluation.contrast import ORDER
from diffcov.io.checkpoint import MeanCheckpoint
from diffcov.io.eps_scale import kept_eps_scale, save_eps_scale
from diffcov.io.run import Run
from diffcov.sampling import Sampler

__all__ = ["FITTED", "check_eps_scale", "scale_suffix", "scaled"]

FITTED = "fitted"
SAMPLES = 512
"""Samples that are drawn at each scale that is tried."""


def check_eps_scale(text: str) -> float | None:
    """The number, or None for "fitted"; before any work.

    Raises:
        UsageError: neither.
    """
    if text == FITTED:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"--eps-scale must be a positive number or {FITTED}, found {text!r}")
    return number


def scale_suffix(text: str) -> str:
    """What names of files that were drawn with this scale end in; nothing for 1."""
    return "" if check_eps_scale(text) == 1 else f"-eps{text}"


def scaled(
    sampler: Sampler,
    text: str,
    run: Run,
    mean: MeanCheckpoint,
    fitted: Mapping[str, str],
    precision: str,
    batch_size: int,
) -> Sampler:
    """The sampler with the scale that was asked for; a fitted one is kept in the run and fitted once.

    Args:
        sampler: without a scale.
        text: of the option.
        run: where a fitted scale is kept.
        mean: the mean model.
        fitted: digests of what the covariance was built from.
        precision: of the network's inside.
        batch_size: images a network call.

    Raises:
        UsageError: neither a positive number nor "fitted".
        InputError: a scale must be fitted and the training images are gone.
    """
    number = check_eps_scale(text)
    if number is not None:
        return replace(sampler, eps_scale=number)
    trajectory, process = sampler.trajectory, sampler.process
    settings: dict[str, Any] = {
        "trunk": mean.digest, "covariance": sampler.covariance.name, "fitted": dict(fitted), "process": process.name,
        "eta": process.eta, "times": list(trajectory.times), "last_noise_levels": sampler.cap_levels,
        "clip_x0": sampler.clip_x0, "precision": precision, "samples": SAMPLES, "contrast_order": ORDER,
        "schedule": mean.spec.schedule.spec, "data": mean.training["data"],
    }  # fmt: skip
    path = run.eps_scale(sampler.label)
    scale = kept_eps_scale(path, settings)
    if scale is None:
        images, _ = open_training_images(mean, None, None)
        with progress(f"scale of eps_hat for {sampler.label}", None, "images") as bar:
            found = fit_eps_scale(
                mean.model, sampler, images, count=SAMPLES, batch_size=batch_size, on_batch=bar.update
            )  # fmt: skip
        scale = found.scale
        save_eps_scale(path, scale, found.tried, settings)
        note(
            f"eps_hat of {sampler.label} is divided by {scale:.4f}: contrast of samples is off the data's by "
            f"{found.best:.1%}, at scale 1 by {found.plain:.1%}"
        )
    return replace(sampler, eps_scale=scale)
