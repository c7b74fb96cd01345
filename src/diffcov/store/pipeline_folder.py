"""Folders that diffusers loads as a pipeline: models, our scheduler, their programs, plain files of numbers."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from diffcov.errors import InputError, OutputError
from diffcov.processes.base import current
from diffcov.store.atomic import atomic_folder, holds_something_else
from diffcov.store.bundle import bundled

__all__ = ["Pipeline", "check_replaceable", "library", "write_pipeline"]

SCHEDULER, PIPELINE = "diffcov_scheduler", "diffcov_pipeline"
"""Files of ``diffcov.exported``, whose names their programs have in the folder."""
PACKED = {"shape", "data"}
"""The keys of a packed array."""


@dataclass(frozen=True)
class Pipeline:
    """What a folder is made of.

    Attributes:
        scheduler: the arguments of a DiffcovScheduler.
        unet: a model of diffusers, or a DiffcovUNet; None: the folder holds the scheduler and the tables alone.
        head: a DiffcovHead, if the covariance has one.
        told: what else a DiffcovPipeline is told.
        plain: whether a DDPMPipeline can sample with it.
    """

    scheduler: Mapping[str, Any]
    unet: Any = None
    head: Any = None
    told: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = True


def check_replaceable(path: Path) -> None:
    """Refuse (OutputError) to replace a folder that is no export and not empty, whoever asks for it."""
    if holds_something_else(path, (path / "scheduler" / f"{SCHEDULER}.py").is_file()):
        raise OutputError(f"{path} is no export of diffcov, and --force replaces nothing else; choose another --out")


def write_pipeline(path: Path, pipeline: Pipeline, *, replace: bool = True) -> None:
    """Write a folder, whole or not at all.

    Args:
        path: the folder.
        pipeline: what goes into it.
        replace: whether one that is there may be replaced.

    Raises:
        OutputError: somebody else is writing it, it is there, or the file system refuses.
    """
    current().once(lambda: _write_pipeline(path, pipeline, replace))


def _write_pipeline(path: Path, pipeline: Pipeline, replace: bool) -> None:
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    with atomic_folder(path, "diffcov export", replace=replace) as folder:
        DiffcovScheduler(**pipeline.scheduler).save_pretrained(folder / "scheduler")
        _write_program(folder / "scheduler", SCHEDULER)
        _write_tables(folder, pipeline.scheduler)
        if pipeline.unet is None:
            return
        index: dict[str, Any] = {"scheduler": [SCHEDULER, "DiffcovScheduler"]}
        for name, model in (("unet", pipeline.unet), ("head", pipeline.head)):
            if model is not None:
                model.save_pretrained(folder / name)
                index[name] = [_library(folder / name, model), type(model).__name__]
        _write_index(folder, index, pipeline)


def _library(folder: Path, model: Any) -> str:
    """Where a model's class is found: in diffusers, or in a program that is written beside its weights."""
    home = type(model).__module__.split(".")
    if home[0] != "diffcov":
        return home[0]
    _write_program(folder, home[-1])
    return home[-1]


def library() -> ModuleType:
    """The library that reads such folders, and with which they are written. InputError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of while it is imported is nothing of ours
            return importlib.import_module("diffusers")
    except ImportError as error:
        raise InputError(
            f"a folder that diffusers loads is written with diffusers, which cannot be imported ({error}); install it "
            "with: pip install diffusers"
        ) from error


def _write_program(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(bundled(f"diffcov.exported.{name}"), encoding="utf-8")


def _write_index(folder: Path, components: Mapping[str, Any], pipeline: Pipeline) -> None:
    diffusers = library()
    index: dict[str, Any] = {"_class_name": "DDPMPipeline", "_diffusers_version": diffusers.__version__, **components}
    if not pipeline.plain:
        index |= {"_class_name": [PIPELINE, "DiffcovPipeline"], **pipeline.told}
        _write_program(folder, PIPELINE)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_tables(folder: Path, config: Mapping[str, Any]) -> None:
    """The numbers as npz and JSON, for whoever has a sampler of their own."""
    from diffcov.exported.packing import unpacked

    flat = dict(_flat(config))
    arrays = {name: unpacked(value).numpy() for name, value in flat.items() if isinstance(value, dict)}
    with (folder / "tables.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    plain = {name: value for name, value in flat.items() if name not in arrays}
    numbers = {name: array.tolist() for name, array in arrays.items() if array.ndim == 1}
    (folder / "tables.json").write_text(json.dumps({**plain, **numbers}) + "\n", encoding="utf-8")


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, texts and packed arrays by name; those of a part have its name and a stop before their own."""
    for name, value in config.items():
        if isinstance(value, dict) and value.keys() != PACKED:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
