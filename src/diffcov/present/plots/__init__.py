"""Curves: of a comparison and of a variance table, as PNG files and as SVG for the report.

matplotlib (the extra ``plot``) is imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.present.plots.canvas import available, png_of
from diffcov.present.plots.of_result import bits_panels, calibration_panels, exposure_panels, frechet_panels
from diffcov.present.plots.of_table import table_panels
from diffcov.present.plots.palette import COLOURS
from diffcov.present.plots.svg import key_svg, panel_svg
from diffcov.statistics.table import VarianceTable

__all__ = [
    "COLOURS",
    "available",
    "bits_panels",
    "calibration_panels",
    "curves_png",
    "exposure_panels",
    "frechet_panels",
    "key_svg",
    "panel_svg",
    "table_png",
]


def curves_png(result: Mapping[str, Any]) -> bytes:
    """bits/dim and Frechet distance over the number of steps, one PNG.

    Args:
        result: what ``compare.json`` holds.

    Raises:
        InputError: matplotlib is not installed, or the result holds neither quantity.
    """
    panels = [*bits_panels(result), *frechet_panels(result)]
    if not panels:
        raise InputError("the comparison holds no bits/dim and no Frechet distance, so there is no curve to draw")
    return png_of(panels, columns=3)


def table_png(table: VarianceTable, schedule: NoiseSchedule, var_bound: float) -> bytes:
    """The statistics of a variance table over t, and the variances they give, one PNG; bands are standard errors.

    Args:
        table: the statistics.
        schedule: the schedule they were measured under.
        var_bound: ((high - low) / 2)^2 of the data.

    Raises:
        InputError: matplotlib is not installed, or the table holds no time.
    """
    if not table.times:
        raise InputError("the variance table holds no measured time; measure it with: diffcov estimate-var --force")
    return png_of(table_panels(table, schedule, var_bound), columns=2)
