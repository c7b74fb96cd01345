"""Solvers by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a solver: write ``solver/yours.py`` with one subclass of ``Solver``, and add its line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcov.errors import UsageError
from diffcov.named import named

if TYPE_CHECKING:
    from diffcov.solver.base import Solver

__all__ = ["SOLVERS", "load", "make_solver"]

SOLVERS: dict[str, str] = {
    "ddpm": "diffcov.solver.ddpm:DDPM",
    "ddim": "diffcov.solver.ddim:DDIM",
}
"""Name -> "module:Class"."""


def load(name: str) -> type[Solver]:
    """The class behind a name; a KeyError for a name that is not registered."""
    found: type[Solver] = named(SOLVERS[name])
    return found


def make_solver(name: str, eta: float | None = None) -> Solver:
    """The solver that options name.

    Raises:
        UsageError: no such solver, or an eta that it does not have.
    """
    if name not in SOLVERS:
        raise UsageError(f"unknown solver {name!r}; choose one of {', '.join(SOLVERS)}")
    return load(name).of(eta)
