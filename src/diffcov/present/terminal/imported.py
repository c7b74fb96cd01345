"""What ``import`` shows: the errors of the reading that was taken, and what else was tried."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from diffcov.engines.plausibility import Plausibility
from diffcov.present.terminal.table import column, titled
from diffcov.study.reading_bench import Way

__all__ = ["check_table", "ways_table"]


def check_table(check: Plausibility) -> Table:
    """A row a noise level."""
    table = titled("E||x_0 - x0_hat||^2 / d on real images", f"a constant has {check.constant:.4g}")
    for name in ("t", "log-SNR", "network", "Gaussian", "network / Gaussian"):
        table.add_column(name, justify="right")
    ratios = [mine / theirs for mine, theirs in zip(check.error, check.gaussian, strict=True)]
    rows = zip(check.times, check.log_snr, check.error, check.gaussian, column(ratios, 3), strict=True)
    for t, log_snr, error, gaussian, ratio in rows:
        table.add_row(str(t), f"{log_snr:.2f}", f"{error:.3g}", f"{gaussian:.3g}", ratio)
    return table


def ways_table(ways: Sequence[Way]) -> Table:
    """A row a way that was tried."""
    table = titled("What no file says: error over a Gaussian's, geometric mean over noise levels")
    for name in ("", "read as", "error", ""):
        table.add_column(name, justify="right" if name == "error" else "left")
    last = ""
    for way in ways:
        score = "-" if way.score is None else f"{way.score:.3g}"
        table.add_row("" if way.name == last else way.name, way.word, score, "taken" if way.taken else "")
        last = way.name
    return table
