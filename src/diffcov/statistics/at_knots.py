"""What all statistics at knots share: where and of what they were measured, how they are kept, and how they merge."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from diffcov.basis import Separable, cosine
from diffcov.errors import InputError
from diffcov.statistics.knots import Knots

__all__ = ["AtKnots"]


class AtKnots:
    """Sums over images of cosine coefficients at knots; a dataclass of tensors fills in which sums.

    Attributes:
        knots: int64 (M,), the measured times.
        count: float64 (M,), images measured at each.
        colour: float64 (C, C), the rotation of the channels.
        size: int64 (2,), H and W of the images.
    """

    what: ClassVar[str]
    """Several of it, in messages."""
    remedy: ClassVar[str]
    """The command that measures it anew."""
    place: ClassVar[tuple[str, ...]] = ("knots", "colour", "size")
    """Fields that must agree; all others are sums."""

    knots: Tensor
    count: Tensor
    colour: Tensor
    size: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.colour.shape[0], int(self.size[0]), int(self.size[1])

    @cached_property
    def basis(self) -> Separable:
        """The cosine transform with the colour rotation under which it was measured."""
        return cosine(*self.shape, self.colour)

    @cached_property
    def _knots(self) -> Knots:
        return Knots(tuple(int(t) for t in self.knots))

    def merge(self, other: Self) -> Self:
        """Of both sets of images together.

        Raises:
            InputError: other knots, sizes or colours.
        """
        mine, theirs = self.tensors(), other.tensors()
        if any(mine[name].shape != theirs[name].shape for name in mine) or not all(
            torch.equal(mine[name], theirs[name]) for name in self.place
        ):
            raise InputError(
                f"{self.what} of other knots, image sizes or colour axes cannot be merged; "
                f"measure one of them anew with: {self.remedy}"
            )
        return type(self)(
            **{name: value if name in self.place else value + theirs[name] for name, value in mine.items()}
        )

    def tensors(self) -> dict[str, Tensor]:
        """The statistics by name, in the order of the constructor."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.init}  # type: ignore[arg-type]
