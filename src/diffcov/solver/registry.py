"""Solvers by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a solver: write ``solver/yours.py`` with one subclass of ``Solver``, and add its line here. One that ships with
diffcov also stands in ``exported/solvers.py``, so that an exported scheduler takes it along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffcov.errors import UsageError
from diffcov.named import named

if TYPE_CHECKING:
    from diffcov.solver.base import Solver

__all__ = ["SOLVERS", "load", "make_solver"]

SOLVERS: dict[str, str] = {
    "ddpm": "diffcov.solver.ddpm:DDPM",
    "ddim": "diffcov.solver.ddim:DDIM",
    "dpmpp": "diffcov.solver.dpmpp:DPMpp",
    "unipc": "diffcov.solver.unipc:UniPC",
    "ipndm": "diffcov.solver.ipndm:IPNDM",
    "deis": "diffcov.solver.deis:DEIS",
    "er-sde": "diffcov.solver.er_sde:ERSDE",
    "addim": "diffcov.solver.addim:ADDIM",
    "dcw": "diffcov.solver.dcw:DCW",
    "spectral-addim": "diffcov.solver.spectral_addim:SpectralADDIM",
    "spectral-ei": "diffcov.solver.spectral_ei:SpectralEI",
    "full-ei": "diffcov.solver.full_ei:FullEI",
}
"""Name -> "module:Class"."""


def load(name: str) -> type[Solver]:
    """The class behind a name; a KeyError for a name that is not registered."""
    found: type[Solver] = named(SOLVERS[name])
    return found


def make_solver(name: str, eta: Any = None, **chosen: Any) -> Solver:
    """The solver that options name; what is None is as the solver has it by itself.

    Args:
        name: a registered name.
        eta: of a solver that can be told one.
        chosen: other fields of the solver, such as order or weight.

    Raises:
        UsageError: no such solver, an option that it does not have, or a value that it cannot have.
    """
    if name not in SOLVERS:
        raise UsageError.unknown("solver", name, SOLVERS)
    return load(name).of(eta=eta, **chosen)
