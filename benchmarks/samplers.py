"""Samplers that a user would pick beside the covariances and the tuned recipe: one mean, the same seeds.

Run: python benchmarks/samplers.py RUN --images-seen N [--steps 5,10,25,50] [--grids even,quad,edm,logsnr]
     [--rows NAME,..] [--count 2000] [--module FILE] [--out FILE]
RUN holds a mean, a table and a spectrum; rows that need a head are left out where it has none. Each row is drawn on
every grid with seed 0. The best of them, and the run's recipes (diffcov tune), are then drawn on two seeds that chose
nothing: a row at its best grid, and once more at its best scale of eps_hat.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timing import report

from diffcov import Run
from diffcov.engines.distances.features import features_of
from diffcov.engines.distances.frechet import Gaussian, frechet_distance
from diffcov.engines.distances.spectral_features import spectrum_space
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.sampling import generate
from diffcov.engines.tuning.judge import Yardstick
from diffcov.errors import InputError
from diffcov.store.recipes import load_recipe
from diffcov.study.judging import classes_like_data, open_against
from diffcov.study.listener import Silent
from diffcov.study.opening import open_mean, training_examples
from diffcov.study.requests.shared import Features, Place, Running
from diffcov.study.samplers import Samplers

ROWS = [name for name in LITERATURE if name not in ("ddpm-large", "npr-ddim", "analytic-ddpm")]
FRESH = (11, 12)
SCALES = (0.99, 0.995, 1.005, 1.01)
BEST = 4
"""Rows of each K that are scaled, and drawn on fresh seeds."""
BATCH = 250


class Bench:
    """One run, two feature spaces, and rows of both distances."""

    def __init__(self, run: Path, count: int, module: str | None = None) -> None:
        self.run, self.count = Run(run), count
        folder, say = self.run.folder, Silent()
        mean = open_mean(Place(run=run, module=module), Running())
        self.against = open_against(Features(), folder, mean, count, say, None)
        images = training_examples(folder, mean, say, None).examples.images
        self.second = spectrum_space(mean.model.data)
        self.there = Gaussian.of(features_of(self.second, images))
        self.samplers = Samplers(folder, mean, classes=classes_like_data(folder, mean, say, None))
        self.yardstick = Yardstick(self.against.reference.gaussian)

    def row(self, recipe: Recipe, K: int, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
        """Distances of ``count`` samples in a list; an empty one where the run lacks something."""
        try:
            sampler = replace(self.samplers.sampler(recipe, K), seed=seed)
        except InputError:
            return []
        pixels = torch.cat(list(generate(sampler, self.count, batch_size=BATCH)))
        features = features_of(self.against.space, pixels)
        return [{
            **more, "steps": K, "seed": seed, "recipe": recipe.label,
            "fid": frechet_distance(Gaussian.of(features), self.against.reference.gaussian),
            "stderr": self.yardstick.spread(features, 20),
            "spectrum": frechet_distance(Gaussian.of(features_of(self.second, pixels)), self.there),
        }]  # fmt: skip


def main() -> None:
    """Draw every row, and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images-seen", type=int, required=True)
    parser.add_argument("--steps", default="5,10,25,50")
    parser.add_argument("--grids", default="even,quad,edm,logsnr")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--module", help="program of a mean that is not ours, as diffcov takes it")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    bench = Bench(given.run, given.count, given.module)
    rows: list[dict[str, Any]] = []
    result = {
        "images_seen": given.images_seen, "count": given.count, "features": bench.against.space.name, "rows": rows,
    }  # fmt: skip
    for K in map(int, given.steps.split(",")):
        best: dict[str, dict[str, Any]] = {}
        for name in given.rows.split(","):
            for grid in given.grids.split(","):
                rows += bench.row(replace(LITERATURE[name], grid=grid), K, sampler=name, grid=grid)
        for row in sorted((row for row in rows if row["steps"] == K), key=lambda row: row["fid"]):
            best.setdefault(row["sampler"], row)
        for name, row in list(best.items())[:BEST]:
            told: dict[str, Any] = {"sampler": name, "grid": row["grid"]}
            recipe = replace(LITERATURE[name], grid=row["grid"])
            scaled = [one for x in SCALES for one in bench.row(replace(recipe, eps_scale=x), K, **told, scale=x)]
            nearest = min(scaled, key=lambda one: one["fid"])
            for seed in FRESH:
                rows += bench.row(recipe, K, seed, **told)
                if nearest["fid"] < row["fid"]:
                    x = nearest["scale"]
                    rows += bench.row(replace(recipe, eps_scale=x), K, seed, **told, scale=x)
            rows += scaled
        path = bench.run.folder.recipe(K)
        if path.is_file():
            tuned = load_recipe(path).recipe
            for seed in FRESH:
                rows += bench.row(tuned, K, seed, sampler="tuned", grid="its own")
        if given.out:
            given.out.write_text(json.dumps(result, indent=1) + "\n")
    report(result, given.out)


if __name__ == "__main__":
    main()
