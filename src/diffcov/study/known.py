"""What a run holds for its mean model: gathered for one covariance, checked against the mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, Ingredient, Ingredients
from diffcov.engines.solver_needs import gaussian_start, solver_kinds, statistics_for
from diffcov.errors import InputError, NoAnswerError
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.base import Solver
from diffcov.solver.registry import make_solver
from diffcov.statistics.base import Statistic
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.head import load_head
from diffcov.store.run import RunFolder
from diffcov.store.statistics import load_statistic
from diffcov.study.choice import Use, choose
from diffcov.study.listener import Listener
from diffcov.study.requests.shared import ChosenSampler, guided
from diffcov.study.requests.words import ALL

__all__ = [
    "Known",
    "known_covariance",
    "known_covariances",
    "known_ingredients",
    "known_solver",
    "known_start",
    "solver_statistics",
    "warn_of_view",
    "with_statistics",
]


@dataclass(frozen=True)
class Known:
    """A covariance ready to use.

    Attributes:
        covariance: the object.
        guidance: W of the guided means that it was measured and fitted through.
    """

    covariance: Covariance
    guidance: frozenset[float]

    def measured_at(self, guidance: float) -> bool:
        """Whether all that it is built from belongs to a mean guided by this W."""
        return self.guidance <= {guidance}


def known_covariance(run: RunFolder, name: str, mean: MeanCheckpoint, times: Iterable[int]) -> Known:
    """Build a covariance from a run's files; only what it needs is read.

    Args:
        run: the run directory.
        name: a registered name.
        mean: its mean model.
        times: at which it must know something.

    Raises:
        InputError: what it needs is missing, damaged, or was made for another mean or another spectrum.
    """
    kind = registry.load(name)
    if kind.reads_range and not mean.spec.reading.learned_range:
        raise InputError(
            f"{name} is a variance that a network learned beside its mean, and the one in {run.mean} learned none; use "
            "another covariance, such as corrected"
        )
    ingredients, guidance = known_ingredients(run, name, kind.needs, mean)
    covariance = kind(ingredients)
    covariance.check_times(tuple(times))
    return Known(covariance, guidance)


def known_ingredients(
    run: RunFolder, name: str, kinds: Sequence[type[Ingredient]], mean: MeanCheckpoint
) -> tuple[Ingredients, frozenset[float]]:
    """What is there of what a covariance needs, and the W of the means that it was made through.

    Raises:
        InputError: as for :func:`known_covariance`, but for what is missing.
    """
    parts: dict[type, Any] = {}
    guidance: set[float] = set()
    digests: dict[str, str] = {}
    again = ""
    for kind in kinds:
        path = run.ingredient(kind, name)
        if not path.is_file():
            continue
        if issubclass(kind, Statistic):
            read = load_statistic(path, kind, mean.trunk)
            parts[kind], digests[path.name] = read.statistic, read.digest
            guidance.add(read.guidance)
            again = guided(read.guidance)
        else:
            parts[kind], of_head = _head(run, name, mean)
            guidance.add(of_head)
    head = parts.get(FittedHead)
    for file, made_with in head.over.items() if head is not None else ():
        if file in digests and digests[file] != made_with:
            raise InputError(
                f"{run.head(name)} was fitted over another {file} ({made_with[:12]}, this one is "
                f"{digests[file][:12]}); fit it again with: diffcov fit-var-head --kind {name}{again} --force"
            )
    reading = mean.spec.reading
    return Ingredients(reading.schedule, reading.data, parts), frozenset(guidance)


def _head(run: RunFolder, name: str, mean: MeanCheckpoint) -> tuple[FittedHead, float]:
    path = run.head(name)
    found = load_head(path, mean.trunk)
    if found.spec.kind != name:
        raise InputError(
            f"{path} holds a head for {found.spec.kind}, not for {name}; fit one with: diffcov fit-var-head --kind "
            f"{name}"
        )
    over = found.training.get("relative_to", {})
    guidance = float(found.training.get("settings", {}).get("guidance", 1.0))
    return FittedHead(found.head.to(mean.model.device), over), guidance


def known_covariances(
    run: RunFolder,
    names: Sequence[str],
    mean: MeanCheckpoint,
    times: Iterable[int],
    listener: Listener,
    use: Use | None = None,
) -> dict[str, Known]:
    """The covariances that are asked for, in the registry's order.

    Args:
        run: the run.
        names: registered names, "auto", or "all" for every one that the run can build (the rest are named).
        mean: its mean model.
        times: at which they must know something.
        listener: told which were chosen or left out.
        use: what "auto" is meant for.

    Raises:
        UsageError: an unknown name.
        InputError: what one needs is missing, damaged or made for another mean.
    """
    wanted = tuple(times)
    if ALL in names:
        return _every_covariance(run, mean, wanted, listener)
    choices = [choose(run, name, mean, use) for name in names]
    for choice in choices:
        if choice.why:
            listener.note(f"covariance: {choice.name} ({choice.why})")
    asked = {choice.name for choice in choices}
    return {name: known_covariance(run, name, mean, wanted) for name in registry.COVARIANCES if name in asked}


def _every_covariance(
    run: RunFolder, mean: MeanCheckpoint, times: tuple[int, ...], listener: Listener
) -> dict[str, Known]:
    """All that can be built and have an answer at these times; the listener is told why the rest are left out."""
    known: dict[str, Known] = {}
    for name, lacking in run.available().items():
        try:
            if lacking is not None:
                _check_possible(name, mean)
                listener.note(f"without {name}: run {lacking} first")
                continue
            known[name] = known_covariance(run, name, mean, times)
        except NoAnswerError as error:
            listener.note(f"without {name}: {error}")
    return known


def _check_possible(name: str, mean: MeanCheckpoint) -> None:
    """Refuse (NoAnswerError) a covariance whose statistics cannot be measured of the mean's images."""
    for kind in registry.load(name).needs:
        if issubclass(kind, Statistic):
            try:
                kind.check(mean.model.data)
            except InputError as error:
                raise NoAnswerError(str(error)) from error


