"""What a run holds for its mean model: gathered for one covariance, checked against the trunk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted, Needs
from diffcov.errors import InputError, UsageError
from diffcov.io.head import load_head
from diffcov.io.run import Run
from diffcov.io.table import load_table

__all__ = ["LoadedCovariance", "available", "load_covariance", "resolve"]


@dataclass(frozen=True)
class LoadedCovariance:
    """A covariance ready to use.

    Attributes:
        covariance: the object.
        digests: of the table and the head it was built from, by file name; for the manifest.
    """

    covariance: Covariance
    digests: dict[str, str]


def resolve(run: Run, name: str) -> str:
    """A registered name: the one given, or for "auto" the best that the run holds. UsageError if there is none such."""
    if name == "auto":
        return registry.preferred(table=run.table.is_file(), heads=frozenset(run.heads()))
    if name not in registry.COVARIANCES:
        raise UsageError(f"unknown covariance {name!r}; choose auto or one of {', '.join(registry.COVARIANCES)}")
    return name


def available(run: Run) -> dict[str, str | None]:
    """Every registered covariance -> None if the run can build it, else the command that makes what it lacks."""
    heads, found = run.heads(), dict[str, str | None]()
    for name in registry.COVARIANCES:
        lacks = {
            Needs.NOTHING: None,
            Needs.TABLE: None if run.table.is_file() else "diffcov estimate-var",
            Needs.HEAD: None if name in heads else f"diffcov fit-var-head --kind {name}",
        }
        found[name] = lacks[registry.load(name).needs]
    return found


def load_covariance(run: Run, name: str, trunk: str, device: torch.device, times: Iterable[int]) -> LoadedCovariance:
    """Build a covariance from a run's files; only what it needs is read.

    Args:
        run: the run directory.
        name: a registry name, or "auto" for the best that the run holds.
        trunk: digest of the mean model.
        device: where heads are put.
        times: that a table must hold.

    Raises:
        UsageError: an unknown name.
        InputError: what it needs is missing, damaged, or was made for another trunk.
    """
    name, heads = resolve(run, name), run.heads()
    kind = registry.load(name)
    table, fitted_heads, digests = None, dict[str, nn.Module](), dict[str, str]()
    if kind.needs is Needs.TABLE and run.table.is_file():
        file = load_table(run.table, trunk)
        file.table.require(times)
        table, digests[run.table.name] = file.table, file.digest
    if kind.needs is Needs.HEAD and name in heads:
        found = load_head(heads[name], trunk)
        if found.spec.kind != name:
            raise InputError(
                f"{heads[name]} holds a head for {found.spec.kind}, not for {name}; fit one with: "
                f"diffcov fit-var-head --kind {name}"
            )
        fitted_heads[name], digests[heads[name].name] = found.head.to(device), found.digest
    return LoadedCovariance(kind.build(Fitted(table, fitted_heads)), digests)
