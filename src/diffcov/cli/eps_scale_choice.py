"""What eps_hat is divided by while sampling, from ``--eps-scale``."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffcov.cli.console import note, progress, warn
from diffcov.cli.opening import open_training_images
from diffcov.eps_scale import FIT, SAMPLES, fit_eps_scale
from diffcov.errors import UsageError
from diffcov.io.checkpoint import MeanCheckpoint
from diffcov.io.eps_scale import load_eps_scale, save_eps_scale
from diffcov.io.fitted import LoadedCovariance
from diffcov.io.run import Run
from diffcov.sampling import Sampler
from diffcov.scale_search import GAIN, FittedScale

__all__ = ["EpsScale", "canonical_eps_scale", "scale_suffix"]

FITTED = "fitted"
USUAL_PROBES = 8


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


@dataclass(frozen=True)
class EpsScale:
    """The option, and what a fit of it depends on beside the sampler.

    Attributes:
        text: canonical.
        run: where fitted scales are kept.
        mean: the mean model.
        precision: of the network's inside.
        batch_size: images a network call.
    """

    text: str
    run: Run
    mean: MeanCheckpoint
    precision: str
    batch_size: int

    def identity(self, sampler: Sampler, loaded: LoadedCovariance) -> str:
        """Whatever decides the scale: the number, or a digest of all that a fit depends on. No fit is made."""
        if self.text != FITTED:
            return self.text
        everything = {"trunk": self.mean.digest, "fitted": loaded.digests, **self._config(sampler)}
        return f"{FITTED} {hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]}"

    def applied(self, sampler: Sampler, loaded: LoadedCovariance) -> Sampler:
        """The sampler with the scale that was asked for; a fit is made once and kept in the run.

        Raises:
            InputError: a scale must be fitted and the training images are gone; a kept one is damaged.
            NonFiniteError: NaN or infinity while sampling for a fit.
        """
        if self.text != FITTED:
            return replace(sampler, eps_scale=float(self.text))
        path = self.run.eps_scale(f"{sampler.label}-{self.identity(sampler, loaded).removeprefix(FITTED + ' ')}")
        found = load_eps_scale(path).found if path.is_file() else self._fit(sampler, loaded, path)
        if found.at_limit:
            warn(
                f"eps_hat of {sampler.label} would have to be divided by a number near or beyond {found.scale:.2f}: "
                "the mean is far off; train it longer with diffcov train-mean --resume, or take --eps-scale 1"
            )
        return replace(sampler, eps_scale=found.scale)

    def _fit(self, sampler: Sampler, loaded: LoadedCovariance, path: Path) -> FittedScale:
        images, _ = open_training_images(self.mean, None, None)
        with progress(f"scale of eps_hat, {sampler.label}", USUAL_PROBES * SAMPLES, "images") as bar:
            found = fit_eps_scale(
                self.mean.model, sampler, images, count=SAMPLES, batch_size=self.batch_size,
                on_batch=lambda done: bar.update(done, total=max(done, USUAL_PROBES * SAMPLES)),
            )  # fmt: skip
        save_eps_scale(path, found, self.mean.digest, loaded.digests, self._config(sampler))
        if found.scale == 1:
            note(
                f"no scale of eps_hat brings the contrast of {sampler.label} {GAIN:.0%} nearer to the data's "
                f"({found.mismatch_at_one:.1%} off): it stays as predicted; kept in {path}"
            )
        else:
            note(
                f"eps_hat of {sampler.label} is divided by {found.scale:.4f}, which brings contrast from "
                f"{found.mismatch_at_one:.1%} to about {found.lowest_mismatch:.1%} off the data's; kept in {path}"
            )
        return found

    def _config(self, sampler: Sampler) -> dict[str, Any]:
        return {
            "covariance": sampler.covariance.name, "process": sampler.process.name, "eta": sampler.process.eta,
            "times": list(sampler.trajectory.times), "last_noise_levels": sampler.cap_levels,
            "clip_x0": sampler.clip_x0, "precision": self.precision, "model": self.mean.spec.as_dict(),
            "data": self.mean.training["data"], "fit": FIT, "samples": SAMPLES,
        }  # fmt: skip
