"""The scale of eps_hat that samples are drawn with: told, or fitted once for each sampler and kept in the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffcov.digest import digest_of_values
from diffcov.engines.sampler import Sampler, ScaleFit
from diffcov.engines.scale.search import GAIN, FittedScale
from diffcov.errors import InputError, NonFiniteError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import Part
from diffcov.store.run import RunFolder
from diffcov.store.scale import load_scale, save_scale
from diffcov.store.unfinished import outlived
from diffcov.study.contrast_scale import FIT, SAMPLES, fit_scale, scaled
from diffcov.study.keeping import kept_beside
from diffcov.study.listener import Listener
from diffcov.study.opening import training_examples, training_source
from diffcov.study.requests.shared import FITTED, Scale
from diffcov.study.whole import CALLS
from diffcov.study.wishes import Keeper

__all__ = ["Scaling"]

USUAL_PROBES = 8
"""Scales that a fit tries, as a rule."""


@dataclass(frozen=True)
class Scaling:
    """What was asked for, and what a fit needs.

    Attributes:
        wanted: a number, or "fitted".
        run: where fitted scales are kept.
        mean: the mean model.
        batch_size: images a network call.
        listener: told of fits.
    """

    wanted: Scale
    run: RunFolder
    mean: MeanCheckpoint
    batch_size: int
    listener: Listener

    @property
    def number(self) -> float:
        """The scale to begin with: the number that is told, 1 where one is to be fitted."""
        return 1.0 if self.wanted == FITTED else float(self.wanted)

    def plan(self) -> ScaleFit | None:
        """What belongs to a sampler's identity if its scale is to be fitted; None if it is told.

        Raises:
            InputError: the images whose contrast is wanted are not known.
        """
        if self.wanted != FITTED:
            return None
        own = training_source(self.run, self.mean)
        if own is None:
            raise InputError(
                f"--eps-scale {FITTED} compares samples with the images that the mean was trained on, and these are "
                "not known; measure its variance on some first: diffcov estimate-var --data"
            )
        return ScaleFit(FIT, SAMPLES, own["digest"])

    def applied(self, sampler: Sampler) -> Sampler:
        """The sampler with its scale; a fit is made once and kept in the run.

        Raises:
            InputError: a scale must be fitted and the training images are gone or others.
            NonFiniteError: NaN or infinity while sampling for a fit.
        """
        if sampler.scale_fit is None:
            return sampler
        path = self._place(sampler)
        found = self._kept(path)
        if found is None:
            seedless = replace(sampler, seed=0)  # a fit draws noise of its own
            found = self._fit(sampler, seedless, path)
        self._tell(sampler, found)
        return scaled(sampler, self.mean.model, found.scale)

    def _kept(self, path: Path) -> FittedScale | None:
        """What was fitted before; a damaged file is told and fitted again."""
        if not path.is_file():
            return None
        outlived(path, path)
        try:
            return load_scale(path).found
        except (InputError, NonFiniteError) as error:
            self.listener.warn(f"{error}: the scale is fitted again")
            return None

    def _fit(self, sampler: Sampler, seedless: Sampler, path: Path) -> FittedScale:
        """The scale of a sampler, kept at ``path``; at the scales that an earlier try has drawn at nothing is drawn."""
        own = training_source(self.run, self.mean) or {}
        wanted = f"--eps-scale {FITTED} compares samples with the images that the mean was trained on, {own['source']}"
        remedy = "restore them, or take --eps-scale 1 or another number"
        try:
            opened = training_examples(self.run, self.mean, self.listener)
        except InputError as error:
            raise InputError(f"{wanted}, and they cannot be read ({str(error).split(';')[0]}); {remedy}") from error
        if opened.provenance["digest"] != own["digest"]:
            raise InputError(f"{wanted}, and those have changed; {remedy}")
        total, calls = USUAL_PROBES * SAMPLES, sampler.grid.K * sampler.denoiser.calls
        self.listener.note(f"fitting the scale of eps_hat for {sampler.way}: some {total} samples, kept in the run")
        identity = {"sampler": seedless.as_dict(), "samples": SAMPLES, "batch_size": self.batch_size}
        key = digest_of_values(identity)
        with (
            kept_beside(path, key, "a fit of the scale", self.listener) as keeper,
            self.listener.progress("scale of eps_hat", total * calls, CALLS) as bar,
        ):

            def drawn(done: int) -> None:
                probes = max(USUAL_PROBES, -(-done // SAMPLES))  # a search may need more
                bar.update(done * calls, f"scale {-(-done // SAMPLES)} of about {probes}", probes * SAMPLES * calls)

            found = fit_scale(
                sampler, self.mean.model, opened.images.images, count=SAMPLES, batch_size=self.batch_size,
                kept=partial(self._mismatch, keeper, identity), on_batch=drawn,
            )  # fmt: skip
            save_scale(path, found, self.mean.digest, seedless.as_dict())
        return found

    def planned(self, sampler: Sampler) -> int:
        """Calls of the network, an image each, that a fit for this sampler would take now; 0 where there is no fit."""
        if sampler.scale_fit is None or self._place(sampler).is_file():
            return 0
        return USUAL_PROBES * SAMPLES * sampler.grid.K * sampler.denoiser.calls

    def _place(self, sampler: Sampler) -> Path:
        """Where the scale of a sampler is kept; a fit draws noise of its own."""
        return self.run.scale(f"{sampler.way}-{replace(sampler, seed=0).digest[:12]}")

    def _mismatch(self, keeper: Keeper, identity: Mapping[str, Any], scale: float, make: Callable[[], float]) -> float:
        """The mismatch at one scale, kept as soon as it is known."""
        found = keeper.part(f"at-{scale:.12f}", identity)
        if found is None:
            found = Part({"mismatch": torch.tensor(make(), dtype=torch.float64)}, {})
            keeper.save_part(f"at-{scale:.12f}", identity, found)
        else:
            self.listener.note(f"going on: samples at the scale {scale:.4f} are drawn already")
        return float(found.tensors["mismatch"])

    def _tell(self, sampler: Sampler, found: FittedScale) -> None:
        say, off = self.listener, f"contrast is {found.mismatch_at_one:.1%} off the data's"
        if found.at_limit:
            say.warn(
                f"eps_hat of {sampler.way} stays as predicted: {off}, and no scale within the search's limits mends "
                "it; the mean is far from trained, go on with diffcov train-mean --resume --iterations N"
            )
        elif found.scale == 1:
            say.note(f"eps_hat of {sampler.way} stays as predicted: {off}, and no scale takes {GAIN:.0%} of that away")
        else:
            say.note(
                f"eps_hat of {sampler.way} is divided by {found.scale:.4f}: {off} without, "
                f"about {found.lowest_mismatch:.1%} with it"
            )
