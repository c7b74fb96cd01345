"""What an artefact or a run says about itself, verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffcov.errors import DiffcovError, InputError
from diffcov.nets.head import parameter_count
from diffcov.store.artifact import read_header
from diffcov.store.checkpoint import load_mean
from diffcov.store.classifier import load_classifier
from diffcov.store.datasets import EMBEDDED, has_test_split, load_images
from diffcov.store.eps_scale import load_eps_scale
from diffcov.store.head import load_head
from diffcov.store.measured import MeasuredFile
from diffcov.store.residuals import load_matrices, load_spectrum
from diffcov.store.run import Run
from diffcov.store.state import load_state
from diffcov.store.table import load_table
from diffcov.store.trajectory import load_trajectories

__all__ = ["describe"]


def describe(path: Path) -> dict[str, Any]:
    """A report of plain values: ``{"path", "parts": [{"kind", "path", ...}], "problems": [sentence, ...]}``.

    Args:
        path: an artefact, a run directory, a folder of samples, or a set of images.

    Raises:
        InputError: nothing there, or nothing that diffcov knows.
    """
    if path.is_dir() and (path / "manifest.json").is_file():
        return {"path": str(path), "parts": [_samples(path)], "problems": []}
    if path.is_dir() and (Run(path).mean.is_file() or Run(path).state("mean").is_file()):
        return _run(Run(path))
    if path.suffix == ".safetensors":
        return {"path": str(path), "parts": [_artifact(path)], "problems": []}
    if not path.exists() and str(path) not in EMBEDDED:
        raise InputError(f"no such file or run: {path}; make a run with: diffcov train-mean")
    return {"path": str(path), "parts": [_images(path)], "problems": []}


def _run(run: Run) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    problems: list[str] = []
    states = sorted((run.path / "state").glob("*.safetensors"))
    searched = sorted(run.path.glob("trajectory-*.safetensors"))
    scales = sorted((run.path / "eps-scale").glob("*.safetensors"))
    measured = [run.mean, run.table, run.spectrum, run.matrices]
    for path in [*measured, *run.heads().values(), *searched, *scales, run.path / "classifier.safetensors", *states]:
        if path.is_file():
            try:
                parts.append(_artifact(path))
            except DiffcovError as error:
                problems.append(str(error))
    mean = next((part for part in parts if part["kind"] == "mean"), None)
    for part in parts:
        if mean is not None and part.get("trunk", mean["digest"]) != mean["digest"]:
            problems.append(
                f"{part['path']} was made for other weights (trunk {part['trunk'][:12]}, "
                f"the run's mean is {mean['digest'][:12]})"
            )
        for file, made_with in part.get("relative_to", {}).items():
            found = next((other["digest"] for other in parts if Path(other["path"]).name == file), None)
            if found != made_with:
                problems.append(f"{part['path']} was fitted over another {file}, or one that is gone")
    return {"path": str(run.path), "parts": parts, "problems": problems}


def _artifact(path: Path) -> dict[str, Any]:
    header = read_header(path)
    known: dict[str, Callable[[Path], dict[str, Any]]] = {
        "mean": _mean,
        "variance-table": _table,
        "spectrum": _spectrum,
        "residual-matrices": _matrices,
        "head": _head,
        "state": _state,
        "optimal-trajectories": _trajectories,
        "eps-scale": _eps_scale,
        "classifier": _classifier,
    }
    if header["kind"] not in known:
        raise InputError(f"{path} is a {header['kind']!r} file, which this diffcov ({sorted(known)}) does not know")
    common = {"kind": header["kind"], "path": str(path), "bytes": path.stat().st_size}
    return {**common, **known[header["kind"]](path), "written by": f"diffcov {header['diffcov_version']}"}


def _mean(path: Path) -> dict[str, Any]:
    found = load_mean(path)
    return {
        "digest": found.digest,
        "parameters": parameter_count(found.model),
        **found.spec.as_dict(),
        **found.training,
    }


def _table(path: Path) -> dict[str, Any]:
    found = load_table(path)
    config = {key: value for key, value in found.config.items() if key != "times"}
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "schedule": found.schedule.spec,
        "times": f"{len(found.statistics.measured)} of {found.schedule.T}",
        "times above one": len(found.statistics.above_one),
        **config,
    }


def _spectrum(path: Path) -> dict[str, Any]:
    return _at_knots(load_spectrum(path))


def _matrices(path: Path) -> dict[str, Any]:
    found = load_matrices(path)
    weights = [found.statistics.shrinkage(knot) for knot in range(len(found.statistics.knots))]
    return {**_at_knots(found), "shrinkage": f"{min(weights):.3g} to {max(weights):.3g}"}


def _at_knots(found: MeasuredFile[Any]) -> dict[str, Any]:
    config = {key: value for key, value in found.config.items() if key != "times"}
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "schedule": found.schedule.spec,
        "knots": len(found.statistics.knots),
        **config,
    }


def _head(path: Path) -> dict[str, Any]:
    found = load_head(path)
    spec = {"covariance" if key == "kind" else key: value for key, value in vars(found.spec).items()}
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "parameters": parameter_count(found.head),
        **spec,
        **found.training,
    }


def _trajectories(path: Path) -> dict[str, Any]:
    found = load_trajectories(path)
    return {
        "digest": found.digest,
        "trunk": found.trunk,
        "covariance": found.covariance,
        "fitted": found.fitted,
        "lengths": f"1 to {found.found.longest} of {found.found.T}",
        **found.config,
    }


def _eps_scale(path: Path) -> dict[str, Any]:
    read = load_eps_scale(path)
    return {
        "trunk": read.trunk,
        "scale": read.found.scale,
        "contrast off by about": read.found.lowest_mismatch,
        "at scale 1": read.found.mismatch_at_one,
        "fitted": read.fitted,
        **{key: value for key, value in read.config.items() if key not in ("model", "data")},
    }


def _classifier(path: Path) -> dict[str, Any]:
    found = load_classifier(path)
    return {"digest": found.digest, "parameters": parameter_count(found.classifier), **found.training}


def _state(path: Path) -> dict[str, Any]:
    _, settings, done = load_state(path)
    return {**vars(done), "settings": settings}


def _samples(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path / 'manifest.json'} is not JSON ({error}); make the samples again") from error
    return {"kind": "samples", "path": str(path), **manifest}


def _images(path: Path) -> dict[str, Any]:
    found = load_images(str(path))
    pixels = found.images.float()
    unique = len({image.tobytes() for image in found.images.numpy()})
    return {
        "kind": "images",
        "path": str(path),
        "split": found.split,
        "test split": has_test_split(str(path)),
        "count": found.count,
        "images": str(found.description),
        "classes": found.classes,
        "duplicates": found.count - unique,
        "darkest, mean, brightest": f"{int(pixels.min())}, {float(pixels.mean()):.1f}, {int(pixels.max())}",
        "digest": found.digest(),
    }
