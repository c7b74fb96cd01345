"""What every statistic states about itself: what it is called, where it is kept, how it is measured and how it merges.

A statistic is a set of sums over images, so that those of different images merge by adding. To add one: write
``statistics/yours.py`` with one subclass of :class:`Statistic`, and its line in ``statistics/registry.py``;
``estimate-var``, runs, ``inspect`` and covariances that name it among their needs then know it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.digest import digest_of_tensors
from diffcov.errors import InputError
from diffcov.statistics.control import LinearDenoiser
from diffcov.statistics.moments import Moments

__all__ = ["Meter", "Placement", "Setting", "Statistic", "Wanted"]


class Placement(Enum):
    """Which times a statistic is measured at. Those of one placement are measured in one sweep, on the same noise.

    The value is the purpose that keeps the sweep's noise apart from other noise of the same seed.
    """

    EVERY_TIME = "estimate"
    """All trained times, or those that were asked for; a few images each, where each time is measured for itself."""
    AT_KNOTS = "residuals"
    """A few dozen times that are even in log-SNR; many images each, where each time is measured for itself."""


@dataclass(frozen=True)
class Setting:
    """What a measurement begins with.

    Attributes:
        schedule: of the mean.
        data: of the mean.
        times: where it is measured, strictly increasing in 1..T.
        colour: (C, C) float64, the rotation of the channels into which statistics of colours rotate first.
        linear: given where the times are few, of few images each, and what is said of any time comes from curves
            through all of them: what goes up and down with the network's error there. Only statistics that
            :attr:`Statistic.smooths` are begun with it.
    """

    schedule: NoiseSchedule
    data: DataDescription
    times: tuple[int, ...]
    colour: Tensor
    linear: LinearDenoiser | None = None

    @property
    def alpha_bar(self) -> Tensor | None:
        """That of the times, where curves are laid through them; else None."""
        return None if self.linear is None else self.schedule.alpha_bar[list(self.times)]


@dataclass(frozen=True)
class Wanted:
    """What decides where a sweep measures more, see :attr:`Setting.linear`.

    Attributes:
        what: the quantity, for people.
        times: where it was measured, (M,) of them.
        moments: (M, n), n means of squares.
        tolerance: the relative standard error that is wanted of each, where that of the table is 1.
    """

    what: str
    times: tuple[int, ...]
    moments: Moments
    tolerance: float


class Meter(Protocol):
    """Adds up what a sweep shows."""

    def add(self, noised: Noised) -> None:
        """Take one batch into account, of one time or of several."""

    def result(self) -> Any:
        """The statistic of all that was added."""


class Statistic(ABC):
    """Sums over images. Subclasses are dataclasses of tensors."""

    name: ClassVar[str]
    """Name in the registry and on the command line."""
    title: ClassVar[str]
    """What it is, with its article: "a variance table"."""
    several: ClassVar[str]
    """Several of it: "variance tables"."""
    kind: ClassVar[str]
    """The kind of its file, in the file's header."""
    file: ClassVar[str]
    """Its file's name in a run."""
    command: ClassVar[str] = "diffcov estimate-var"
    """The command that makes it in a run that has none."""
    remedy: ClassVar[str] = "diffcov estimate-var --force"
    """The command that makes it anew."""
    placement: ClassVar[Placement]
    """Where it is measured."""
    clips: ClassVar[bool]
    """Whether it is measured through the clipped mean; published statistics are not."""
    smooths: ClassVar[bool] = False
    """Whether it can be measured at few times for all of them, see :attr:`Setting.linear`; its files say so."""
    decides: ClassVar[bool] = False
    """Whether it can say where a sweep measures more, see :meth:`wanted`."""
    place: ClassVar[tuple[str, ...]] = ()
    """Fields that say where and of what it was measured and must agree; all others are sums."""

    @classmethod
    @abstractmethod
    def begin(cls, setting: Setting) -> Meter:
        """What measures it.

        Raises:
            InputError: images that it cannot be measured on.
        """

    @classmethod
    def unasked(cls, data: DataDescription) -> bool:
        """Whether it is measured of these images without being asked for."""
        return True

    @classmethod
    def check(cls, data: DataDescription) -> None:
        """Refuse (InputError) images that it cannot be measured on, before any work."""
        return

    @abstractmethod
    def check_fits(self, schedule: NoiseSchedule, data: DataDescription) -> None:
        """Refuse (ValueError, naming what does not fit) a mean of this schedule and these images as not its own."""

    def check_times(self, times: Iterable[int]) -> None:
        """Refuse (InputError) times at which it says nothing."""
        return

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What ``inspect`` says of it, as plain values."""

    def details(self) -> dict[str, Any]:
        """What a script would want to know of it beside :meth:`summary`, as plain values."""
        return {}

    def counts(self) -> dict[int, int]:
        """Images by the time at which they were measured, of a statistic that :attr:`smooths`."""
        return {}

    def wanted(self) -> Wanted | None:
        """What of it decides where a sweep measures more; None where nothing does, see :attr:`decides`."""
        return None

    def remarks(self) -> list[str]:
        """What people should know of it once it is measured: whole sentences without a full stop."""
        return []

    @property
    @abstractmethod
    def times(self) -> Sequence[int]:
        """The times at which it was measured."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name, in the order of the constructor; what is not known is left out."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.init}  # type: ignore[arg-type]
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`. TypeError for other names, ValueError for sizes that do not fit."""
        return cls(**tensors)

    def __repr__(self) -> str:
        """In one line: a notebook that ends on it shows no thousand numbers."""
        said = ", ".join(f"{key}={value}" for key, value in self.summary().items())
        return f"{type(self).__name__}({said})"

    @property
    def digest(self) -> str:
        """sha256 (hex) of the tensors, which is that of the file."""
        return digest_of_tensors(self.tensors())

    def merge(self, other: Self) -> Self:
        """The statistic of both sets of images together.

        Raises:
            InputError: one of other places.
        """
        mine, theirs = self.tensors(), other.tensors()
        if (
            mine.keys() != theirs.keys()
            or any(mine[name].shape != theirs[name].shape for name in mine)
            or not all(torch.equal(mine[name], theirs[name]) for name in self.place if name in mine)
        ):
            raise InputError(
                f"{self.several} {self._unlike(other)} cannot be merged; measure one of them anew with: {self.remedy}"
            )
        return type(self)(
            **{name: value if name in self.place else value + theirs[name] for name, value in mine.items()}
        )

    def _unlike(self, other: Self) -> str:
        """In which way two of them may differ so that they do not merge."""
        return "of other places"

    @classmethod
    def file_for(cls, covariance: str) -> str:
        """Its file's name in a run: the same for every covariance."""
        return cls.file

    @classmethod
    def command_for(cls, covariance: str) -> str:
        """The command that makes it: the same for every covariance."""
        return cls.command