def known_solver(run: RunFolder, chosen: ChosenSampler, mean: MeanCheckpoint) -> Solver:
    """The solver that is asked for, with what it needs of the run.

    Raises:
        UsageError: no such solver, or an option that it does not have.
        InputError: what it needs is missing, damaged, or was made for another mean.
    """
    return with_statistics(run, make_solver(chosen.solver, **chosen.of_solver), mean)


def with_statistics(run: RunFolder, solver: Solver, mean: MeanCheckpoint) -> Solver:
    """The solver with what it needs of the run.

    Raises:
        InputError: as for :func:`known_solver`.
    """
    return solver.given(solver_statistics(run, solver, mean)) if solver.needs else solver


def solver_statistics(run: RunFolder, solver: Solver, mean: MeanCheckpoint) -> dict[str, Statistic]:
    """What a solver needs of the run, by the names in ``Solver.needs``.

    Raises:
        InputError: as for :func:`known_solver`.
    """
    ingredients, _ = known_ingredients(run, solver.name, tuple(solver_kinds(solver).values()), mean)
    return statistics_for(solver, ingredients)


def known_start(run: RunFolder, mean: MeanCheckpoint) -> GaussianStart:
    """The start below T that the run's images make. InputError if they were not measured, or for another mean."""
    ingredients, _ = known_ingredients(run, ImageGaussian.name, (ImageGaussian,), mean)
    return gaussian_start(ingredients)


def warn_of_view(known: Iterable[Known], clip_x0: bool, guidance: float, listener: Listener) -> None:
    """Say so if covariances were measured through another view of the mean than they are about to be used with."""
    known = list(known)
    clipped = [
        one.covariance.name for one in known
        if any(issubclass(kind, Statistic) and kind.clips for kind in one.covariance.needs)
    ]  # fmt: skip
    if clipped and not clip_x0:
        listener.warn(
            f"{', '.join(clipped)} hold the error of the clipped x0_hat, which at large t is smaller than without "
            "--clip-x0; corrected does not"
        )
    others = [one.covariance.name for one in known if not one.measured_at(guidance)]
    if others:
        listener.warn(
            f"guidance is {guidance:g}, and it was another when {', '.join(others)} was measured; measure and fit with "
            f"--guidance {guidance:g}"
        )
