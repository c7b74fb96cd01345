"""What ``compare`` measures, part by part: each is read if it is there already, else measured and written.

A part's settings hold all that its numbers depend on, down to the digests of weights, tables and images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffcov.cli.console import progress
from diffcov.cli.eps_scale_choice import EpsScale, scale_suffix
from diffcov.covariance.base import Covariance
from diffcov.covariance.clipping import default_cap_levels
from diffcov.diffusion.grid import Trajectory
from diffcov.diffusion.process import Process
from diffcov.engines.distances.distances import Reference, distances
from diffcov.engines.distances.features import FeatureSpace, features_of
from diffcov.engines.forward import measure
from diffcov.engines.meters.calibration import QUANTILES, CalibrationMeter
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sampling import Sampler
from diffcov.noise import generator
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.comparison import ComparisonFolder, Part
from diffcov.study.draw import draw
from diffcov.study.fitted import LoadedCovariance

__all__ = ["Bench", "Samples"]

MEASURED = 4
"""Version of what parts hold. Raise it when a formula changes, so that parts of the old one are not taken for new."""


@dataclass(frozen=True)
class Samples:
    """How samples are drawn and what they are compared with."""

    count: int
    shown: int
    space: FeatureSpace
    reference: Reference
    reference_record: Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """One mean model, its covariances, and the images and settings that all parts share.

    Attributes:
        folder: where parts are kept.
        mean: the mean model.
        loaded: the covariances.
        images: uint8 (N, C, H, W), to evaluate on.
        provenance: of these images.
        seed, batch_size, clip_x0, precision: as on the command line.
        scale: what eps_hat is divided by in samples.
        samples: None measures no samples.
    """

    folder: ComparisonFolder
    mean: MeanCheckpoint
    loaded: Mapping[str, LoadedCovariance]
    images: Tensor
    provenance: Mapping[str, Any]
    seed: int
    batch_size: int
    clip_x0: bool
    precision: str
    scale: EpsScale
    samples: Samples | None

    @cached_property
    def _shared(self) -> dict[str, Any]:
        return {
            "measured": MEASURED, "model": self.mean.spec.as_dict(),
            "mean": self.mean.digest, "seed": self.seed, "clip_x0": self.clip_x0, "precision": self.precision
        }  # fmt: skip

    def likelihood(self, trajectory: Trajectory) -> tuple[dict[str, Part], Tensor]:
        """Bounds of all covariances along one trajectory, by name, and the norm of eps_hat on the forward path, (K,).

        A bound's tensor is "nats" (N,) per image, its values are its dictionary. Those that are missing share a pass.
        """
        label = f"{trajectory.name}{trajectory.K}"
        shared = {**self._shared, "times": list(trajectory.times), "images": self.provenance}
        found, missing = self._kept(f"likelihood-{{}}-{label}", shared)
        norms = self.folder.part(f"forward-{label}", shared)
        if missing or norms is None:
            schedule, data, N = self.mean.spec.schedule, self.mean.spec.data, self.images.shape[0]
            meter = LikelihoodMeter(schedule, data, missing, [trajectory], N)
            forward = NormMeter(trajectory.times)
            self._measure([meter, forward], trajectory.K * N, f"likelihood, {trajectory.K} steps")
            for name in missing:
                bound = meter.result(name, trajectory)
                found[name] = Part({"nats": bound.nats}, bound.as_dict())
                self._keep(f"likelihood-{name}-{label}", shared, name, found[name])
            if norms is None:
                norms = Part({"forward": forward.mean()}, {})
                self.folder.save_part(f"forward-{label}", shared, norms)
        return found, norms.tensors["forward"]

    def calibration(self, times: tuple[int, ...]) -> dict[str, Any]:
        """The calibration of all covariances at some times, plain values."""
        shared = {**self._shared, "times": list(times), "images": self.provenance}
        found, missing = self._kept("calibration-{}", shared)
        meter = CalibrationMeter(self.mean.spec.schedule, self.mean.spec.data, missing, times)
        if missing:
            self._measure([meter], len(times) * self.images.shape[0], "calibration")
            for name in missing:
                found[name] = Part({"times": torch.tensor(times)}, meter.result(name).as_dict())
                self._keep("calibration-" + name, shared, name, found[name])
        return {
            "times": list(times),
            "bands": list(meter.bands),
            "quantiles": QUANTILES,
            "covariances": {name: found[name].values for name in self.loaded},
        }

    def _kept(self, label: str, shared: Mapping[str, Any]) -> tuple[dict[str, Part], dict[str, Covariance]]:
        """Parts that were measured, by covariance, and the covariances whose part is missing."""
        found: dict[str, Part] = {}
        missing: dict[str, Covariance] = {}
        for name, one in self.loaded.items():
            part = self.folder.part(label.format(name), {**shared, "fitted": one.digests})
            if part is None:
                missing[name] = one.covariance
            else:
                found[name] = part
        return found, missing

    def _keep(self, label: str, shared: Mapping[str, Any], name: str, part: Part) -> None:
        self.folder.save_part(label, {**shared, "fitted": self.loaded[name].digests}, part)

    def cell(self, samples: Samples, name: str, process: Process, trajectory: Trajectory) -> Part:
        """Samples of one covariance, process and trajectory.

        Tensors: "pixels", "norms"; values: distances, "seconds" and "eps_scale_value".
        """
        loaded = self.loaded[name]
        cap = default_cap_levels(self.mean.spec.schedule, process)
        plain = Sampler(loaded.covariance, process, trajectory, cap, self.clip_x0)
        label = plain.label + scale_suffix(self.scale.text)
        settings = {
            **self._shared, "times": list(trajectory.times), "eta": process.eta, "last_noise_levels": cap,
            "eps_scale": self.scale.identity(plain, loaded),
            "fitted": loaded.digests, "count": samples.count, "shown": samples.shown,
            "features": samples.space.digest or samples.space.name, "reference": samples.reference_record,
        }  # fmt: skip
        found = self.folder.part(label, settings)
        if found is not None:
            return found
        sampler = self.scale.applied(plain, loaded)
        with progress(label, samples.count, "images") as bar:
            drawn = draw(
                self.mean.model, sampler, samples.count, (samples.space, samples.reference),
                seed=self.seed, batch_size=self.batch_size, shown=samples.shown, on_batch=bar.update,
            )  # fmt: skip
        part = Part(
            {"pixels": drawn.pixels, "norms": drawn.norms},
            {
                **(drawn.distances.as_dict() if drawn.distances else {}),
                "seconds": drawn.seconds,
                "eps_scale_value": sampler.eps_scale,
            },
        )
        self.folder.save_part(label, settings, part)
        return part

    def real(self, samples: Samples) -> dict[str, Any] | None:
        """What as many real images have: the floor of every distance; None if there are too few held-out ones."""
        chosen = torch.randperm(len(self.images), generator=generator(self.seed, "real"))[: samples.count]
        if len(chosen) < samples.space.dims:
            return None
        features = features_of(samples.space, self.images[chosen.to(self.images.device)])
        found = distances(features, samples.reference).as_dict()
        return {**found, "split": self.provenance.get("split")}

    def _measure(self, meters: list[Any], calls: int, title: str) -> None:
        with progress(title, calls, "calls") as bar:
            measure(
                self.mean.model, self.images, meters,
                seed=self.seed, batch_size=self.batch_size, clip_x0=self.clip_x0, on_look=bar.update,
            )  # fmt: skip
