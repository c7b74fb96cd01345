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
from diffcov.engines.sampling import Sampler
from diffcov.engines.scale.search import GAIN, FittedScale
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.eps_scale import load_eps_scale, save_eps_scale
from diffcov.store.run import Run
from diffcov.study.fitted import LoadedCovariance
from diffcov.study.scale import FIT, SAMPLES, fit_eps_scale

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
        return f"{FITTED} {self._digest(sampler, loaded)}" if self.text == FITTED else self.text

    def applied(self, sampler: Sampler, loaded: LoadedCovariance) -> Sampler:
        """The sampler with the scale that was asked for; a fit is made once and kept in the run.

        Raises:
            InputError: a scale must be fitted and the training images are gone or others.
            NonFiniteError: NaN or infinity while sampling for a fit.
        """
        if self.text != FITTED:
            return replace(sampler, eps_scale=float(self.text))
        path = self.run.eps_scale(f"{sampler.label}-{self._digest(sampler, loaded)}")
        found = self._kept(path)
        if found is None:
            found = self._fit(sampler)
            save_eps_scale(path, found, self.mean.digest, loaded.digests, self._config(sampler))
        contrast = f"contrast is {found.mismatch_at_one:.1%} off the data's"
        if found.at_limit:
            warn(
                f"eps_hat of {sampler.label} stays as predicted: {contrast}, and no scale within the search's limits "
                "mends it; the mean is far from trained, go on with diffcov train-mean --resume --iterations N"
            )
        elif found.scale == 1:
            note(
                f"eps_hat of {sampler.label} stays as predicted: {contrast}, and no scale takes {GAIN:.0%} of that away"
            )
        else:
            note(
                f"eps_hat of {sampler.label} is divided by {found.scale:.4f}: {contrast} without, "
                f"about {found.lowest_mismatch:.1%} with it"
            )
        return replace(sampler, eps_scale=found.scale)

    def _kept(self, path: Path) -> FittedScale | None:
        """What was fitted before; a damaged file is told and fitted again."""
        if not path.is_file():
            return None
        try:
            return load_eps_scale(path).found
        except (InputError, NonFiniteError) as error:
            warn(f"{error}: the scale is fitted again")
            return None

    def _fit(self, sampler: Sampler) -> FittedScale:
        own = self.mean.training["data"]
        wanted = f"--eps-scale {FITTED} compares samples with the images that the mean was trained on, {own['source']}"
        remedy = "restore them, or take --eps-scale 1 or another number"
        try:
            images, provenance = open_training_images(self.mean, None, None)
        except InputError as error:
            raise InputError(f"{wanted}, and they cannot be read ({str(error).split(';')[0]}); {remedy}") from error
        if provenance["digest"] != own["digest"]:
            raise InputError(f"{wanted}, and those have changed; {remedy}")
        note(
            f"fitting the scale of eps_hat for {sampler.label}: some {USUAL_PROBES * SAMPLES} samples, kept in the run"
        )
        with progress("scale of eps_hat", None, "samples") as bar:
            return fit_eps_scale(
                self.mean.model, sampler, images, count=SAMPLES, batch_size=self.batch_size, on_batch=bar.update
            )  # fmt: skip

    def _digest(self, sampler: Sampler, loaded: LoadedCovariance) -> str:
        everything = {"trunk": self.mean.digest, "fitted": loaded.digests, **self._config(sampler)}
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]

    def _config(self, sampler: Sampler) -> dict[str, Any]:
        return {
            "covariance": sampler.covariance.name, "process": sampler.process.name, "eta": sampler.process.eta,
            "times": list(sampler.trajectory.times), "last_noise_levels": sampler.cap_levels,
            "clip_x0": sampler.clip_x0, "precision": self.precision, "model": self.mean.spec.as_dict(),
            "data": self.mean.training["data"], "fit": FIT, "samples": SAMPLES,
        }  # fmt: skip
