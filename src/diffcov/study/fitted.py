"""What a run holds for its mean model: gathered for one covariance, checked against the trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted, HeadFunction, Need
from diffcov.errors import InputError
from diffcov.store.head import load_head
from diffcov.store.residuals import load_matrices, load_spectrum
from diffcov.store.run import Run
from diffcov.store.table import load_table

__all__ = ["LoadedCovariance", "available", "file_of", "files_of", "load_covariance", "load_fitted"]


@dataclass(frozen=True)
class LoadedCovariance:
    """A covariance ready to use.

    Attributes:
        covariance: the object.
        digests: of the files it was built from, by file name; for the manifest.
    """

    covariance: Covariance
    digests: dict[str, str]


def file_of(run: Run, need: Need, name: str) -> Path:
    """Where a run keeps what the covariance ``name`` needs."""
    return {
        Need.TABLE: run.table,
        Need.SPECTRUM: run.spectrum,
        Need.MATRICES: run.matrices,
        Need.HEAD: run.head(name),
    }[need]


def files_of(run: Run, name: str) -> list[Path]:
    """The files that a registered covariance is built from."""
    return [file_of(run, need, name) for need in Need if need in registry.load(name).needs]


def available(run: Run) -> dict[str, str | None]:
    """Every registered covariance -> None if the run can build it, else the command that makes what it lacks."""
    found = dict[str, str | None]()
    for name in registry.COVARIANCES:
        needs = [need for need in Need if need in registry.load(name).needs]
        found[name] = next((need.command(name) for need in needs if not file_of(run, need, name).is_file()), None)
    return found


def load_covariance(run: Run, name: str, trunk: str, device: torch.device, times: Iterable[int]) -> LoadedCovariance:
    """Build a covariance from a run's files; only what it needs is read.

    Args:
        run: the run directory.
        name: a registered name.
        trunk: digest of the mean model.
        device: where heads are put.
        times: that a table must hold.

    Raises:
        InputError: what it needs is missing, damaged, or was made for another trunk or another spectrum.
    """
    kind = registry.load(name)
    fitted, digests = load_fitted(run, name, kind.needs, trunk, device)
    if fitted.table is not None:
        fitted.table.require(times)
    return LoadedCovariance(kind.build(fitted), digests)


def load_fitted(
    run: Run, name: str, needs: Iterable[Need], trunk: str, device: torch.device
) -> tuple[Fitted, dict[str, str]]:
    """What is there of some needs of a covariance, and the files' digests by name.

    Raises:
        InputError: as for :func:`load_covariance`.
    """
    found: dict[Need, Any] = {}
    digests: dict[str, str] = {}
    for need in needs:
        path = file_of(run, need, name)
        if path.is_file():
            found[need], digests[path.name] = READERS[need](path, name, trunk)
    head: Head | None = found.get(Need.HEAD)
    if head is not None:
        for file, made_with in head.relative_to.items():
            if file in digests and digests[file] != made_with:
                raise InputError(
                    f"{run.head(name)} was fitted over another {file} ({made_with[:12]}, this one is "
                    f"{digests[file][:12]}); fit it again with: diffcov fit-var-head --kind {name} --force"
                )
    heads: dict[str, HeadFunction] = {} if head is None else {name: head.module.to(device)}
    return Fitted(found.get(Need.TABLE), found.get(Need.SPECTRUM), found.get(Need.MATRICES), heads), digests


@dataclass(frozen=True)
class Head:
    """A head as it was read, and the digests of the files that its output is relative to."""

    module: torch.nn.Module
    relative_to: Mapping[str, str]


def _head(path: Path, name: str, trunk: str) -> tuple[Head, str]:
    found = load_head(path, trunk)
    if found.spec.kind != name:
        raise InputError(
            f"{path} holds a head for {found.spec.kind}, not for {name}; fit one with: "
            f"diffcov fit-var-head --kind {name}"
        )
    return Head(found.head, found.training.get("relative_to", {})), found.digest


def _measured(load: Callable[[Path, str], Any]) -> Callable[[Path, str, str], tuple[Any, str]]:
    def read(path: Path, name: str, trunk: str) -> tuple[Any, str]:
        found = load(path, trunk)
        return found.statistics, found.digest

    return read


READERS: dict[Need, Callable[[Path, str, str], tuple[Any, str]]] = {
    Need.TABLE: _measured(load_table),
    Need.SPECTRUM: _measured(load_spectrum),
    Need.MATRICES: _measured(load_matrices),
    Need.HEAD: _head,
}
"""(path, covariance, trunk) -> (what it holds, digest)."""
