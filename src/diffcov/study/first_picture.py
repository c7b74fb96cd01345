"""A picture within a minute: the mean that the package brings, drawn by what tune found and by what everybody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffcov.data import ExampleSet
from diffcov.digest import digest_of_values
from diffcov.engines.distances.distances import Distances
from diffcov.engines.distances.error import Ranking
from diffcov.engines.distances.frechet import require_enough
from diffcov.engines.recipe import Recipe
from diffcov.nets.classifier import FEATURES
from diffcov.noise import generator
from diffcov.store.ownership import MEAN, owned_run
from diffcov.store.run import RunFolder
from diffcov.store.shipped import unpack_shipped
from diffcov.study.drawn import Against, draw
from diffcov.study.judging import open_against
from diffcov.study.keeping import kept_beside
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import held_out_examples, open_mean
from diffcov.study.requests.demo import DemoRequest
from diffcov.study.requests.shared import Features, Place, Running
from diffcov.study.samplers import Samplers, tuned_recipe

__all__ = ["STEPS", "FirstPicture", "Row", "first_picture", "measured"]

STEPS = 10
"""The number of steps that the package's own recipe is for."""
PLAIN = {"DDPM": Recipe("ddpm"), "DDIM": Recipe("ddim", eta=0.0)}
"""What everybody knows: the covariance of DDPM's own first choice, and none."""


def measured(name: str) -> str:
    """What a plain sampler is called with the covariance that was measured."""
    return f"{name}, measured covariance"


MEASURED = {measured(name): replace(recipe, covariance="corrected") for name, recipe in PLAIN.items()}
"""The same with the covariance that was measured of this mean."""
TUNED = "what tune found"
SHOWN = 16
"""Images of each sampler in the picture."""
BATCH = 64
"""Images a network call: few, so that what a kill costs is little."""


@dataclass(frozen=True)
class Row:
    """One sampler.

    Attributes:
        name: whose it is, for a person.
        summary: solver, covariance and grid in a few words; empty for real images.
        count: images behind its distance.
        fid: Frechet distance of these images to the data.
        fid_stderr: its standard error.
        influence: (count,) float64, of each of them on it.
        pixels: (n, C, H, W) uint8 grey levels, the first of them.
    """

    name: str
    summary: str
    count: int
    fid: float
    fid_stderr: float
    influence: Tensor
    pixels: Tensor


@dataclass(frozen=True)
class FirstPicture:
    """What was drawn.

    Attributes:
        run: where the mean and its statistics are now.
        real: held-out images, as far from the data as images can be expected to be.
        rows: samplers, nearest to the data first.
        count: images of each behind its distance.
        features: where distances are taken.
        images_seen: by the mean, in its training.
        levels: grey levels.
    """

    run: RunFolder
    real: Row
    rows: tuple[Row, ...]
    count: int
    features: str
    images_seen: int
    levels: int

    @property
    def distance(self) -> str:
        """The distance that is stated of each row, in words."""
        return f"Frechet distance of {self.count} images to the data in {self.features} features"

    @property
    def level(self) -> list[str]:
        """The names of the nearest and of all that cannot be told from it, nearest first."""
        fids = {row.name: row.fid for row in self.rows}
        return Ranking.of(fids, {row.name: row.influence for row in self.rows}).level

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without the images."""
        told = [
            {"name": row.name, "sampler": row.summary, "fid": row.fid, "fid_stderr": row.fid_stderr}
            for row in (self.real, *self.rows)
        ]
        return {
            "run": str(self.run.path),
            "steps": STEPS,
            "count": self.count,
            "features": self.features,
            "images_seen": self.images_seen,
            "rows": told,
            "level": self.level,
        }


def first_picture(request: DemoRequest, listener: Listener | None = None) -> FirstPicture:
    """Unpack the package's run, and draw with it: the best sampler of ten steps beside DDPM and DDIM.

    Typed again after it was stopped, it goes on.

    Raises:
        UsageError: fewer samples than the classifier's features have dimensions.
        InputError: the run directory holds another mean.
        OutputError: the file system refuses, or somebody else works in that directory.
    """
    require_enough(request.count, FEATURES, "samples")
    say, run = listener or Silent(), RunFolder(request.where)
    with owned_run(run.path, "demo", MEAN):
        unpack_shipped(run)
    mean = open_mean(Place(run=run.path), Running(device=request.device))
    seen = int(mean.training["images_seen"])
    say.note(f"a mean of photographs of clothes ({seen:,} images seen, {mean.spec.reading.data}) is in {run.path}")
    against = open_against(Features(), run, mean, request.count, say, None)
    held_out = held_out_examples(run, mean, Silent(), None, None, None).examples
    samplers = Samplers(run, mean)
    tuned = tuned_recipe(run, mean, STEPS, 1.0, say)
    recipes: Mapping[str, Recipe] = {**({} if tuned is None else {TUNED: tuned.recipe}), **MEASURED, **PLAIN}
    rows, key = [], digest_of_values([repr(request), mean.digest])
    with (
        kept_beside(run.path / "first-picture", key, "diffcov demo", say) as keeper,
        say.progress("samples", len(recipes) * request.count, "images") as bar,
    ):
        for done, (name, recipe) in enumerate(recipes.items()):
            drawn = draw(
                samplers.sampler(recipe, STEPS), request.count, against,
                batch_size=BATCH, shown=SHOWN, keeper=keeper, say=say,
                on_batch=lambda more, before=done * request.count, name=name: bar.update(before + more, name),  # type: ignore[misc]
            )  # fmt: skip
            assert drawn.distances is not None
            rows.append(_told(name, recipe.label, drawn.distances, drawn.pixels))
    real = _real(held_out, request.count, against)
    nearest = tuple(sorted(rows, key=lambda row: row.fid))
    return FirstPicture(run, real, nearest, request.count, against.space.name, seen, mean.model.data.levels)


def _real(held_out: ExampleSet, count: int, against: Against) -> Row:
    chosen = torch.randperm(len(held_out), generator=generator(0, "first picture"))[:count]
    images = held_out[chosen].images
    return _told("photographs", "", against.distances_of(images), images[:SHOWN].cpu())


def _told(name: str, summary: str, found: Distances, pixels: Tensor) -> Row:
    return Row(name, summary, found.count, found.fid, found.fid_stderr, found.influence, pixels)
