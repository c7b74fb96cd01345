"""What an artefact, a run, a set of samples or a set of images says about itself, verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffcov.errors import DiffcovError, InputError
from diffcov.nets.variance_head import parameter_count
from diffcov.statistics.base import Statistic
from diffcov.statistics.registry import load_all, of_kind
from diffcov.statistics.table import VarianceTable
from diffcov.store.artifact import read_header
from diffcov.store.checkpoint import MeanCheckpoint, read_mean
from diffcov.store.classifier import load_classifier
from diffcov.store.grids import load_grids
from diffcov.store.head import load_head
from diffcov.store.range_check import load_range_check
from diffcov.store.recipes import load_recipe
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import is_sample_set, load_manifest
from diffcov.store.scale import load_scale
from diffcov.store.state import load_state
from diffcov.store.statistics import StatisticFile, load_statistic
from diffcov.study.describe_images import describe_images, images_at, is_run
from diffcov.study.requests.pictures import PictureChoice

__all__ = ["describe", "described_table"]

Part = dict[str, Any]


def describe(path: Path, module: str | None = None) -> dict[str, Any]:
    """A report of plain values: ``{"path", "parts": [{"kind", "path", ...}], "problems": [sentence, ...]}``.

    Args:
        path: an artefact, a run directory, a folder of samples, or a set of images.
        module: the function that builds the mean's network, where it is a program.

    Raises:
        InputError: nothing there, or nothing that diffcov knows.
    """
    images = images_at(path, PictureChoice())
    if images is not None:
        return describe_images(images)
    if is_sample_set(path):
        return {"path": str(path), "parts": [_samples(path)], "problems": []}
    if is_run(path):
        return _run(RunFolder(path), module)
    if path.suffix == ".json":
        return {"path": str(path), "parts": [_recipe(path)], "problems": []}
    return {"path": str(path), "parts": [_artifact(path, module)], "problems": []}


def described_table(report: Mapping[str, Any]) -> StatisticFile[VarianceTable] | None:
    """The variance table that a report speaks of, read again; None if there is none."""
    found = next((part for part in report["parts"] if part["kind"] == VarianceTable.kind), None)
    return None if found is None else load_statistic(Path(found["path"]), VarianceTable)


def _run(run: RunFolder, module: str | None) -> dict[str, Any]:
    parts: list[Part] = []
    problems: list[str] = []
    statistics = [run.ingredient(kind) for kind in load_all()]
    found = [
        run.mean,
        *statistics,
        *run.heads().values(),
        *run.all_grids(),
        *run.all_scales(),
        run.classifier,
        run.range_check,
    ]
    mean = _built_if_trusted(run, module)
    for path in [*found, *run.all_states(), *run.all_recipes()]:
        if path.is_file():
            try:
                parts.append(_recipe(path) if path.suffix == ".json" else _artifact(path, module))
            except DiffcovError as error:
                problems.append(str(error))
    for part in parts:
        made_for = part.get("trunk")
        if mean is not None and made_for is not None and not mean.trunk.owns(made_for):
            problems.append(
                f"{part['path']} was made for another mean (trunk {made_for[:12]}, the run's is {mean.digest[:12]})"
            )
        for file, made_with in part.get("relative_to", {}).items():
            there = next((other.get("digest") for other in parts if Path(other["path"]).name == file), None)
            if there != made_with:
                problems.append(f"{part['path']} was fitted over another {file}, or one that is gone")
    return {"path": str(run.path), "parts": parts, "problems": problems}


def _built_if_trusted(run: RunFolder, module: str | None) -> MeanCheckpoint | None:
    """The run's mean, to check its statistics and heads against; None if it cannot be built or is a program."""
    try:
        stored = read_mean(run.mean)
        return None if stored.program and module is None else stored.built(module)
    except DiffcovError:
        return None  # its own part says why


def _samples(path: Path) -> Part:
    return {"kind": "samples", "path": str(path), **load_manifest(path)}
