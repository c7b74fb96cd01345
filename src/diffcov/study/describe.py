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


def _artifact(path: Path, module: str | None) -> Part:
    header = read_header(path)
    known: dict[str, Callable[[Path], Part]] = {
        "mean": lambda path: _mean(path, module),
        "head": _head,
        "state": _state,
        "optimal-trajectories": _grids,
        "eps-scale": _scale,
        "classifier": _classifier,
        "range-check": _range_check,
    }
    kind, statistic = header["kind"], of_kind(header["kind"])
    if statistic is not None:
        said = _statistic(path, statistic)
    elif kind in known:
        said = known[kind](path)
    else:
        every = sorted([*known, *(one.kind for one in load_all())])
        raise InputError(f"{path} is a {kind!r} file, which this diffcov ({every}) does not know")
    common = {"kind": kind, "path": str(path), "bytes": path.stat().st_size}
    return {**common, **said, "written by": f"diffcov {header['diffcov_version']}"}


def _mean(path: Path, module: str | None) -> Part:
    stored = read_mean(path)
    if stored.program and module is None:
        return {
            "weights": stored.weights,
            "numbers": sum(tensor.numel() for tensor in stored.tensors.values()),
            **stored.spec.as_dict(),
            **_training(stored.training),
            "not built": f"its network is a program; with --module {stored.program} what belongs to it is checked too",
        }
    found = stored.built(module)
    return {
        "digest": found.digest,
        "weights": found.weights,
        "parameters": parameter_count(found.model),
        **found.spec.as_dict(),
        **_training(found.training),
    }


def _training(training: Mapping[str, Any]) -> Part:
    """How a mean was trained; its spec says "data" of the images' kind, so where they came from is called otherwise."""
    if not training:
        return {"training": "not known: it was not trained here"}
    return {"trained on" if key == "data" else key: value for key, value in training.items()}


def _statistic(path: Path, kind: type[Statistic]) -> Part:
    found = load_statistic(path, kind)
    config = {key: value for key, value in found.config.items() if key != "times"}
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "schedule": found.schedule.spec,
        **found.statistic.summary(),
        **config,
    }


def _head(path: Path) -> Part:
    found = load_head(path)
    spec = {"covariance" if key == "kind" else key: value for key, value in vars(found.spec).items()}
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "parameters": parameter_count(found.head),
        **spec,
        **found.training,
    }


def _grids(path: Path) -> Part:
    found = load_grids(path)
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "covariance": found.covariance,
        "made of": found.fitted,
        "lengths": f"1 to {found.found.longest} of {found.found.T}",
        **found.config,
    }


def _scale(path: Path) -> Part:
    read = load_scale(path)
    return {
        "trunk": read.trunk,
        "scale": read.found.scale,
        "contrast off by about": read.found.lowest_mismatch,
        "at scale 1": read.found.mismatch_at_one,
        **{key: value for key, value in read.sampler.items() if key not in ("model", "data")},
    }


def _range_check(path: Path) -> Part:
    read = load_range_check(path)
    return {"trunk": read.trunk, **read.found.as_dict(), "on": read.images}


def _recipe(path: Path) -> Part:
    """A tuned recipe; its trunk is the mean that it was tuned with, its relative_to what it is made of."""
    found = load_recipe(path)
    return {
        "kind": "recipe", "path": str(path), "bytes": path.stat().st_size, "trunk": found.mean,
        "relative_to": dict(found.made_of), **found.told(),
    }  # fmt: skip


def _classifier(path: Path) -> Part:
    found = load_classifier(path)
    return {"digest": found.digest, "parameters": parameter_count(found.classifier), **found.training}


def _state(path: Path) -> Part:
    _, settings, done = load_state(path)
    return {**vars(done), "settings": settings}


def _samples(path: Path) -> Part:
    return {"kind": "samples", "path": str(path), **load_manifest(path)}
