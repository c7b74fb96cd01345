"""Folders that diffusers loads as a pipeline: its network, our scheduler with its program, plain files of numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from diffcov.errors import OutputError
from diffcov.store.atomic import atomic_folder, holds_something_else

__all__ = ["check_replaceable", "write_pipeline"]

MODULE, CLASS = "diffcov_scheduler", "DiffcovScheduler"


def check_replaceable(path: Path) -> None:
    """Refuse (OutputError) to replace a folder that is no export and not empty, whoever asks for it."""
    if holds_something_else(path, (path / "scheduler" / f"{MODULE}.py").is_file()):
        raise OutputError(f"{path} is no export of diffcov, and --force replaces nothing else; choose another --out")


def write_pipeline(path: Path, config: Mapping[str, Any], unet: Any = None) -> None:
    """Write a folder, whole or not at all.

    Args:
        path: the folder; replaced if it exists.
        config: the arguments of a DiffcovScheduler.
        unet: a model of diffusers; without one the folder holds the scheduler and the tables alone.

    Raises:
        OutputError: the file system refuses.
    """
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    with atomic_folder(path) as folder:
        DiffcovScheduler(**config).save_pretrained(folder / "scheduler")
        with as_file(files("diffcov.exported") / f"{MODULE}.py") as source:
            shutil.copyfile(source, folder / "scheduler" / f"{MODULE}.py")
        _write_tables(folder, config)
        if unet is not None:
            unet.save_pretrained(folder / "unet")
            _write_index(folder)


def _write_index(folder: Path) -> None:
    import diffusers

    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": [MODULE, CLASS],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_tables(folder: Path, config: Mapping[str, Any]) -> None:
    """The numbers as npz and JSON, for whoever has a sampler of their own."""
    from diffcov.exported.diffcov_scheduler import unpacked

    arrays = {name: unpacked(value).numpy() for name, value in config.items() if isinstance(value, dict)}
    with (folder / "tables.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    plain = {name: value for name, value in config.items() if name not in arrays}
    numbers = {name: array.tolist() for name, array in arrays.items() if array.ndim == 1}
    (folder / "tables.json").write_text(json.dumps({**plain, **numbers}) + "\n", encoding="utf-8")
