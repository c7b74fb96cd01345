"""Which distances of a comparison are the lowest, and which cannot be told from them: no rank within the error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from diffcov.engines.distances.error import Ranking, standard_error

__all__ = ["ABOVE", "rank"]

ABOVE = ("fid_difference_to", "fid_difference", "fid_difference_stderr")
"""What a cell says of its distance beside the lowest of the same solver and steps; see :func:`rank`."""

Cell = dict[str, Any]
Known = tuple[str, float, Tensor]
"""Name, Frechet distance, influences."""


def rank(
    cells: Sequence[Cell],
    influences: Mapping[tuple[str, str, int], Tensor],
    sampler_cells: Sequence[Cell],
    sampler_influences: Mapping[tuple[str, int], Tensor],
) -> list[dict[str, Any]]:
    """The rankings of the cells that have a distance, and :data:`ABOVE` in each cell of a covariance.

    Args:
        cells: of covariances; each is given its paired difference to the lowest of its solver and steps, None for that
            one itself.
        influences: of each sample, by covariance, solver and steps.
        sampler_cells: of samplers.
        sampler_influences: of each sample, by sampler and steps.

    Returns:
        One record a number of steps and group ("of"): the "covariances" of each "solver", the "samplers", and "all" of
        both. Each holds the lowest distance and its standard error, the names that are "level" with it (itself first),
        and of every other one how far it lies "above" it, with the standard error of that.
    """
    found = []
    for K in sorted({cell["steps"] for cell in (*cells, *sampler_cells)}):
        whole: list[Known] = []
        for solver in dict.fromkeys(cell["solver"] for cell in cells):
            own = [cell for cell in cells if (cell["solver"], cell["steps"]) == (solver, K)]
            known = _known(own, influences)
            ranking = _ranking(known)
            found += _record(K, "covariances", solver, known, ranking)
            for cell in own:
                cell.update(dict.fromkeys(ABOVE) if ranking is None else _above(ranking, cell["covariance"]))
            whole += [(f"{solver} with {name}", value, influence) for name, value, influence in known]
        beside = [
            (cell["sampler"], cell["fid"], sampler_influences[cell["sampler"], K])
            for cell in sampler_cells
            if cell["steps"] == K
        ]
        found += _record(K, "samplers", None, beside, _ranking(beside))
        found += _record(K, "all", None, [*whole, *beside], _ranking([*whole, *beside]))
    return found


def _known(cells: Iterable[Cell], influences: Mapping[tuple[str, str, int], Tensor]) -> list[Known]:
    return [
        (cell["covariance"], cell["fid"], influences[cell["covariance"], cell["solver"], cell["steps"]])
        for cell in cells
        if cell["fid"] is not None
    ]


def _ranking(known: Sequence[Known]) -> Ranking | None:
    if not known:
        return None
    return Ranking.of({name: fid for name, fid, _ in known}, {name: influence for name, _, influence in known})


def _above(ranking: Ranking, name: str) -> dict[str, Any]:
    return dict(zip(ABOVE, (ranking.lowest, *ranking.differences.get(name, (None, None))), strict=True))


def _record(
    K: int, of: str, solver: str | None, known: Sequence[Known], ranking: Ranking | None
) -> list[dict[str, Any]]:
    if ranking is None:
        return []
    above = {
        name: dict(zip(("difference", "stderr"), found, strict=True)) for name, found in ranking.differences.items()
    }
    fid, stderr = next((fid, standard_error(influence)) for name, fid, influence in known if name == ranking.lowest)
    return [
        {"steps": K, "of": of, "solver": solver, "lowest": ranking.lowest, "fid": fid, "fid_stderr": stderr,
         "level": ranking.level,
         "above": above}
    ]  # fmt: skip
