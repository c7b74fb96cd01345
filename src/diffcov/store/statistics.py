"""Statistics on disk, each in a file of its own, bound to the mean model they were measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.base import Statistic
from diffcov.store import artifact
from diffcov.store.binding import Trunk

__all__ = ["StatisticFile", "load_statistic", "save_statistic"]

S = TypeVar("S", bound=Statistic)


@dataclass(frozen=True)
class StatisticFile(Generic[S]):
    """A statistic and where it came from.

    Attributes:
        statistic: what was measured.
        schedule: the schedule it was measured under.
        trunk: digest of the mean model it was measured on.
        data: the images' description.
        config: seed, samples, view and data source of the measurement.
        digest: of the file's tensors.
    """

    statistic: S
    schedule: NoiseSchedule
    trunk: str
    data: DataDescription
    config: dict[str, Any]
    digest: str

    @property
    def guidance(self) -> float:
        """W of the guided mean that it was measured through."""
        return float(self.config.get("view", {}).get("guidance", 1.0))


def save_statistic(path: Path, statistic: Statistic, reading: Reading, trunk: str, config: dict[str, Any]) -> str:
    """Write a statistic of a mean model; returns its digest. OutputError if the file system refuses."""
    told = {"schedule": reading.schedule.spec, "data": reading.data.as_dict(), "trunk": trunk, "config": config}
    return artifact.write(path, statistic.kind, statistic.tensors(), told)


def load_statistic(path: Path, kind: type[S], trunk: Trunk | None = None) -> StatisticFile[S]:
    """Read a statistic.

    Args:
        path: the file.
        kind: which one it must be.
        trunk: the mean model it will be used with; None reads it without a check.

    Raises:
        InputError: missing, damaged, of another kind, not of its own schedule, or made for another mean (both digests
            are named).
    """
    found = artifact.read(path, kind.kind)
    with artifact.understanding(path):
        made_for, config = found.metadata["trunk"], found.metadata["config"]
        schedule = NoiseSchedule.from_spec(found.metadata["schedule"])
        data = DataDescription.from_dict(found.metadata["data"])
        statistic = kind.from_tensors(found.tensors)
    try:
        statistic.check_fits(schedule, data)
    except ValueError as error:
        raise InputError(f"{path} holds {error}; make it again with: {kind.remedy}") from error
    if trunk is not None:
        trunk.check(path, kind.title.partition(" ")[2], made_for, kind.remedy, found.metadata)
    return StatisticFile(statistic, schedule, made_for, data, config, found.digest)
