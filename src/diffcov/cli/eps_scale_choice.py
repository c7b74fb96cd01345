"""What eps_hat is divided by while sampling, from ``--eps-scale``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffcov.cli.console import note, progress, warn
from diffcov.cli.opening import open_training_images
from diffcov.eps_scale import fit_eps_scale
from diffcov.errors import UsageError
from diffcov.io.checkpoint import MeanCheckpoint
from diffcov.io.eps_scale import kept_eps_scale, save_eps_scale
from diffcov.io.run import Run
from diffcov.sampling import Sampler

__all__ = ["FITTED", "canonical_eps_scale", "scale_suffix", "scaled"]

FITTED = "fitted"
SAMPLES = 512
"""Samples that are drawn at each scale that is tried."""
FIT = 1
"""Version of what a fit does. Raise it when that changes, so that an old scale is not taken for a new one."""


def canonical_eps_scale(text: str) -> str:
    """The option in the one way that it is recorded: "fitted" or a number; before any work.

    Raises:
        UsageError: neither.
    """
    if text == FITTED:
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"--eps-scale must be a positive number or {FITTED}, found {text!r}")
    return str(number).removesuffix(".0")


def scale_suffix(text: str) -> str:
    """What names of files that were drawn with this (canonical) scale end in; nothing for 1."""
    return "" if text == "1" else f"-eps{text}"


def scaled(
    sampler: Sampler,
    text: str,
    run: Run,
    mean: MeanCheckpoint,
    fitted: Mapping[str, str],
    precision: str,
    batch_size: int,
) -> Sampler:
    """The sampler with the scale that was asked for; a fitted one is kept in the run.

    Args:
        sampler: without a scale.
        text: of the option, canonical.
        run: where the scale fitted last for a sampler of this label is kept.
        mean: the mean model.
        fitted: digests of what the covariance was built from.
        precision: of the network's inside.
        batch_size: images a network call.

    Raises:
        InputError: a scale must be fitted and the training images are gone.
    """
    if text != FITTED:
        return replace(sampler, eps_scale=float(text))
    trajectory, process = sampler.trajectory, sampler.process
    settings: dict[str, Any] = {
        "fit": FIT, "samples": SAMPLES, "trunk": mean.digest, "model": mean.spec.as_dict(),
        "data": mean.training["data"], "covariance": sampler.covariance.name, "fitted": dict(fitted),
        "process": process.name, "eta": process.eta, "times": list(trajectory.times),
        "last_noise_levels": sampler.cap_levels, "clip_x0": sampler.clip_x0, "precision": precision,
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
            f"eps_hat of {sampler.label} is divided by {scale:.4f}: of {len(found.tried)} scales tried, the best has "
            f"contrast {found.best:.1%} off the data's; at 1 it is {found.plain:.1%}"
        )
        if found.at_limit:
            warn("no scale of eps_hat within the search's limits is the best; the mean model needs more training")
    return replace(sampler, eps_scale=scale)
