"""What one file of diffcov says about itself, verified as it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffcov.errors import InputError
from diffcov.nets.variance_head import parameter_count
from diffcov.statistics.base import Statistic
from diffcov.statistics.registry import load_all, of_kind
from diffcov.store.artifact import read_header
from diffcov.store.checkpoint import read_mean
from diffcov.store.classifier import load_classifier
from diffcov.store.grids import load_grids
from diffcov.store.head import load_head
from diffcov.store.range_check import load_range_check
from diffcov.store.recipes import load_recipe
from diffcov.store.scale import load_scale
from diffcov.store.state import load_state
from diffcov.store.statistics import load_statistic

__all__ = ["Part", "describe_part", "made_of"]

Part = dict[str, Any]


def describe_part(path: Path, module: str | None = None) -> Part:
    """A report of one artefact or recipe: ``{"kind", "path", "bytes", ...}``, plain values.

    Args:
        path: the file; every digest that it says is recomputed.
        module: the function that builds the mean's network, where it is a program.

    Raises:
        InputError: no such file, nothing that diffcov knows, or changed since it was written.
        NonFiniteError: NaN or infinity in it.
    """
    return _recipe(path) if path.suffix == ".json" else _artifact(path, module)


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


def made_of(part: Part) -> dict[str, str]:
    """The run's files that an artefact says it was made of, name -> digest."""
    return {**part.get("relative_to", {}), **part.get("made of", {})}
