"""The best times to visit, for every number of steps at once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import even
from diffcov.diffusion.optimal import OptimalGrids
from diffcov.digest import digest_of_values
from diffcov.engines.meters.decomposition import Decomposition, DecompositionMeter, shortest_paths
from diffcov.errors import UsageError
from diffcov.store.atomic import refuse_existing
from diffcov.store.grids import save_grids
from diffcov.store.run import RunFolder
from diffcov.store.unfinished import outlived
from diffcov.study.choice import choose
from diffcov.study.keeping import kept_beside
from diffcov.study.kept_pass import measured_on
from diffcov.study.known import known_covariance, warn_of_view
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean, training_examples
from diffcov.study.owning import owning
from diffcov.study.quickest import Work, choose_way
from diffcov.study.requests.measure import SearchRequest

__all__ = ["Search", "search_grids"]

SHOWN = (5, 10, 25, 50, 100)


@dataclass(frozen=True)
class Search:
    """What was found.

    Attributes:
        path: the file.
        digest: of the file.
        covariance: whose bound was searched.
        mean: digest of the mean.
        found: the best grid of every length.
        decomposition: the terms it was searched in.
        every_time: whether all T times were candidates.
        seconds: that the search took, without the network.
        config: images, seed and settings.
        made_of: digests of what the covariance was built from.
    """

    path: Path
    digest: str
    covariance: str
    mean: str
    found: OptimalGrids
    decomposition: Decomposition
    every_time: bool
    seconds: float
    config: dict[str, Any]
    made_of: dict[str, str]

    @property
    def _unit(self) -> float:
        return self.decomposition.dims * math.log(2)

    def rows(self) -> list[dict[str, Any]]:
        """Some numbers of steps: the bound of even and of optimal times in bits/dim, and the latter."""
        return [
            {
                "steps": K,
                "bits_per_dim": float(self.found.cost[K]) / self._unit,
                "even": self.decomposition.cost(even(self.found.T, K)) / self._unit if self.every_time else None,
                "times": list(self.found.grid(K).times),
            }
            for K in SHOWN
            if self.found.longest >= K
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "trajectories": str(self.path), "digest": self.digest, "covariance": self.covariance,
            "made_of": self.made_of, "mean": self.mean, "longest": self.found.longest,
            "bits_per_dim": [float(cost) / self._unit for cost in self.found.cost[1:]], "shown": self.rows(),
            "search_seconds": self.seconds, **self.config,
        }  # fmt: skip


@owning("trajectory", lambda request: ["grids"])
def search_grids(request: SearchRequest, listener: Listener | None = None) -> Search:
    """Measure the terms, search, save. Typed again after it was stopped, it goes on.

    Raises:
        UsageError: more candidates than there are times.
        InputError: no mean, or something that the covariance needs is missing, damaged or of another mean.
        OutputError: grids are already there.
        NonFiniteError: NaN or infinity anywhere.
    """
    say = listener or Silent()
    run = RunFolder(request.place.run)
    mean = open_mean(request.place, request.running, say, request.batch_size)
    reading = mean.spec.reading
    T = reading.schedule.T
    name = choose(run, request.covariance, mean).name
    path = run.grids(name)
    outlived(path, path)
    refuse_existing(path, request.force, "use --force to replace them")
    if request.candidates is not None and request.candidates > T:
        raise UsageError(f"--candidates must be at most T={T}, the number of trained steps; found {request.candidates}")
    times = even(T, request.candidates or T).times
    denoiser = through(mean.model, View(request.clip_x0, guidance=request.guidance))
    known = known_covariance(run, name, mean, times)
    warn_of_view([known], request.clip_x0, request.guidance, say)
    covariance = known.covariance
    opened = training_examples(run, mean, say, request.data, request.images, request.pictures)
    count = len(opened.examples)
    meter = DecompositionMeter(reading.schedule, reading.data, covariance, times, count)
    calls = -(-len(times) * count // request.batch_size) * denoiser.calls
    choose_way(mean.model, Work(request.batch_size, calls), request.running.compile, say)
    key = digest_of_values([repr(request), mean.digest, covariance.made_of, opened.provenance["digest"]])
    with kept_beside(path, key, "diffcov trajectory", say) as keeper:
        measured_on(
            keeper, {}, denoiser, opened.examples, [meter],
            title="terms", seed=request.seed, batch_size=request.batch_size, say=say,
        )  # fmt: skip
        started = time.monotonic()
        decomposition = meter.result()
        found = shortest_paths(decomposition)
        seconds = time.monotonic() - started
        config = {
            "images": opened.provenance, "seed": request.seed, "clip_x0": request.clip_x0,
            "guidance": request.guidance, "precision": mean.model.precision,
            "call": mean.model.caller.way.as_dict(),
        }  # fmt: skip
        digest = save_grids(
            path, found, decomposition.terms, decomposition.prior, decomposition.candidates, name, mean.digest,
            covariance.made_of, config,
        )  # fmt: skip
    return Search(
        path, digest, name, mean.digest, found, decomposition, request.candidates is None, seconds, config,
        covariance.made_of,
    )  # fmt: skip
