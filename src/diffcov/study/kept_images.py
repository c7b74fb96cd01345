"""Images of a sampler, drawn once: those that an earlier try has drawn are read, the others are drawn and kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.digest import digest_of_values
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.processes.base import current
from diffcov.store.parts import Part
from diffcov.store.unfinished import unfinished, unfinished_beside
from diffcov.study.keeping import Helpful, Interval
from diffcov.study.listener import Listener
from diffcov.study.requests.draw import SampleRequest
from diffcov.study.wishes import Keeper

__all__ = ["DRAWN", "Pieces", "drawing", "drawn_on", "told_apart"]

DRAWN = 6
"""Version of images and of what is measured of them. Raise it when a formula changes: old ones are not taken then."""


def told_apart(sampler: Sampler) -> dict[str, Any]:
    """Whatever decides an image of a sampler, as plain values: also the number of a fitted scale, and our version."""
    return {"sampler": sampler.as_dict(), "eps_scale": sampler.denoiser.view.eps_scale, "version": DRAWN}


@contextmanager
def drawing(sampler: Sampler, request: SampleRequest, folder: Path, say: Listener) -> Iterator[Iterator[Tensor]]:
    """The images of a request, batch after batch, while the block writes them to ``folder``.

    What is drawn is kept beside the folder until the block succeeds.

    Raises:
        OutputError: somebody else is drawing the same, or the file system refuses.
    """
    together = request.batch_size * current().size
    identity = {**told_apart(sampler), "first": request.first, "count": request.count, "together": together}
    kept, advice = unfinished_beside(folder, digest_of_values(identity)), "wait until it has ended"
    with (
        unfinished(kept, str(folder), "diffcov sample", f"{advice}, or choose another --out") as parts,
        say.progress("sample", request.count, "images") as bar,
    ):
        pieces = Pieces(Helpful(parts, say), "images", identity)
        batches = drawn_on(
            pieces, sampler, request.count,
            batch_size=request.batch_size, first=request.first, say=say, on_batch=bar.update,
        )  # fmt: skip
        with closing(batches):
            yield batches


class Pieces:
    """Images that are kept, in a row of pieces of whole batches each.

    Args:
        keeper: where.
        name: of the pieces, to which each adds its place.
        identity: of what is drawn, and of the batches in which it is.
        sums: what is added up over the looks of the images; each piece holds them as they stood after it.
    """

    def __init__(self, keeper: Keeper, name: str, identity: Mapping[str, Any], sums: Sequence[Tensor] = ()) -> None:
        self.keeper, self.name, self.identity, self.sums = keeper, name, identity, sums
        self.ends: list[int] = [0]

    @property
    def last(self) -> int:
        """How many images there are in all pieces."""
        return self.ends[-1]

    def find(self, count: int) -> int:
        """Look for pieces from the first image on without a gap, and go on from their sums.

        Returns:
            The number of their images, at most ``count``.
        """
        latest: Part | None = None
        while self.last < count and (piece := self._piece(self.last)) is not None:
            self.ends.append(self.last + len(piece.tensors["pixels"]))
            latest = piece
        if latest is not None:
            for k, sums in enumerate(self.sums):
                sums.copy_(latest.tensors[f"sums-{k}"])
        return self.last

    def read(self) -> Iterator[Tensor]:
        """The images that were found, piece by piece."""
        for start in self.ends[:-1]:
            piece = self._piece(start)
            assert piece is not None, "its owner alone removes it"
            yield piece.tensors["pixels"]

    def add(self, pixels: Tensor, sums: Sequence[Tensor]) -> None:
        """Keep a piece that follows."""
        tensors = {"pixels": pixels, **{f"sums-{k}": value for k, value in enumerate(sums)}}
        self.keeper.save_part(self._named(self.last), self.identity, Part(tensors, {}))
        self.ends.append(self.last + len(pixels))

    def are_there(self) -> bool:
        """Whether there are any, down to the latest: a file system may have refused it."""
        return self.last > 0 and self._piece(self.ends[-2]) is not None

    def drop(self) -> None:
        """Remove all pieces: what they were kept for is done."""
        for start in self.ends[:-1]:
            self.keeper.drop_part(self._named(start))
        self.ends = [0]

    def _named(self, start: int) -> str:
        return f"{self.name}-{start:09d}"

    def _piece(self, start: int) -> Part | None:
        return self.keeper.part(self._named(start), self.identity)


def drawn_on(
    pieces: Pieces,
    sampler: Sampler,
    count: int,
    *,
    batch_size: int,
    say: Listener,
    first: int = 0,
    on_batch: Callable[[int], None] = lambda done: None,
    on_look: Callable[[Look], None] = lambda look: None,
) -> Generator[Tensor, None, None]:
    """Images first..first+count-1, bit for bit as :func:`diffcov.engines.sampling.generate` gives them in one go.

    Whole batches are kept, so that the rest is drawn in the batches in which it would have been drawn.

    Args:
        pieces: those of an earlier try are read, others are added.
        sampler, count, batch_size, first, on_batch, on_look: as for ``generate``.
        say: told how many are there already, and how many are kept should it be stopped.

    Yields:
        (B, C, H, W) uint8 grey levels on the CPU; what is read comes to the first process alone.

    Raises:
        UsageError, NonFiniteError: as ``generate``.
    """
    ours, together = current(), batch_size * current().size
    done = have = ours.from_first(lambda: pieces.find(count))
    if have:
        say.note(f"going on: {have:,} of {count:,} images are there")
        on_batch(have)
    yield from pieces.read()
    if have == count:
        return
    new: list[Tensor] = []
    sums, interval = _copied(pieces.sums), Interval()
    rest = generate(
        sampler, count - have, batch_size=batch_size, first=first + have,
        on_batch=lambda drawn: on_batch(have + drawn), on_look=on_look,
    )  # fmt: skip
    try:
        for pixels in rest:
            done += len(pixels)
            new.append(pixels)
            sums = _copied(pieces.sums)
            if (done - have) % together == 0 and ours.agreed(interval.over()):
                pieces.add(torch.cat(new), sums)
                new = []
                interval.again()
            yield pixels
    except (KeyboardInterrupt, GeneratorExit):
        if new and ours.size == 1:
            pieces.add(torch.cat(new), sums)
        if pieces.are_there():
            say.note(f"{pieces.last:,} of {count:,} images are kept; the same command goes on with them")
        raise


def _copied(sums: Sequence[Tensor]) -> list[Tensor]:
    return [one.clone() for one in sums]
