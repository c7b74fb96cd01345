"""Randomness that does not depend on how work is cut into batches, processes or restarts.

Every random number belongs to a *key*: a seed and the words that say what it is for. What image i of a sampling run
draws is decided by (seed, "sample", i) alone, image i of a search for a sampler by (seed, "tune", i), iteration n of a
training by (seed, n); so a batch size never changes an image, what a search chose is shown on other noise,
and a training that starts again at iteration n needs no stored generator state.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from diffcov.errors import UsageError
from diffcov.philox import WORD, normals, philox

__all__ = [
    "MEASURING",
    "NOISE",
    "WHITE_IN_PIXELS",
    "GivenNoise",
    "ImageNoise",
    "Noise",
    "generator",
    "key",
    "require_version",
]

NOISE = 3
"""Version of the noise that new samples are drawn with."""
WHITE_IN_PIXELS = 3
"""The first version whose numbers are white noise of pixels under every covariance; before, of its own coefficients.

The numbers of versions 2 and 3 are the same: what differs is which square root of a covariance they are multiplied by.
"""
MEASURING = 1
"""Version of the one that images are noised with to be measured: statistics and bounds keep their numbers."""
PAIR = 1 << 31
"""In the word of the draw's number: the image has two numbers."""
TOGETHER = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Counters up to which several draws are made together: enough to hide what each operation costs."""


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
        indices: one number (or two) an image; image i's stream is that of (seed, purpose, i).
        shape: (C, H, W) of one image.
        device: where the draws are needed, and the same on each.
        purpose: keeps streams of different uses apart.
        dtype: of the draws, which are the same numbers in any.
        version: of the generator, one of :data:`STREAMS`.
        draws: how many are going to be asked for: small ones are then made together.

    Raises:
        UsageError: an unknown version, or a number that it has no stream for.
    """

    seed: int
    indices: Sequence[int | tuple[int, ...]]
    shape: tuple[int, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    purpose: str = "sample"
    dtype: torch.dtype = torch.float32
    version: int = NOISE
    draws: int = 1

    def __post_init__(self) -> None:
        require_version(self.version)
        self._streams = STREAMS[self.version](self)

    def draw(self) -> Tensor:
        """(len(indices), *shape), N(0, 1), made in float32."""
        return self._streams.draw().to(self.device, self.dtype)


class _Generators:
    """A generator an image, on the CPU: the first version."""

    def __init__(self, noise: ImageNoise) -> None:
        self.shape = noise.shape
        numbers = [(i,) if isinstance(i, int) else i for i in noise.indices]
        self.generators = [generator(noise.seed, noise.purpose, *i) for i in numbers]

    def draw(self) -> Tensor:
        noise = torch.empty(len(self.generators), *self.shape, dtype=torch.float32)
        for image, stream in zip(noise, self.generators, strict=True):
            image.normal_(generator=stream)
        return noise


class _Counters:
    """Philox, made where it is needed: the second version, and the third.

    The key is that of (seed, purpose). The words of a counter are the place in the image, the number of the draw (its
    top bit tells images of two numbers), and the image's numbers.
    """

    def __init__(self, noise: ImageNoise) -> None:
        self.shape, self.size, self.device = noise.shape, math.prod(noise.shape), noise.device
        self.image, self.second, self.pair = _numbers(noise.indices, noise.device)
        whole = key(noise.seed, noise.purpose)
        self.key = whole & WORD, whole >> 32
        self.expected, self.number = noise.draws, 0
        self.made = torch.empty(0)
        self.next = 0

    def draw(self) -> Tensor:
        if self.next == len(self.made):
            self.made, self.next = self._make(), 0
        self.next += 1
        return self.made[self.next - 1]

    def _make(self) -> Tensor:
        """Some draws from the next one on, (D, B, *shape)."""
        places = -(-self.size // 4)
        together = TOGETHER[self.device.type] // max(1, places * len(self.image))
        draws = max(1, min(together, self.expected - self.number))
        numbers = torch.arange(self.number, self.number + draws, device=self.device)[:, None, None]
        self.number += draws
        place = torch.arange(places, device=self.device)
        made = normals(philox((place, numbers | self.pair, self.image, self.second), self.key)).flatten(2)
        return made[..., : self.size].contiguous().reshape(draws, len(self.image), *self.shape)


def _numbers(indices: Sequence[int | tuple[int, ...]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The first number of each image, the second (0 if there is none), and the bit that says so; (B, 1) or (1, 1)."""
    if isinstance(indices, range):
        _require_words(indices[:1], indices[-1:])
        first = torch.arange(indices.start, indices.stop, indices.step, device=device)
        none = torch.zeros(1, 1, dtype=torch.int64, device=device)
        return first[:, None], none, none
    numbers = [(i,) if isinstance(i, int) else i for i in indices]
    longest = max(map(len, numbers), default=1)
    if longest > 2:
        raise UsageError(f"the noise of an image goes by one number or by two, found {longest} of them")
    _require_words(*numbers)
    rows = torch.tensor([(i[0], i[1], PAIR) if len(i) == 2 else (i[0], 0, 0) for i in numbers], dtype=torch.int64)
    first, second, pair = rows.reshape(-1, 3).to(device).T[..., None]
    return first, second, pair


def _require_words(*numbers: Sequence[int]) -> None:
    for number in itertools.chain(*numbers):
        if not 0 <= number <= WORD:
            raise UsageError(f"the noise of an image goes by numbers between 0 and {WORD}, found {number}")


class _Streams(Protocol):
    def draw(self) -> Tensor: ...


STREAMS: dict[int, Callable[[ImageNoise], _Streams]] = {1: _Generators, 2: _Counters, 3: _Counters}
"""The generators of noise by version. A version never changes: whatever was drawn can be drawn again."""


def require_version(version: int) -> None:
    """Raise UsageError for a version of the noise that there is not."""
    if version not in STREAMS:
        *earlier, last = STREAMS
        raise UsageError(f"--noise must be {', '.join(map(str, earlier))} or {last}, found {version}")


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
