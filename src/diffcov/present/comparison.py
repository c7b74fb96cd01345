"""What a comparison leaves in its folder: numbers as JSON and CSV, curves, sample sheets, and the report."""

from __future__ import annotations

from torch import Tensor

from diffcov.present import plots
from diffcov.present.digits import significant
from diffcov.present.picture import comparison_png
from diffcov.present.report import page
from diffcov.present.report.grid import lowest
from diffcov.present.report.headline import shown_steps
from diffcov.study.compare import Comparison

__all__ = ["why_no_curves", "write_comparison"]


def why_no_curves(comparison: Comparison) -> str | None:
    """Why there is nothing to draw curves of, or with; None if there are curves."""
    cells = comparison.document["cells"]
    if not any(cell[key] is not None for cell in cells for key in ("bits_per_dim", "fid")):
        return "no curves: neither likelihood nor samples were measured"
    if not plots.available():
        return "no curves: matplotlib is missing; get it with pip install matplotlib"
    return None


def _ranked_sheets(comparison: Comparison) -> dict[str, list[Tensor]]:
    """Every sampler at the number of steps nearest to ten, and each solver with its best covariance, nearest first."""
    document = comparison.document
    K, cells = shown_steps(document), document["sampler_cells"]
    found = [
        (cell["fid"], cell["sampler"], comparison.sampler_sheets[cell["sampler"], K])
        for cell in cells
        if cell["steps"] == K
    ]
    if not found:
        return {}
    for solver in document["solvers"]:
        best = lowest(document, solver, K, "fid")[:1]
        found += [(one["fid"], f"{solver}, {one['covariance']}", comparison.sheets[one["covariance"], solver, K])
                  for one in best]  # fmt: skip
    ranked = {f"{name}: {significant(fid)}": [pixels] for fid, name, pixels in sorted(found, key=lambda one: one[0])}
    return {**_real(comparison, 1), **ranked}


def _real(comparison: Comparison, panels: int) -> dict[str, list[Tensor]]:
    """A row of real images, the same in each panel; none where there are none, or too few to fill one."""
    real, sheets = comparison.real, comparison.sheets
    shown = max((len(pixels) for pixels in sheets.values()), default=0)
    return {} if real is None or len(real) < shown else {"real images": [real[:shown]] * panels}


def write_comparison(comparison: Comparison) -> dict[str, str]:
    """Write all of them, replacing earlier ones; returns their paths by kind. Curves need matplotlib.

    Raises:
        OutputError: the file system refuses.
    """
    document, sheets, folder = comparison.document, comparison.sheets, comparison.folder
    paths = {"json": folder.save_json(document), "csv": folder.save_csv(document["cells"])}
    if why_no_curves(comparison) is None:
        paths["curves"] = folder.save("curves.png", plots.curves_png(document))
    for solver in document["solvers"]:
        rows = {
            name: [sheets[name, solver, K] for K in document["steps"]]
            for name in document["covariances"]
            if (name, solver, document["steps"][0]) in sheets
        }
        if rows:
            rows = {**_real(comparison, len(document["steps"])), **rows}
            picture = comparison_png(rows, [f"{K} steps" for K in document["steps"]], comparison.levels)
            paths[f"samples_{solver}"] = folder.save(f"samples-{solver}.png", picture)
    ranked = _ranked_sheets(comparison)
    if ranked:
        picture = comparison_png(ranked, [f"{shown_steps(document)} steps, nearest first"], comparison.levels)
        paths["samples_samplers"] = folder.save("samples-samplers.png", picture)
    paths["report"] = folder.save(
        "report.html",
        page(document, sheets, comparison.levels, comparison.sampler_sheets, comparison.real).encode(
            "utf-8", "backslashreplace"
        ),
    )
    return {kind: str(path) for kind, path in paths.items()}
