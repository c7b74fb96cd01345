"""What sweeps of one command have measured, kept until all of it stands in the run.

Statistics of one sweep hold the same images and stand in files of their own. Before the first of these is written all
of them are kept together, so that a command that is killed between two files writes the others when it is typed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffcov.digest import digest_of_tensors
from diffcov.errors import InputError
from diffcov.statistics.base import Statistic
from diffcov.statistics.registry import load_all
from diffcov.store.artifact import read_header
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import Part
from diffcov.store.run import RunFolder
from diffcov.store.statistics import save_statistic
from diffcov.study.listener import Listener
from diffcov.study.wishes import Keeper

__all__ = ["KeptSweep", "Result", "packed", "unpacked"]


@dataclass(frozen=True)
class Result:
    """One statistic that a sweep has measured, as it will stand in the run.

    Attributes:
        statistic: all images together.
        config: what it was measured with.
    """

    statistic: Statistic
    config: dict[str, Any]


def packed(found: Mapping[type[Statistic], Statistic]) -> dict[str, Tensor]:
    """All tensors of some statistics, by "statistic/tensor"."""
    return {f"{kind.name}/{name}": one for kind, some in found.items() for name, one in some.tensors().items()}


def unpacked(tensors: Mapping[str, Tensor], kinds: Sequence[type[Statistic]]) -> dict[type[Statistic], Any]:
    """The inverse of :func:`packed`, for the statistics of ``kinds`` that are there."""
    out: dict[type[Statistic], Any] = {}
    for kind in kinds:
        own = {
            name.removeprefix(f"{kind.name}/"): one for name, one in tensors.items() if name.startswith(f"{kind.name}/")
        }
        if own:
            out[kind] = kind.from_tensors(own)
    return out


@dataclass(frozen=True)
class KeptSweep:
    """A place for what one command measures of one mean.

    Attributes:
        keeper: of this command alone.
        run: where the statistics will stand.
        mean: whose they are.
    """

    keeper: Keeper
    run: RunFolder
    mean: MeanCheckpoint

    def write(self, name: str, results: Sequence[Result]) -> dict[type[Statistic], str]:
        """Write the statistics of a sweep into the run, each whole; returns their digests.

        Args:
            name: of the sweep, among those of the command.
            results: one a statistic.

        Raises:
            OutputError: the file system refuses; a second try writes what is missing.
        """
        found = {type(one.statistic): one for one in results}
        values = {
            "before": {kind.name: self._digest(kind) for kind in found},
            "configs": {kind.name: one.config for kind, one in found.items()},
        }
        tensors = packed({kind: one.statistic for kind, one in found.items()})
        self.keeper.save_part(f"whole-{name}", {}, Part(tensors, values))
        return {kind: self._save(kind, one) for kind, one in found.items()}

    def written(self, say: Listener) -> dict[type[Statistic], tuple[Result, str]]:
        """What earlier tries of the command have measured, and its digests; all of it is written now.

        Nothing of a sweep counts once one of its files was replaced by something else.
        """
        out: dict[type[Statistic], tuple[Result, str]] = {}
        kinds = load_all()
        for name in ("together", *dict.fromkeys(kind.placement.name for kind in kinds)):
            part = self.keeper.part(f"whole-{name}", {})
            if part is None:
                continue
            found = unpacked(part.tensors, kinds)
            configs, before = part.values["configs"], part.values["before"]
            results = {kind: Result(one, configs[kind.name]) for kind, one in found.items()}
            now = {kind: digest_of_tensors(one.statistic.tensors()) for kind, one in results.items()}
            if any(self._digest(kind) not in (before[kind.name], now[kind]) for kind in results):
                continue
            for kind, one in results.items():  # also what was written: beside it a temporary file may be left
                out[kind] = one, self._save(kind, one)
        if out:
            say.note(f"going on: {', '.join(self.run.ingredient(kind).name for kind in out)} is measured")
        return out

    def _save(self, kind: type[Statistic], one: Result) -> str:
        reading = self.mean.spec.reading
        return save_statistic(self.run.ingredient(kind), one.statistic, reading, self.mean.digest, one.config)

    def _digest(self, kind: type[Statistic]) -> str | None:
        """The digest of what stands in the run; None if nothing does, or something that cannot be read."""
        try:
            return str(read_header(self.run.ingredient(kind), kind.kind)["digest"])
        except InputError:
            return None
