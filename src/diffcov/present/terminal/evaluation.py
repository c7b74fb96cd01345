"""What ``evaluate`` shows: a table a metric, and lines for a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from diffcov.present.terminal.table import titled
from diffcov.present.terminal.view import guidance_note, view_note

__all__ = ["evaluation_lines", "evaluation_tables"]

SHOWN = 12
"""Rows a table of times has, at most."""


def evaluation_tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """Whatever was measured.

    Args:
        document: as :class:`diffcov.study.evaluate.Evaluation` holds it.
    """
    if "nll" in document:
        yield _likelihood(document)
    if "ode_nll" in document:
        yield _flow(document)
    if "calibration" in document:
        for name in document["calibration"]["covariances"]:
            yield _calibration(name, document["calibration"])
    if "distances" in document:
        yield _distances(document)
    if "exposure" in document:
        yield _exposure(document["exposure"])


def _likelihood(document: Mapping[str, Any]) -> Table:
    """Every part of the bound, a row a covariance."""
    found, count = document["nll"], document["images"]["count"]
    steps = f"{document['grid']} {document['steps']} steps"
    how = document["solver"].upper() + guidance_note(document)
    table = titled(f"bits/dim of {count} images, {steps}, {how}; lower is better")
    for name in ("covariance", "bits/dim", "+-", "above lowest", "+-", "prior", "transitions", "decoder", "at floor"):
        table.add_column(name, justify="left" if name == "covariance" else "right")
    lowest = min(one["bits_per_dim"] for one in found.values())
    for name, one in found.items():
        total = f"{one['bits_per_dim']:.4f}"
        errors = [_shown(one[key]) for key in ("stderr", "difference", "difference_stderr")]
        parts = [f"{one[part]:.4f}" for part in ("prior", "transitions", "decoder")]
        best = one["bits_per_dim"] == lowest
        table.add_row(name, f"[bold green]{total}[/]" if best else total, *errors, *parts, f"{one['floor_share']:.0%}")
    return table


def _flow(document: Mapping[str, Any]) -> Table:
    """The likelihood of the probability flow, one row."""
    found, count = document["ode_nll"], document["images"]["count"]
    table = titled(f"bits/dim of {count} images by the probability flow, {document['grid']} {document['steps']} steps")
    for name in ("bits/dim", "+-", "error of the steps", "trace", "calls an image"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{found['bits_per_dim']:.4f}", _shown(found["stderr"]), f"{found['discretisation']:.4f}", found["trace"],
        str(found["network_calls_an_image"]),
    )  # fmt: skip
    return table


def _distances(document: Mapping[str, Any]) -> Table:
    """Every distance, a row a covariance."""
    found = document["distances"]
    reference = f"{found['reference']['count']} images of {found['reference']['source']}"
    steps = f"{document['grid']} {document['steps']} steps{view_note(document)}"
    by = document.get("summary", document["solver"])
    table = titled(f"samples by {by}, {steps}; reference: {reference}")
    table.add_column("covariance")
    names = ("fid", "kid", "precision", "recall")
    for name in names:
        table.add_column(name + found["label"], justify="right")
        if name == "fid":
            table.add_column("+-", justify="right")
    for name, one in found["covariances"].items():
        row = [one[names[0]], one["fid_stderr"], *(one[key] for key in names[1:])]
        table.add_row(name, *("-" if value is None else f"{value:.4g}" for value in row))
    return table


def _calibration(name: str, found: Mapping[str, Any]) -> Table:
    """E[error^2 / var_x0] over times and bands; 1 is right."""
    one = found["covariances"][name]
    table = titled(f"{name}: squared error over predicted variance, by frequency band; 1 is right")
    for title in ("t", "all", *found["bands"], "at floor"):
        table.add_column(title, justify="right")
    for m in _spread(len(found["times"])):
        values = [one["ratio"][m], *one["by_band"][m]]
        cells = ["-" if value is None else f"{value:.2f}" for value in values]
        table.add_row(str(found["times"][m]), *cells, f"{one['floor_share'][m]:.0%}")
    return table


def _exposure(found: Mapping[str, Any]) -> Table:
    """||eps_hat||^2 on the sampled path over that on the forward path; 1 is no bias."""
    table = titled("mean square of eps_hat: sampled path over forward path; 1 is no exposure bias")
    table.add_column("t", justify="right")
    for name in found["sampled"]:
        table.add_column(name, justify="right")
    for m in _spread(len(found["times"])):
        ratios = [norms[m] / found["forward"][m] for norms in found["sampled"].values()]
        table.add_row(str(found["times"][m]), *(f"{ratio:.4f}" for ratio in ratios))
    return table


def evaluation_lines(document: Mapping[str, Any]) -> list[str]:
    """What a script would want: one value a line, tab-separated."""
    out = [f"{name}\tbits/dim\t{found['bits_per_dim']:.6f}" for name, found in document.get("nll", {}).items()]
    if "ode_nll" in document:
        out.append(f"flow\tbits/dim\t{document['ode_nll']['bits_per_dim']:.6f}")
    sets = document.get("distances", {"covariances": {}})
    for name, found in sets["covariances"].items():
        for metric in ("fid", "kid", "precision", "recall"):
            if found[metric] is not None:
                out.append(f"{name}\t{metric}{sets['label']}\t{found[metric]:.6g}")
    for name, found in document.get("calibration", {"covariances": {}})["covariances"].items():
        if found["rms_log"] is not None:
            out.append(f"{name}\trms log calibration\t{found['rms_log']:.6f}")
    exposure = document.get("exposure", {"sampled": {}})
    for name, norms in exposure["sampled"].items():
        for t, sampled, forward in zip(exposure["times"], norms, exposure["forward"], strict=True):
            out.append(f"{name}\teps_hat mean-square ratio at {t}\t{sampled / forward:.6f}")
    return out


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _spread(count: int) -> list[int]:
    """At most :data:`SHOWN` of 0..count-1, both ends included."""
    if count <= SHOWN:
        return list(range(count))
    return [round(k * (count - 1) / (SHOWN - 1)) for k in range(SHOWN)]
