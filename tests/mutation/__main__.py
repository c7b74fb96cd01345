"""Would the tests notice? Small wrong versions of the ground floors and the covariances against the default tests.

    PYTHONPATH=tests python -m mutation --count 140             # about an hour on one core
    PYTHONPATH=tests python -m mutation --count 7 --seed 3      # another few

Every mutant meets the tests of its own file, then those of its floor, then those of the floors above, until one fails.
What stands at the end is named, and the exit code is 1 where fewer than ``--least`` of them were killed.

Own code, not mutmut or cosmic-ray: a sample by seed, tests in stages and one import of torch for all make an hour of
what takes them days here.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
import typer

from mutation.operators import Mutant, mutants

ROOT = Path(__file__).parents[2]
FLOORS = ("basis", "diffusion", "gaussian", "denoiser", "statistics", "covariance", "solver")
GROUND = ("noise", "data", "digest", "philox")
ABOVE = ("statistics", "solver", "diffusion", "covariance", "nets", "engines")
WHOLE = ("study", "store", "cli")
UNCHANGED = 1800
"""Seconds of the processor that tests may take with nothing changed."""
PASSED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@dataclass(frozen=True)
class Case:
    """A mutant and its place.

    Attributes:
        module: dotted name.
        path: of the file.
        mutant: the change.
    """

    module: str
    path: Path
    mutant: Mutant

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT / 'src' / 'diffcov')}:{self.mutant.line}: {self.mutant.what}"


class Wrong(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the mutant in the place of its module."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.case.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.case.path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.case.mutant.source, str(self.case.path), "exec"), module.__dict__)


def cases() -> Iterator[Case]:
    package = ROOT / "src" / "diffcov"
    files = [package / f"{name}.py" for name in GROUND]
    files += [path for floor in FLOORS for path in sorted((package / floor).glob("*.py")) if path.stem != "__init__"]
    for path in files:
        module = ".".join(("diffcov", *path.relative_to(package).with_suffix("").parts))
        for mutant in mutants(path.read_text(encoding="utf-8")):
            yield Case(module, path, mutant)


def stages(case: Case, whole: bool) -> list[tuple[str, ...]]:
    """Tests by nearness: of the file, of its floor, of the floors that stand on it, quick ones first."""
    tests, parts = ROOT / "tests", case.module.split(".")[1:]
    floor = parts[0] if len(parts) > 1 else ""
    own = tests / floor / f"test_{parts[-1]}.py"
    first = (str(own),) if own.is_file() else ()
    near = (
        (str(tests / floor),) if floor else tuple(str(tests / f"test_{name}.py") for name in GROUND if name != "digest")
    )
    above = tuple(str(tests / name) for name in ABOVE if name != floor)
    most = tuple(str(tests / name) for name in WHOLE) if whole else ()
    return [stage for stage in (first, near, above, most) if stage]


@cache
def limit_of(tests: tuple[str, ...]) -> int:
    """Seconds of the processor that these tests may take: some times what they take with nothing changed.

    A mutant that does not end in them was noticed. Ends here if they fail: then every mutant would look noticed.
    """
    code, seconds = outcome(None, tests, UNCHANGED)
    if code not in PASSED:
        sys.exit(f"{' '.join(tests)} fail with nothing changed; run them with pytest")
    return 20 + 3 * math.ceil(seconds)


def outcome(case: Case | None, tests: tuple[str, ...], limit: int) -> tuple[int, float]:
    """The exit code of the tests with a mutant, or with nothing changed, in a process of their own, and its seconds."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        if case is not None:
            sys.meta_path.insert(0, Wrong(case))
        quiet = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
        os._exit(int(pytest.main([*quiet, *tests])))
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def survives(case: Case, whole: bool) -> bool:
    """Whether no test fails."""
    return all(outcome(case, tests, limit_of(tests))[0] in PASSED for tests in stages(case, whole))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=14, help="of the choice")
    parser.add_argument("--least", type=float, default=0.9, help="share that must be killed")
    parser.add_argument("--whole", action="store_true", help="survivors meet the tests of store, study and cli too")
    parser.add_argument("--only", default="", help="files whose name contains this")
    asked = parser.parse_args()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    every = [case for case in cases() if asked.only in case.module]
    chosen = random.Random(asked.seed).sample(every, min(asked.count, len(every)))
    typer.echo(f"{len(chosen)} of {len(every)} mutants, seed {asked.seed}")
    left, started = [], time.monotonic()
    for number, case in enumerate(chosen, start=1):
        if survives(case, asked.whole):
            left.append(case)
            typer.echo(f"survived: {case}")
        if number % 20 == 0:
            typer.echo(f"{number - len(left)} of {number} killed after {time.monotonic() - started:.0f} s")
    killed = 1 - len(left) / len(chosen)
    typer.echo(f"{len(chosen) - len(left)} of {len(chosen)} killed, {100 * killed:.1f} %, seed {asked.seed}")
    return int(killed < asked.least)


if __name__ == "__main__":
    sys.exit(main())
