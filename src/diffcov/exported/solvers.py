"""The solvers that a scheduler takes along, and how one is made again of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcov.errors import InputError
from diffcov.solver.addim import ADDIM
from diffcov.solver.base import Solver
from diffcov.solver.dcw import DCW
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.solver.deis import DEIS
from diffcov.solver.dpmpp import DPMpp
from diffcov.solver.er_sde import ERSDE
from diffcov.solver.full_ei import FullEI
from diffcov.solver.ipndm import IPNDM
from diffcov.solver.spectral_addim import SpectralADDIM
from diffcov.solver.spectral_ei import SpectralEI
from diffcov.solver.unipc import UniPC

__all__ = ["SOLVERS_ALONG", "check_along", "solver_again"]

SOLVERS_ALONG: dict[str, type[Solver]] = {
    kind.name: kind
    for kind in (DDPM, DDIM, DPMpp, UniPC, IPNDM, DEIS, ERSDE, ADDIM, SpectralADDIM, DCW, SpectralEI, FullEI)
}
"""Solvers by name; each is written into the program of an exported scheduler."""


def check_along(solver: Solver) -> None:
    """Refuse (InputError) a solver that is none of :data:`SOLVERS_ALONG`, such as one that an extension registered."""
    if SOLVERS_ALONG.get(solver.name) is not type(solver):
        raise InputError(
            f"the solver {solver.name} is no part of diffcov, and an exported scheduler takes along those that are; "
            f"export with one of {', '.join(SOLVERS_ALONG)}, or sample with diffcov"
        )


def solver_again(values: Mapping[str, Any], known: Mapping[str, Any]) -> Solver:
    """The solver of a configuration, the inverse of ``Solver.as_dict``.

    Args:
        values: what ``as_dict`` said.
        known: what was measured, by the names in ``Solver.needs``.
    """
    kind = SOLVERS_ALONG[values["name"]]
    return kind.from_dict(values).given({name: known[name] for name in kind.needs})
