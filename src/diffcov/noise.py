"""Randomness that does not depend on how work is cut into batches, processes or restarts.

Every random number belongs to a *key*: a seed and the words that say what it is for. Image i of a sampling run
draws from the key (seed, "sample", i) alone, image i of a search for a sampler from (seed, "tune", i), iteration n of
a training from (seed, n) alone; so a batch size never changes an image, what a search chose is shown on other noise,
and a training that starts again at iteration n needs no stored generator state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from diffcov.errors import UsageError

__all__ = ["GivenNoise", "ImageNoise", "Noise", "generator", "key"]


def key(seed: int, *words: str | int) -> int:
    """A 63-bit number that depends on the seed and on every word, and on nothing else."""
    text = "\0".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """A fresh CPU generator at :func:`key`."""
    return torch.Generator().manual_seed(key(seed, *words))


class Noise(Protocol):
    """A source of standard normal draws for one batch of images."""

    def draw(self) -> Tensor:
        """(B, C, H, W), N(0, 1)."""


@dataclass
class ImageNoise:
    """Standard normal draws, one independent stream an image; each :meth:`draw` advances every stream.

    Args:
        seed: the run's seed.
        indices: one number (or several) an image; image i's stream is that of (seed, purpose, i).
        shape: (C, H, W) of one image.
        device: where the draws are needed; they are always made on the CPU, so every device sees the same.
        purpose: keeps streams of different uses apart.
        dtype: of the draws, which are the same numbers in any.
    """

    seed: int
    indices: Sequence[int | tuple[int, ...]]
    shape: tuple[int, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    purpose: str = "sample"
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        numbers = [(i,) if isinstance(i, int) else i for i in self.indices]
        self._streams = [generator(self.seed, self.purpose, *i) for i in numbers]

    def draw(self) -> Tensor:
        """(len(indices), *shape), N(0, 1), made in float32."""
        noise = torch.empty(len(self._streams), *self.shape, dtype=torch.float32)
        for image, stream in zip(noise, self._streams, strict=True):
            image.normal_(generator=stream)
        return noise.to(self.device, self.dtype)


class GivenNoise:
    """Draws that were made elsewhere, handed out in their order: for parity with other code.

    Args:
        draws: (B, C, H, W) each, of any dtype: for a sampling of K steps the start noise, then that of each step but
            the last.
    """

    def __init__(self, draws: Iterable[Tensor]) -> None:
        self._draws = iter(draws)

    def draw(self) -> Tensor:
        """The next one.

        Raises:
            UsageError: there is none left.
        """
        found = next(self._draws, None)
        if found is None:
            raise UsageError("the given noise is used up: a sampling of K steps draws K times, start noise first")
        return found
