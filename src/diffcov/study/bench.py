"""Everything that is measured of covariances and samplers, part by part: each is read if it is kept, else measured.

A part's identity holds all that its numbers depend on, down to the digests of weights, tables and images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from diffcov.basis import radial_bands
from diffcov.covariance.base import Covariance
from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid
from diffcov.engines.classes import Classes
from diffcov.engines.meters.calibration import CalibrationMeter
from diffcov.engines.meters.exposure import NormMeter
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sampler import Sampler
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.base import Solver
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import Part
from diffcov.study.drawn import Against, draw
from diffcov.study.kept_images import DRAWN
from diffcov.study.kept_pass import measured_on
from diffcov.study.listener import Listener
from diffcov.study.opening import Opened
from diffcov.study.scale import Scaling
from diffcov.study.whole import CALLS
from diffcov.study.wishes import Keeper, Measured, Wish

__all__ = ["Bench"]

MEASURED = 5
"""Version of what parts hold. Raise it when a formula changes, so that parts of the old one are not taken for new."""


@dataclass(frozen=True)
class Bench:
    """One mean model, its covariances, and the images and settings that all parts share.

    Attributes:
        keeper: where parts are kept.
        mean: the mean model.
        covariances: by name.
        seed, batch_size: of everything.
        view: what the bound, the calibration and samples see the mean through; its scale acts in samples alone.
        scaling: the scale of eps_hat in samples.
        listener: told how far it is.
        held_out: images to evaluate on; None where nothing is measured on the forward path.
        against: where samples are compared; None takes no distances.
        count, shown: samples to draw and to keep.
        classes: of samples.
        share, start: of samples.
    """

    keeper: Keeper
    mean: MeanCheckpoint
    covariances: Mapping[str, Covariance]
    seed: int
    batch_size: int
    view: View
    scaling: Scaling
    listener: Listener
    held_out: Opened | None = None
    against: Against | None = None
    count: int = 0
    shown: int = 10
    classes: Classes | None = None
    share: float = 1.0
    start: GaussianStart | None = None

    @cached_property
    def denoiser(self) -> Denoiser:
        """The mean as the bound sees it: clipped and guided, not scaled."""
        return through(self.mean.model, View(self.view.clip_x0, guidance=self.view.guidance))

    def _identity(self, **more: Any) -> dict[str, Any]:
        """The identity of what is measured on the forward path."""
        assert self.held_out is not None
        images = self.held_out.provenance
        return {"version": MEASURED, "denoiser": self.denoiser.as_dict(), "seed": self.seed, "images": images, **more}

    def bounds(self, grid: Grid) -> Wish:
        """The bounds of all covariances along a grid: tensor "nats" (N,) an image, and their dictionary."""
        label, at = f"likelihood-{{}}-{grid.label}", {"times": list(grid.times)}
        found, missing = self._kept(label, at)
        schedule, data = self.mean.model.schedule, self.mean.model.data
        meter = LikelihoodMeter(schedule, data, missing, [grid], self._image_count) if missing else None

        def finish() -> Measured:
            assert meter is not None
            done = {}
            for name, covariance in missing.items():
                bound = meter.result(name, grid)
                part = Part({"nats": bound.nats}, bound.as_dict())
                done[name] = label.format(name), self._identity(**at, covariance=covariance.as_dict()), part
            return done

        return Wish(f"likelihood, {grid.K} steps", found, meter, finish)

    def calibration(self, times: Sequence[int]) -> Wish:
        """The calibration of all covariances at some times: its dictionary."""
        at = {"times": list(times)}
        found, missing = self._kept("calibration-{}", at)
        meter = CalibrationMeter(self.mean.model.data, missing, times) if missing else None

        def finish() -> Measured:
            assert meter is not None
            done = {}
            for name, covariance in missing.items():
                part = Part({"times": torch.tensor(list(times))}, meter.result(name).as_dict())
                done[name] = f"calibration-{name}", self._identity(**at, covariance=covariance.as_dict()), part
            return done

        return Wish("calibration", found, meter, finish)

    def norms(self, grid: Grid) -> Wish:
        """The norm of eps_hat on the forward path at a grid's times: tensor "forward" (K,) of the part "forward"."""
        label, identity = f"forward-{grid.label}", self._identity(times=list(grid.times))
        kept = self.keeper.part(label, identity)
        meter = NormMeter(grid.times) if kept is None else None

        def finish() -> Measured:
            assert meter is not None
            return {"forward": (label, identity, Part({"forward": meter.mean()}, {}))}

        return Wish("forward path", {} if kept is None else {"forward": kept}, meter, finish)

    def fulfil(self, wishes: Sequence[Wish]) -> None:
        """Measure whatever is missing of some wishes, in one pass of the network, and keep it."""
        open_wishes = [wish for wish in wishes if wish.meter is not None]
        meters = [wish.meter for wish in open_wishes if wish.meter is not None]
        if not meters:
            return
        assert self.held_out is not None
        missing = {name: one.as_dict() for name, one in self.covariances.items()}
        there = [sorted(wish.found) for wish in open_wishes]
        forget = measured_on(
            self.keeper, self._identity(covariances=missing, there=there), self.denoiser, self.held_out.examples,
            meters, title=open_wishes[0].title, seed=self.seed, batch_size=self.batch_size, say=self.listener,
        )  # fmt: skip
        for wish in open_wishes:
            for name, (label, identity, part) in wish.finish().items():
                self.keeper.save_part(label, identity, part)
                wish.found[name] = part
        forget()

    def calls(self, wishes: Sequence[Wish]) -> int:
        """Calls of the network, an image each, that some wishes take in one pass."""
        times = {t for wish in wishes if wish.meter is not None for t in wish.meter.times}
        return len(times) * self._image_count * self.denoiser.calls

    @property
    def bands(self) -> list[str]:
        """Names of the frequency bands of a calibration, low to high."""
        return radial_bands(self.mean.model.data.height, self.mean.model.data.width)[1]

    @property
    def _image_count(self) -> int:
        return 0 if self.held_out is None else len(self.held_out.examples)

    def _kept(self, label: str, at: Mapping[str, Any]) -> tuple[dict[str, Part], dict[str, Covariance]]:
        """Parts that were measured, by covariance, and the covariances whose part is missing."""
        found: dict[str, Part] = {}
        missing: dict[str, Covariance] = {}
        for name, covariance in self.covariances.items():
            part = self.keeper.part(label.format(name), self._identity(**at, covariance=covariance.as_dict()))
            if part is None:
                missing[name] = covariance
            else:
                found[name] = part
        return found, missing

    def sampler(self, name: str, solver: Solver, grid: Grid) -> Sampler:
        """The sampler of one cell; a scale that is to be fitted is not fitted yet."""
        return Sampler.with_published_cap(
            through(self.mean.model, self.view),
            self.covariances[name],
            solver,
            grid,
            classes=self.classes,
            seed=self.seed,
            scale_fit=self.scaling.plan(),
            share=self.share,
            start=self.start,
        )

    def samples(self, name: str, solver: Solver, grid: Grid) -> Part:
        """Samples of one covariance, solver and grid.

        Tensors: "pixels", "norms", "influence" where there are distances; values: these, "seconds", "eps_scale_value".
        """
        return self.drawn(self.sampler(name, solver, grid))

    def drawn(self, plain: Sampler) -> Part:
        """Samples of a sampler, whose scale is fitted if that is asked for: the same as :meth:`samples`."""
        found = self.kept(plain)
        if found is not None:
            return found
        sampler, calls = self.scaling.applied(plain), plain.grid.K * plain.denoiser.calls
        with self.listener.progress(plain.label, self.count * calls, CALLS) as bar:
            drawn = draw(
                sampler, self.count, self.against,
                batch_size=self.batch_size, shown=self.shown, on_batch=lambda done: bar.update(done * calls),
                keeper=self.keeper, say=self.listener,
            )  # fmt: skip
        values = drawn.distances.as_dict() if drawn.distances else {}
        influence = {"influence": drawn.distances.influence} if drawn.distances else {}
        part = Part(
            {"pixels": drawn.pixels, "norms": drawn.norms, **influence},
            {**values, "seconds": drawn.seconds, "eps_scale_value": sampler.denoiser.view.eps_scale},
        )
        self.keeper.save_part(plain.label, self._sampled(plain), part)
        drawn.forget()
        return part

    def kept(self, plain: Sampler) -> Part | None:
        """What :meth:`drawn` kept of a sampler; None if it has not been drawn."""
        return self.keeper.part(plain.label, self._sampled(plain))

    def calls_of(self, plain: Sampler) -> int:
        """Calls of the network, an image each, that :meth:`drawn` would take now, a fit of the scale included."""
        if self.kept(plain) is not None:
            return 0
        return self.count * plain.grid.K * plain.denoiser.calls + self.scaling.planned(plain)

    def _sampled(self, plain: Sampler) -> dict[str, Any]:
        """The identity of samples."""
        against = None if self.against is None else self.against.as_dict()
        return {
            "version": DRAWN, "sampler": plain.as_dict(), "count": self.count, "shown": self.shown,
            "against": against,
        }  # fmt: skip
