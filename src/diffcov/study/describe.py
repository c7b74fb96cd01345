"""What an artefact, a run, a set of samples, a sheet or a set of images says about itself, verified."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcov.errors import DiffcovError
from diffcov.statistics.registry import load_all
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import MeanCheckpoint, read_mean
from diffcov.store.comparison import RESULT
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import is_sample_set, load_manifest
from diffcov.store.seal import read_sheet
from diffcov.store.set_contents import set_contents, set_lacks
from diffcov.store.statistics import StatisticFile, load_statistic
from diffcov.study.describe_images import describe_images, images_at, is_run
from diffcov.study.describe_part import Part, describe_part, made_of
from diffcov.study.next_step import made_again, measured_first, next_step
from diffcov.study.requests.pictures import PictureChoice

__all__ = ["describe", "described_table", "files_of", "told"]

Report = dict[str, Any]


def describe(path: Path, module: str | None = None) -> Report:
    """A report of plain values: ``{"path", "parts": [{"kind", "path", ...}], "problems": [sentence, ...], "next"}``.

    Of a run it has ``sample_sets`` and ``comparison`` too. ``next`` is the command to type.

    Args:
        path: an artefact, a run directory, a folder of samples, the sheet of one, or a set of images.
        module: the function that builds the mean's network, where it is a program.

    Raises:
        InputError: nothing there, or nothing that diffcov knows.
    """
    images = images_at(path, PictureChoice())
    if images is not None:
        return told(describe_images(images))
    if is_sample_set(path):
        lacks = [
            f"{path / name} is gone, and the manifest names it; draw the samples again" for name in set_lacks(path)
        ]
        return told({"path": str(path), "parts": [_samples(path)], "problems": lacks})
    if is_run(path):
        return told(_run(RunFolder(path), module), module)
    part = _sheet(path) if path.suffix == ".png" else describe_part(path, module)
    return told({"path": str(path), "parts": [part], "problems": []}, module)


def told(report: Mapping[str, Any], module: str | None = None) -> Report:
    """A report with the command to type next."""
    return {**report, "next": next_step(report, module)}


def described_table(report: Mapping[str, Any]) -> StatisticFile[VarianceTable] | None:
    """The variance table that a report speaks of, read again; None if there is none."""
    found = next((part for part in report["parts"] if part["kind"] == VarianceTable.kind), None)
    return None if found is None else load_statistic(Path(found["path"]), VarianceTable)


def files_of(run: RunFolder) -> list[Path]:
    """Every artefact and recipe that a run holds, its mean first."""
    found = [
        run.mean, *(run.ingredient(kind) for kind in load_all()), *run.heads().values(), *run.all_grids(),
        *run.all_scales(), run.classifier, run.range_check, *run.all_states(), *run.all_recipes(),
    ]  # fmt: skip
    return [path for path in found if path.is_file()]


def _run(run: RunFolder, module: str | None) -> Report:
    parts: list[Part] = []
    problems: list[str] = []
    again: dict[str, None] = {}
    for path in files_of(run):
        try:
            parts.append(describe_part(path, module))
        except DiffcovError as error:
            problems.append(str(error))
    mean = _built_if_trusted(run, module)
    for part in parts:
        made_for = part.get("trunk")
        if mean is not None and made_for is not None and not mean.trunk.owns(made_for):
            problems.append(
                f"{part['path']} was made for another mean (trunk {made_for[:12]}, the run's is {mean.digest[:12]})"
            )
        for file, made_with in made_of(part).items():
            there = next((other for other in parts if Path(other["path"]).name == file), None)
            if there is None or there.get("digest") != made_with:
                command = _remedy(part, file, there, run, mean)
                remedy = "" if command is None else f"; make it again with: diffcov {command}"
                problems.append(f"{part['path']} was made of another {file}, or of one that is gone{remedy}")
                again |= {} if command is None else {command: None}
    return {
        "path": str(run.path),
        "parts": parts,
        "problems": problems,
        "again": list(again),
        "sample_sets": [path.name for path in run.sample_sets()],
        "comparison": (run.comparison / RESULT).is_file(),
    }


def _remedy(part: Part, file: str, there: Part | None, run: RunFolder, mean: MeanCheckpoint | None) -> str | None:
    """What is typed first about a part that was made of another file: of one that is gone, what measures that."""
    if there is None:
        return None if (run.path / file).exists() else measured_first(file, run.path)
    ours = mean is None or "trunk" not in there or mean.trunk.owns(there["trunk"])
    return made_again(part, run.path) if ours else None


def _built_if_trusted(run: RunFolder, module: str | None) -> MeanCheckpoint | None:
    """The run's mean, to check its statistics and heads against; None if it cannot be built or is a program."""
    try:
        stored = read_mean(run.mean)
        return None if stored.program and module is None else stored.built(module)
    except DiffcovError:
        return None  # its own part says why


def _samples(path: Path) -> Part:
    manifest = load_manifest(path)
    files = manifest.pop("files", {})
    own = {"kind": "samples", "path": str(path)}
    return {**own, **manifest, **own, "contents": set_contents(path), "sealed": bool(files)}


def _sheet(path: Path) -> Part:
    said, _ = read_sheet(path)
    own = {"kind": "sheet", "path": str(path), "bytes": path.stat().st_size, "provenance": said is not None}
    return own | {key: value for key, value in (said or {}).items() if key not in own}
