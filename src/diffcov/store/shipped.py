"""The run that the package brings: a trained mean of photographs with its statistics, see ``assets/README.md``."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from diffcov.errors import InputError
from diffcov.store.atomic import written
from diffcov.store.checkpoint import read_mean, save_mean
from diffcov.store.run import RunFolder

__all__ = ["IMAGES", "unpack_shipped"]

IMAGES = "images.safetensors"
"""The asset that is a data set and no part of the run."""


def unpack_shipped(run: RunFolder) -> None:
    """Put the package's run into a run directory, unless it is there.

    The mean comes last: a run that has it has all of it. It is shipped in half precision and computes in single.

    Raises:
        InputError: the directory holds another mean.
        OutputError: the file system refuses.
    """
    with as_file(files("diffcov") / "assets" / "clothes") as shipped:
        theirs = RunFolder(shipped)
        stored = read_mean(theirs.mean)
        if run.mean.is_file():
            if read_mean(run.mean).training != stored.training:
                raise InputError(
                    f"{run.path} holds another mean than the one that the package brings; give the picture a directory "
                    "of its own with --run"
                )
            return
        for source in sorted(shipped.rglob("*")):
            if source.is_file() and source not in (theirs.mean, shipped / IMAGES):
                _copy(source, run.path / source.relative_to(shipped))
        save_mean(run.mean, stored.built().model.network.float(), stored.spec, stored.training)


def _copy(source: Path, target: Path) -> None:
    written(target, lambda temporary: shutil.copyfile(source, temporary))
