"""Batches of images that stay on disk, read while the network works on the ones before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from diffcov.data import Examples, ExampleSet

__all__ = ["Ahead"]

DEPTH = 2
"""Batches that are read or waiting at any time."""


class Ahead:
    """The examples of iteration n, and those of the next few under way: the same as without it, sooner.

    Args:
        examples: on disk.
        positions: iteration -> int64 positions of its examples; called by whoever calls :meth:`at` alone.
    """

    def __init__(self, examples: ExampleSet, positions: Callable[[int], Tensor]) -> None:
        self.examples, self.positions = examples, positions
        self._reader = ThreadPoolExecutor(1, "reads images ahead")
        self._under_way: dict[int, Future[Examples]] = {}

    def at(self, iteration: int) -> Examples:
        """The examples of an iteration (0-based).

        Raises:
            InputError: an image cannot be read.
        """
        wanted = range(iteration, iteration + 1 + DEPTH)
        for stale in self._under_way.keys() - set(wanted):
            self._under_way.pop(stale).cancel()
        for one in wanted:
            if one not in self._under_way:
                self._under_way[one] = self._reader.submit(self.examples.__getitem__, self.positions(one))
        return self._under_way.pop(iteration).result()
