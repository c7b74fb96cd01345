"""One sweep over the data for all statistics of a run at once: curves over log-SNR, begun or gone on with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.noised import noised_look
from diffcov.engines.smooth_sweep import Goal, Reached, Rounds, smooth_sweep
from diffcov.errors import InputError
from diffcov.statistics.base import Statistic
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import Part
from diffcov.store.statistics import StatisticFile
from diffcov.study.kept_sweep import Result, packed, unpacked
from diffcov.study.listener import Listener, Progress
from diffcov.study.opening import Opened, asked_precision
from diffcov.study.requests.measure import EstimateRequest
from diffcov.study.run_sweep import Kinds, RunSweep, check_together
from diffcov.study.wishes import Keeper

__all__ = ["CALLS", "RTOL", "CurvesSweep", "lays_curves"]

RTOL = 0.01
CALLS = 10_000
"""Where nothing else is asked for: the relative standard error that ends a sweep, and the images that end it anyway."""
ROUNDS = "rounds"
"""Name of the part that holds the rounds so far."""
TIMED = 16
"""Images of the call that tells how long calls take."""


def lays_curves(file: StatisticFile[Any]) -> bool:
    """Whether a statistic goes on in a sweep of this kind."""
    return getattr(file.statistic, "alpha_bar", None) is not None


@dataclass(frozen=True, kw_only=True)
class CurvesSweep(RunSweep):
    """A sweep that chooses its times, and when it ends.

    Attributes:
        like: images by time that others of the run were measured on, which these have to be measured on too; None:
            they follow from the goal.
        goal: when it ends.
    """

    like: Mapping[int, int] | None
    goal: Goal

    @classmethod
    def planned(
        cls,
        request: EstimateRequest,
        mean: MeanCheckpoint,
        opened: Opened,
        kinds: Kinds,
        held: Mapping[type[Statistic], StatisticFile[Any] | None],
        beside: StatisticFile[Any] | None,
    ) -> CurvesSweep:
        """A sweep that is sure to be possible; nothing has been measured yet.

        Args:
            held: what is gone on from, by class.
            beside: a statistic of the run with curves, which stays as it is.

        Raises:
            InputError: what is there was measured on other images, or some of it without the rest.
        """
        there = {kind: file for kind in kinds if (file := held.get(kind)) is not None}
        earlier = next(iter(there.values()), None)
        if there:
            check_together(kinds, there, opened)
        elif beside is not None and beside.config["data"]["digest"] == opened.provenance["digest"]:
            earlier = beside
        elif beside is not None and not any(kind.decides for kind in kinds):
            raise InputError(
                f"the {beside.statistic.title} that is there was measured on other images, and {kinds[0].several} "
                "follow it: say the same images with --data and --limit, or measure all anew with --force"
            )
        config: Mapping[str, Any] = {} if earlier is None else earlier.config
        return cls(
            mean=mean, opened=opened, kinds=kinds, held=there, goal=_goal(request),
            like=None if there or earlier is None else earlier.statistic.counts(),
            seed=config.get("seed", request.seed or 0),
            precision=config.get("precision", asked_precision(request.running, mean)),
            guidance=request.guidance if earlier is None else earlier.guidance,
            batch_size=request.batch_size, compile=request.running.compile,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """There is one sweep of this kind."""
        return "together"

    def measured(self, keeper: Keeper, say: Listener) -> list[Result]:
        """Sweep, and merge with what is held; each round is kept, and a second try goes on with the next."""
        most = sum(self.like.values()) if self.like else self.goal.calls
        denoiser = self.prepared(most, self.goal.seconds, say)
        second = _seconds_an_image(denoiser, self.opened)
        say.note(_cost(self.goal if self.like is None else Goal(calls=most), second))
        identity = {**self.identity, "goal": asdict(self.goal)}
        begun = self._begun(keeper.part(ROUNDS, identity), say)
        reached: list[Reached] = []
        with say.progress(self.title, most, "images") as bar:

            def on_round(now: Reached) -> None:
                reached.append(now)
                self._tell(now, bar, say if len(reached) == 1 else None, second)

            def on_found(rounds: Rounds) -> None:
                values = {"images": rounds.images, "seconds": rounds.seconds}
                keeper.save_part(ROUNDS, identity, Part(packed(rounds.found), values))

            found = smooth_sweep(
                denoiser, self.opened.examples, self.kinds, self.goal, like=self.like,
                held={kind: file.statistic for kind, file in self.held.items()}, seed=self.seed,
                batch_size=self.batch_size, flip=self.flip, colour=self.colour, begun=begun, on_batch=bar.update,
                on_round=on_round, on_found=on_found,
            )  # fmt: skip
        if reached and reached[-1].needed:
            more = f"go on with --add --calls {CALLS}"
            if self.goal == Goal(RTOL, CALLS):
                say.note(f"{_shown(reached[-1])}: enough to choose a sampler by; for tighter figures {more}")
            else:
                say.warn(f"the budget ended at {_shown(reached[-1])}; {more}")
        counts = {kind: one.counts() for kind, one in found.items()}
        return [self.result(one, sum(counts[kind].values()), list(counts[kind])) for kind, one in found.items()]

    def _begun(self, part: Part | None, say: Listener) -> Rounds | None:
        """The rounds that an earlier try has measured."""
        if part is None:
            return None
        rounds = Rounds(unpacked(part.tensors, self.kinds), part.values["images"], part.values["seconds"])
        say.note(f"going on: {rounds.images:,} images are measured")
        return rounds

    def _tell(self, now: Reached, bar: Progress, say: Listener | None, second: float) -> None:
        """How far it is; after the first round also what it will take."""
        needed = None if now.needed is None else now.images + now.needed
        ends = [images for images in (needed, self.goal.calls) if images is not None]
        bar.update(now.images, _shown(now), min(ends, default=None))
        if say is not None and now.needed:
            say.note(
                f"{_shown(now)} after {now.images:,} images; {self.goal.rtol:.1%} needs about {now.needed:,} more "
                f"({now.needed * second:.0f} s)"
            )


def _goal(request: EstimateRequest) -> Goal:
    """What was asked for; a budget alone is spent, an error alone is reached."""
    calls, rtol, minutes = request.calls, request.rtol, request.minutes
    if calls is None and rtol is None and minutes is None:
        return Goal(RTOL, CALLS)
    return Goal(rtol, calls, None if minutes is None else 60 * minutes)


@torch.inference_mode()
def _seconds_an_image(denoiser: Denoiser, opened: Opened) -> float:
    """What one image costs, by the second of two calls."""
    some = opened.examples[torch.arange(TIMED) % len(opened.examples)]
    x_0 = denoiser.data.encode(some.images, denoiser.work_dtype)
    t = torch.full((TIMED,), denoiser.schedule.T, device=x_0.device)
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        noised_look(denoiser, x_0, t, torch.zeros_like(x_0), some.labels).predicted.sum().cpu()
    return (time.perf_counter() - started) / TIMED


def _cost(goal: Goal, second: float) -> str:
    """What a sweep will take, before it begins."""
    each = f"{1000 * second:.3g} ms an image"
    if goal.calls is not None:
        return f"at most {goal.calls:,} images through the network, about {goal.calls * second:.0f} s ({each})"
    if goal.seconds is not None:
        return f"about {goal.seconds / second:,.0f} images through the network in {goal.seconds / 60:g} min ({each})"
    return f"as many images through the network as {goal.rtol:.1%} needs ({each})"


def _shown(now: Reached) -> str:
    """The errors that are reached."""
    return "standard error of " + ", ".join(f"{what} {error:.1%}" for what, error in now.errors.items())
