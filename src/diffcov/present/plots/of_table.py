"""The panels of a variance table: the two statistics with their standard errors, and the variances they give."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.present.plots.panel import Line, Panel
from diffcov.statistics.moments import Moments
from diffcov.statistics.table import VarianceTable

__all__ = ["table_panels"]

PERFECT, LEARNED = "analytic", "corrected"
"""The covariances whose statistics the table holds; their marks are used."""


def table_panels(table: VarianceTable, schedule: NoiseSchedule, var_bound: float) -> list[Panel]:
    """1 - Gamma_t and E||eps - eps_hat||^2 / d over t; then var_x0 of both, before any clip, and its bounds.

    Args:
        table: the statistics; times that were not measured are left out.
        schedule: of the same T.
        var_bound: ((high - low) / 2)^2 of the data.
    """
    times = torch.tensor(table.times, dtype=torch.long)
    ratio = schedule.ratio[times]
    known = {PERFECT: (1 - table.eps_hat_moments.mean()[times], _stderr(table.eps_hat_moments, times))}
    if table.knows_error:
        known[LEARNED] = table.error_moments.mean()[times], _stderr(table.error_moments, times)
    what = "1 - Gamma (analytic)" + (", squared error (corrected)" if table.knows_error else "")
    above = len(table.above_one)
    note = f"\n{above} of {len(times)} times have Gamma > 1: not drawn" if above else ""
    return [
        Panel(
            what + note,
            "t",
            "per pixel",
            tuple(_line(name, times, values, stderr) for name, (values, stderr) in known.items()),
            log_y=True,
        ),
        Panel(
            "var_x0, and the bounds it is clipped to",
            "t",
            "per pixel, in units of x_0 squared",
            (
                _line("r", times, ratio, None),
                _line("range of the data", times, torch.full_like(ratio, var_bound), None),
                *(_line(name, times, ratio * values, ratio * stderr) for name, (values, stderr) in known.items()),
            ),
            log_y=True,
        ),
    ]


def _stderr(moments: Moments, times: Tensor) -> Tensor:
    return moments.stderr()[times].nan_to_num(0.0)


def _line(name: str, times: Tensor, values: Tensor, stderr: Tensor | None) -> Line:
    xs, ys = tuple(times.tolist()), tuple(values.tolist())
    return Line(name, xs, ys, () if stderr is None else tuple(stderr.tolist()), dashed=stderr is None)
