"""What covariances are made of: statistics that were measured and heads that were fitted, for one mean model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, cast
from uuid import uuid4

from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.digest import digest_of_tensors
from diffcov.errors import InputError
from diffcov.nets.features import Features
from diffcov.statistics.base import Statistic

__all__ = ["FittedHead", "HeadFunction", "Ingredient", "Ingredients"]

HeadFunction = Callable[[Features, Tensor], Tensor]
"""(features, t (B,) int64) -> broadcastable to (B, C, H, W): the head's estimate of E[head_target | x_t]."""


class Ingredient(Protocol):
    """A kind of thing that a covariance may need: every statistic is one, and so is a fitted head."""

    title: ClassVar[str]
    """What it is, with its article."""

    @classmethod
    def file_for(cls, covariance: str) -> str:
        """The name of the file in a run that holds what this covariance needs of it."""

    @classmethod
    def command_for(cls, covariance: str) -> str:
        """The command that makes it."""

    @property
    def digest(self) -> str:
        """sha256 (hex) of its tensors."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head that was fitted for one covariance.

    Attributes:
        function: the head.
        over: digests of the files that its output is relative to, by file name.
    """

    title: ClassVar[str] = "a fitted head"

    function: HeadFunction
    over: Mapping[str, str] = field(default_factory=dict)
    _name: str = field(default_factory=lambda: uuid4().hex, init=False, repr=False)

    @classmethod
    def file_for(cls, covariance: str) -> str:
        """Each covariance has a head of its own."""
        return f"head-{covariance}.safetensors"

    @classmethod
    def command_for(cls, covariance: str) -> str:
        """The command that fits it."""
        return f"diffcov fit-var-head --kind {covariance}"

    @property
    def digest(self) -> str:
        """sha256 (hex) of the weights, which is that of the file; of a function without any, a name of its own."""
        return digest_of_tensors(self.function.state_dict()) if isinstance(self.function, nn.Module) else self._name


P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What one covariance is built from.

    Attributes:
        schedule: of the mean.
        data: of the mean.
        parts: by their class.
    """

    schedule: NoiseSchedule
    data: DataDescription
    parts: Mapping[type, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, schedule: NoiseSchedule, data: DataDescription, *parts: Any) -> Ingredients:
        """The ingredients that these parts make."""
        return cls(schedule, data, {type(part): part for part in parts})

    def __contains__(self, kind: type) -> bool:
        return kind in self.parts

    def __getitem__(self, kind: type[P]) -> P:
        """The part of this class; a KeyError if there is none."""
        return cast("P", self.parts[kind])

    def only(self, kinds: Collection[type]) -> Ingredients:
        """The parts of some classes."""
        return Ingredients(self.schedule, self.data, {kind: self.parts[kind] for kind in kinds if kind in self.parts})

    def check_fit(self) -> None:
        """Refuse (InputError) a statistic of other times or images than the mean's."""
        for part in self.parts.values():
            if isinstance(part, Statistic):
                try:
                    part.check_fits(self.schedule, self.data)
                except ValueError as error:
                    raise InputError(
                        f"{part.title} does not fit the mean: it holds {error}; measure its own with: {part.remedy}"
                    ) from error

    def require(self, kinds: Collection[type[Ingredient]], covariance: str, what: str) -> None:
        """Check that every class has its part.

        Args:
            kinds: the classes.
            covariance: the name of the covariance that they are for.
            what: what needs them, as the message begins: "the npr covariance needs".

        Raises:
            InputError: something is missing; the message names the command that makes it, or why none does.
        """
        for kind in kinds:
            if kind not in self.parts:
                if issubclass(kind, Statistic):
                    kind.check(self.data)
                raise InputError(f"{what} {kind.title} and none was found; run: {kind.command_for(covariance)}")
