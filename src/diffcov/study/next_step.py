"""What to type next, once something has been looked at."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcov.statistics.registry import load_all, of_kind
from diffcov.statistics.table import VarianceTable
from diffcov.store.run import RunFolder
from diffcov.study.requests.shared import DEFAULT_RUN, guided

__all__ = ["made_again", "measured_first", "next_step"]

STEPS = 10
"""Of the samples that are proposed: few enough that the covariance shows."""


def next_step(report: Mapping[str, Any], module: str | None = None) -> str:
    """The command that goes on from what a report of :mod:`diffcov.study.describe` says.

    Args:
        report: its path, its parts and, of a run, its problems, sets of samples and comparison.
        module: the function that builds the mean's network, where it is a program.
    """
    command = _command(report)
    if module is None or command.startswith("diffcov train-mean"):
        return command
    return f"{command} --module {shlex.quote(module)}"


def _command(report: Mapping[str, Any]) -> str:
    path, parts = Path(report["path"]), report["parts"]
    if "sample_sets" in report:
        return f"diffcov {_of_run(report, path)}"
    kind = parts[0]["kind"]
    if kind == "images":
        return f"diffcov train-mean --data {_quoted(report['path'])}"
    if kind in ("samples", "sheet"):
        return f"diffcov inspect --verify {_quoted(path)}"
    around = RunFolder.around(path)
    if around is None:
        return f"diffcov inspect --verify {_quoted(path)}"
    run = _named(around.path)
    if kind == "recipe":
        return f"diffcov sample{run} --recipe {_quoted(path)} --steps {parts[0]['steps']}"
    if kind == "state":
        return f"diffcov train-mean{run} --resume" if path.stem == "mean" else f"diffcov {_fit_again(parts[0], run)}"
    if kind == "mean":
        return f"diffcov inspect{run}"
    if kind == VarianceTable.kind or of_kind(kind) is not None:
        return f"diffcov fit-var-head{run}"
    return f"diffcov sample{run} --steps {STEPS}"


def _of_run(report: Mapping[str, Any], path: Path) -> str:
    run, kinds = _named(path), [part["kind"] for part in report["parts"]]
    states = {Path(part["path"]).stem: part for part in report["parts"] if part["kind"] == "state"}
    if report["problems"]:
        return next(iter(report["again"]), f"inspect --verify {_quoted(path)}")
    if "mean" not in kinds or not states.get("mean", {"finished": True})["finished"]:
        return f"train-mean{run} --resume"
    if VarianceTable.kind not in kinds:
        return f"estimate-var{run}"
    for state in states.values():
        if not state["finished"]:
            return _fit_again(state, run)
    if "head" not in kinds:
        return f"fit-var-head{run}"
    return f"sample{run} --steps {STEPS}" if report["comparison"] else f"compare{run}"


def made_again(part: Mapping[str, Any], run: Path) -> str | None:
    """The command that makes a part of a run again, of what the run holds now; None of a part that no command makes."""
    where = _named(run)
    if part["kind"] == "head":
        guidance = guided((part.get("settings") or {}).get("guidance", 1.0))
        return f"fit-var-head{where} --kind {part['covariance']}{guidance} --force"
    if part["kind"] == "recipe":
        return f"tune{where} --steps {part['steps']}{guided(part['guidance'])} --force"
    return None


def measured_first(file: str, run: Path) -> str | None:
    """The command that measures a statistic that a run lacks, by its file's name; None of any other file."""
    kind = next((one for one in load_all() if one.file == file), None)
    return None if kind is None else kind.command_for("").removeprefix("diffcov ") + _named(run)


def _fit_again(state: Mapping[str, Any], run: str) -> str:
    """The command that goes on with a fit; another fit of the run may be unfinished too."""
    return f"fit-var-head{run} --resume --kind {','.join(state['settings']['kind'])}"


def _named(run: Path) -> str:
    return "" if run == DEFAULT_RUN else f" --run {_quoted(run)}"


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
