"""What ``compare`` leaves behind: tables on the terminal, numbers as JSON and CSV, pictures, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffcov.cli.comparison_parts import Bench
from diffcov.cli.console import note, show
from diffcov.present import plots
from diffcov.present.picture import save_comparison
from diffcov.present.report import write_report
from diffcov.present.terminal import tables
from diffcov.store.atomic import atomic_write

__all__ = ["write_comparison"]


def write_comparison(
    bench: Bench, result: dict[str, Any], sheets: Mapping[tuple[str, str, int], Tensor]
) -> dict[str, str]:
    """compare.json, compare.csv, the pictures and the report; returns their paths. Shows the tables."""
    folder, levels = bench.folder, bench.mean.spec.data.levels
    settings, cells = result["settings"], result["cells"]
    paths = {"json": str(folder.save_json(result)), "csv": str(folder.save_csv(cells))}
    if not any(cell[key] is not None for cell in cells for key in ("bits_per_dim", "fid")):
        note("no curves: neither likelihood nor samples were measured")
    elif plots.available():
        paths["curves"] = str(folder.path / "curves.png")
        plots.save_curves(folder.path / "curves.png", result)
    else:
        note("no curves: matplotlib is missing; get it with pip install 'diffcov[plot]'")
    for process in result["processes"]:
        mine = [cell for cell in cells if cell["process"] == process]
        if mine and mine[0]["bits_per_dim"] is not None:
            title = f"bits/dim of {settings['images']} {settings['split']} images, {process}; lower is better"
            show(tables.grid(title, mine, "bits_per_dim"))
        if bench.samples is None or not mine:
            continue
        label = f"@{settings['count']} {settings['features']}, {process}{tables.scale_note(settings['eps_scale'])}"
        real = result["real"]
        floor = None if real is None else f"{real['count']} real {real['split']} images have {real['fid']:.4g}"
        show(tables.grid(f"fid{label}; lower is better", mine, "fid", floor))
        path = folder.path / f"samples-{process}.png"
        rows = {
            name: [sheets[name, process, K] for K in result["steps"]]
            for name in result["covariances"]
            if (name, process, result["steps"][0]) in sheets
        }
        with atomic_write(path) as temporary:
            save_comparison(temporary, rows, [f"{K} steps" for K in result["steps"]], levels)
        paths[f"samples_{process}"] = str(path)
    report = folder.path / "report.html"
    write_report(report, result, sheets, levels)
    note(f"report: {report}")
    return {**paths, "report": str(report)}
