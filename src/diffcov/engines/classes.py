"""Which class each sample is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.digest import digest_of_tensors
from diffcov.errors import UsageError
from diffcov.noise import generator

__all__ = ["Classes"]


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of image i is that at place i, modulo their number: it depends on nothing else.

    Args:
        labels: (n,) int64, n >= 1.
        name: what they are, for labels of files: "3", "0-1-2", "all" or "data".
    """

    labels: Tensor
    name: str

    @classmethod
    def chosen(cls, numbers: Sequence[int], known: int) -> Self:
        """Some classes in turn.

        Args:
            numbers: in 0..known-1, each once.
            known: number of classes of the mean.

        Raises:
            UsageError: none, one that the mean does not know, or one twice.
        """
        for number in numbers:
            if not 0 <= number < known:
                raise UsageError(f"the mean knows the classes 0..{known - 1}, and class {number} was asked for")
        if not numbers or len(set(numbers)) < len(numbers):
            raise UsageError(f"classes are named once each, found {list(numbers)}")
        return cls(torch.tensor(list(numbers)), "-".join(map(str, numbers)))

    @classmethod
    def all(cls, known: int) -> Self:
        """Every class in turn."""
        return cls(torch.arange(known), "all")

    @classmethod
    def like(cls, labels: Tensor) -> Self:
        """The classes of some images in a fixed random order: as frequent among samples as among these."""
        order = torch.randperm(len(labels), generator=generator(0, "classes"))
        return cls(labels.cpu()[order], "data")

    def of(self, indices: Sequence[int]) -> Tensor:
        """(len(indices),) int64, on the CPU."""
        return self.labels[torch.tensor(list(indices), dtype=torch.int64) % len(self.labels)]

    def as_dict(self) -> dict[str, Any]:
        """What decides the classes, as plain values: the classes themselves where they are few."""
        if self.name != "data":
            return {"name": self.name, "classes": self.labels.tolist()}
        return {"name": self.name, "digest": digest_of_tensors({"labels": self.labels})}
