"""What all statistics at knots share: where and of what they were measured, and how values between knots are had."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

from torch import Tensor

from diffcov.basis import Separable, cosine
from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.base import Placement, Statistic
from diffcov.statistics.knots import Knots

__all__ = ["AtKnots"]


class AtKnots(Statistic):
    """Sums over images of cosine coefficients at knots; a dataclass of tensors fills in which sums.

    Attributes:
        knots: int64 (M,), the measured times.
        count: float64 (M,), images measured at each.
        colour: float64 (C, C), the rotation of the channels.
        size: int64 (2,), H and W of the images.
    """

    placement = Placement.AT_KNOTS
    clips = True
    place = ("knots", "colour", "size")

    knots: Tensor
    count: Tensor
    colour: Tensor
    size: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.colour.shape[0], int(self.size[0]), int(self.size[1])

    @property
    def times(self) -> Sequence[int]:
        """The knots."""
        return self._knots.times

    @cached_property
    def basis(self) -> Separable:
        """The cosine transform with the colour rotation under which it was measured."""
        return cosine(*self.shape, self.colour)

    def knot_weights(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, M) float64: how the logarithms at times (B,) are made of those at the knots."""
        return self._knots.weights(schedule, t)

    def knot_number(self, t: int) -> int:
        """Which of the knots a time is, from 0 on."""
        return self._numbers[t]

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {t: knot for knot, t in enumerate(self.times)}

    @cached_property
    def _knots(self) -> Knots:
        return Knots(tuple(int(t) for t in self.knots))

    @classmethod
    @abstractmethod
    def empty(cls, knots: Knots, shape: tuple[int, int, int], colour: Tensor) -> Self:
        """The sums of no image, for images of ``shape`` (C, H, W)."""

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`. TypeError for other names, ValueError for sizes that do not fit."""
        found = cls(**tensors)
        cls.check_place(tensors)
        for name, expected in cls.empty(found._knots, found.shape, found.colour).tensors().items():
            if expected.shape != tensors[name].shape:
                raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(expected.shape)}")
        return found

    @staticmethod
    def check_place(tensors: Mapping[str, Tensor]) -> None:
        """Refuse (ValueError) tensors that say no place: no knots, no size, or channels without a rotation."""
        knots, size, colour = (tensors[name] for name in ("knots", "size", "colour"))
        if knots.ndim != 1 or not len(knots) or size.shape != (2,) or colour.shape != (len(colour), len(colour)):
            raise ValueError(
                f"knots of shape {tuple(knots.shape)}, size of {tuple(size.shape)} and colour of {tuple(colour.shape)} "
                "say nothing of a place"
            )

    def check_fits(self, schedule: NoiseSchedule, data: DataDescription) -> None:
        if not (int(self.knots[0]) >= 1 and int(self.knots[-1]) <= schedule.T and bool((self.knots.diff() > 0).all())):
            raise ValueError(f"knots {self.knots.tolist()}, which are no times of its schedule (T={schedule.T})")
        if self.shape != data.shape:
            raise ValueError(f"coefficients of images of {self.shape}, and the mean's are {data.shape}")

    def _unlike(self, other: Self) -> str:
        return "of other knots, image sizes or colour axes"
