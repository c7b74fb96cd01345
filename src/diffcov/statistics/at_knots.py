"""What all statistics at knots share: where and of what they were measured, and how values between knots are had."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Self

import torch
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
        alpha_bar: float64 (M,), of the knots, where there are few images at each and values at knots are those of
            curves through all of them, see ``noise_curve``. None: each knot speaks for itself alone.
    """

    placement = Placement.AT_KNOTS
    clips = True
    smooths = True
    place = ("knots", "colour", "size", "alpha_bar")
    overall: ClassVar[tuple[str, ...]] = ()
    """Sums over all knots together."""

    knots: Tensor
    count: Tensor
    colour: Tensor
    size: Tensor
    alpha_bar: Tensor | None

    @abstractmethod
    def add(self, knot: int, values: Tensor, *controls: Tensor) -> None:
        """Take what a meter made of (B, C, H, W) images at knot number ``knot`` into account, in place."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.colour.shape[0], int(self.size[0]), int(self.size[1])

    @property
    def times(self) -> Sequence[int]:
        """The knots."""
        return self._knots.times

    def counts(self) -> dict[int, int]:
        return {int(t): int(n) for t, n in zip(self.knots, self.count, strict=True)}

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
    def empty(cls, knots: Knots, shape: tuple[int, int, int], colour: Tensor, alpha_bar: Tensor | None = None) -> Self:
        """The sums of no image, for images of ``shape`` (C, H, W)."""

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`. TypeError for other names, ValueError for sizes that do not fit."""
        found = cls(**tensors)
        cls.check_place(tensors)
        expected = cls.empty(found._knots, found.shape, found.colour, found.alpha_bar).tensors()
        if expected.keys() != tensors.keys():
            raise ValueError(f"sums {sorted(tensors)} instead of {sorted(expected)}")
        for name, tensor in expected.items():
            if tensor.shape != tensors[name].shape:
                raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}")
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
        if "alpha_bar" in tensors and tensors["alpha_bar"].shape != knots.shape:
            raise ValueError(f"alpha_bar of shape {tuple(tensors['alpha_bar'].shape)} for {len(knots)} knots")

    def merge(self, other: Self) -> Self:
        """The statistic of both sets of images together; curves have the knots of both."""
        if self.alpha_bar is None or other.alpha_bar is None:
            return super().merge(other)
        knots = torch.tensor(sorted({*self.times, *other.times}))
        alpha_bar = torch.zeros(len(knots), dtype=torch.float64)
        for own, told in ((self.knots, self.alpha_bar), (other.knots, other.alpha_bar)):
            alpha_bar[torch.searchsorted(knots, own)] = told
        return super(AtKnots, self._on(knots, alpha_bar)).merge(other._on(knots, alpha_bar))

    def _on(self, knots: Tensor, alpha_bar: Tensor) -> Self:
        """The same with more knots, of no image."""
        where = torch.searchsorted(knots, self.knots)
        told = self.tensors() | {"knots": knots, "alpha_bar": alpha_bar}
        for name in told.keys() - {*self.place, *self.overall}:
            told[name] = told[name].new_zeros(len(knots), *told[name].shape[1:]).index_copy_(0, where, told[name])
        return type(self)(**told)

    def check_fits(self, schedule: NoiseSchedule, data: DataDescription) -> None:
        if not (int(self.knots[0]) >= 1 and int(self.knots[-1]) <= schedule.T and bool((self.knots.diff() > 0).all())):
            raise ValueError(f"knots {self.knots.tolist()}, which are no times of its schedule (T={schedule.T})")
        if self.shape != data.shape:
            raise ValueError(f"coefficients of images of {self.shape}, and the mean's are {data.shape}")
        if self.alpha_bar is not None and not torch.allclose(
            self.alpha_bar, schedule.alpha_bar[self.knots], rtol=1e-9, atol=0
        ):
            raise ValueError("curves over the log-SNR of another schedule")

    def _unlike(self, other: Self) -> str:
        return "of other knots, image sizes or colour axes"
