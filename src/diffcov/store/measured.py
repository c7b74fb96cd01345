"""Statistics on disk, each in a file of its own, bound to the mean model they were measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.store import artifact
from diffcov.store.binding import check_trunk

__all__ = ["MeasuredFile", "MeasuredKind"]


class Statistics(Protocol):
    """What can be kept."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""


S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True)
class MeasuredFile(Generic[S]):
    """Statistics and where they came from.

    Attributes:
        statistics: what was measured.
        schedule: the schedule it was measured under.
        trunk: digest of the mean model it was measured on.
        data: the images' description.
        config: seed, samples and data source of the measurement.
        digest: of the file's tensors.
    """

    statistics: S
    schedule: NoiseSchedule
    trunk: str
    data: DataDescription
    config: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class MeasuredKind(Generic[S]):
    """One kind of statistics, and how it is read and written.

    Attributes:
        kind: the artefact's kind.
        what: its name in messages.
        remedy: the command that makes it anew.
        from_tensors: the inverse of ``tensors``; TypeError or ValueError where they do not fit.
    """

    kind: str
    what: str
    remedy: str
    from_tensors: Callable[[Mapping[str, Tensor]], S]

    def save(self, path: Path, statistics: S, spec: MeanSpec, trunk: str, config: dict[str, Any]) -> str:
        """Write statistics of a mean model; returns their digest. OutputError if the file system refuses."""
        metadata = {"schedule": spec.schedule.spec, "data": spec.data.as_dict(), "trunk": trunk, "config": config}
        return artifact.write(path, self.kind, statistics.tensors(), metadata)

    def load(self, path: Path, trunk: str | None = None) -> MeasuredFile[S]:
        """Read statistics.

        Args:
            path: the file.
            trunk: digest of the mean model they will be used with; None reads them without a check.

        Raises:
            InputError: missing, damaged, of another kind, or made for another trunk (both digests are named).
        """
        found = artifact.read(path, self.kind)
        with artifact.understanding(path):
            made_for, config = found.metadata["trunk"], found.metadata["config"]
            schedule = NoiseSchedule.from_spec(found.metadata["schedule"])
            data = DataDescription.from_dict(found.metadata["data"])
            statistics = self.from_tensors(found.tensors)
        if trunk is not None:
            check_trunk(path, self.what, made_for, trunk, self.remedy)
        return MeasuredFile(statistics, schedule, made_for, data, config, found.digest)
