"""The first picture, and what it says in three lines."""

from __future__ import annotations

from pathlib import Path

from diffcov.present.picture import comparison_png
from diffcov.store.atomic import write_bytes
from diffcov.store.unfinished import outlived
from diffcov.study.first_picture import PLAIN, STEPS, FirstPicture, Row, measured

__all__ = ["verdict", "write_first_picture"]


def write_first_picture(found: FirstPicture) -> Path:
    """Real images, then every sampler, nearest to the data first, each with its distance; returns where it is."""
    path = found.run.path / "first-picture.png"
    rows = {f"{row.name}: {row.fid:.2f}": [row.pixels] for row in (found.real, *found.rows)}
    title = f"{STEPS} steps, the same noise in each column; {found.distance}"
    write_bytes(path, comparison_png(rows, [title], found.levels))
    outlived(found.run.path / "first-picture", path)  # pieces of other options too
    return path


def verdict(found: FirstPicture) -> list[str]:
    """Who is nearest to the data, and how much farther the plain samplers are; distances of as many samples each."""
    best = found.rows[0]
    rows = {row.name: row for row in found.rows}
    first = f"best at {STEPS} steps: {best.name} ({best.summary})"
    error = f", Frechet distance of {found.count} images {best.fid:.3g} +- {best.fid_stderr:.2g}"
    near = f", within the error of it {', '.join(found.level[1:])}" if len(found.level) > 1 else ""
    told = [f"{first}{error}{near}; {found.real.count} real photographs have {found.real.fid:.3g}"]
    return told + [_beside(rows[name], rows[measured(name)], best) for name in sorted(PLAIN)]


def _beside(plain: Row, mended: Row, best: Row) -> str:
    farther = f"{plain.name} as everybody has it: {plain.fid:.3g}, {plain.fid / best.fid:.1f} times as far"
    return f"{farther}; with the covariance measured of this mean: {mended.fid:.3g}"
