"""One set of samples that several jobs fill: each keeps a part beside it, and whoever has the last one writes the set.

A part is a folder ``SET.parts/000000-000999``; it appears when it is complete, and what is kept of it until then is
beside it. What they are all parts of stands in ``SET.parts/set.json``. Jobs take turns to look and to say which part is
theirs, by locks beside the set; where a file system has none, a part that is being drawn is not seen.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.errors import OutputError
from diffcov.store.atomic import atomic_folder, led_to
from diffcov.store.ownership import Owner, owned, owner_of, remove_dead
from diffcov.store.sample_set import is_sample_set, load_manifest, refuse_existing_set, write_set_alone
from diffcov.store.set_contents import set_lacks
from diffcov.store.set_part import SetPart, numbers_of, part_name, span
from diffcov.store.set_record import RECORD, SetRecord
from diffcov.store.unfinished import unfinished_beside

__all__ = ["SetParts"]

TURN = 60.0
"""Seconds to wait for another job that looks what is there, which takes it an instant."""


@dataclass(frozen=True)
class SetParts:
    """The parts of one set.

    Args:
        out: the set's folder; behind a symbolic link, all is beside what it leads to.
        of: number of images of the whole set, numbered from 0 on.
        identity: what decides its images and how they are written, as plain values; formats by the name "formats".
    """

    out: Path
    of: int
    identity: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where the parts are. OutputError for the root of a disk, which has nothing beside it."""
        target = led_to(self.out)
        if not target.name:
            raise OutputError(f"{self.out} cannot become a set of samples; choose another --out")
        return target.with_name(f"{target.name}.parts")

    def alone(self) -> AbstractContextManager[bool]:
        """A block in which no other job looks what is there, or changes it; whether there are such locks."""
        return owned(self._beside("parts"), str(self.folder), "diffcov sample", "try again", wait=TURN)

    def there(self) -> list[SetPart]:
        """The parts that are complete, by their numbers."""
        found = [path for path in self.folder.glob("*-*") if path.is_dir()] if self.folder.is_dir() else []
        named = [(path, numbers) for path in found if (numbers := numbers_of(path.name)) is not None]
        return [SetPart(path, numbers) for path, numbers in sorted(named, key=lambda one: one[1].start)]

    def part(self, numbers: range) -> SetPart:
        """A part that is complete. OutputError if another job has thrown it away."""
        found = [part for part in self.there() if part.numbers == numbers]
        if not found:
            raise self._thrown_away()
        return found[0]

    def in_hand(self) -> dict[range, Owner]:
        """The parts that are being drawn, and by whom."""
        found = dict[range, Owner]()
        for lock in sorted(self.folder.glob(".*-*.lock")):
            numbers, owner = numbers_of(lock.name[1 : -len(".lock")]), owner_of(lock)
            if numbers is not None and owner is not None:
                found[numbers] = owner
        return found

    def place(self, numbers: range) -> Path:
        """Where a part will be."""
        return self.folder / part_name(numbers)

    def missing(self) -> list[range]:
        """The numbers of the images that no complete part holds."""
        gaps, reached = list[range](), 0
        for part in self.there():
            if part.numbers.start > reached:
                gaps.append(range(reached, part.numbers.start))
            reached = max(reached, part.numbers.stop)
        return [*gaps, range(reached, self.of)] if reached < self.of else gaps

    def is_whole(self) -> bool:
        """Whether the set itself is there with all its files, as this job would make it."""
        if not is_sample_set(self.out) or set_lacks(self.out):
            return False
        manifest = load_manifest(self.out)
        written = {"folder": self.out / "images", "npz": self.out / "samples.npz"}
        same = {**manifest.get("sampler", {})} == json.loads(json.dumps(self.identity["sampler"]))
        right = (manifest.get("first"), manifest.get("count")) == (0, self.of)
        return same and right and all(written[name].exists() for name in self.identity["formats"] if name in written)

    def claim(self, held: ExitStack, numbers: range, force: bool) -> Path | None:
        """Say that a part is going to be drawn by this process, until what is held is given back.

        Args:
            held: keeps the claim; the part is complete if it is left without an error.
            numbers: of the part's images.
            force: whether a set that is there, and parts of another one, may be replaced.

        Returns:
            The folder to :func:`set_part.fill_part`; None if the set or this part of it is there already.

        Raises:
            InputError: what is there is damaged.
            OutputError: the parts that are there are of another set, overlap, or are being drawn; something else is at
                ``out``.
        """
        refuse_existing_set(self.out, True)
        with self.alone():
            if self.is_whole():
                return None
            refuse_existing_set(self.out, force)
            self._agree(force)
            if any(part.numbers == numbers for part in self.there()):
                for kept in self._kept(part_name(numbers)):  # by a job that was killed when its part was complete
                    shutil.rmtree(kept, ignore_errors=True)
                remove_dead(self.folder / f".{part_name(numbers)}.lock")
                return None
            self._refuse_overlap(numbers)
            job = f"diffcov sample --first {numbers.start} --count {len(numbers)}"
            return held.enter_context(atomic_folder(self.place(numbers), job, replace=False))

    def merge(
        self,
        shape: tuple[int, ...],
        levels: int,
        manifest: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]],
        rows: int | None,
        labels_of: Callable[[Sequence[int]], Tensor | None],
        force: bool,
    ) -> None:
        """Write the set of its parts, which are all there, unless another job does; then remove them.

        Args:
            shape, levels: of the images.
            manifest: makes the set's of its parts' manifests.
            rows, labels_of: as for ``sample_set.write_sample_set``.
            force: whether a set that is there may be replaced.

        Raises:
            InputError: a part is damaged.
            OutputError: something is at ``out``, or the file system refuses, and the parts stay; or another job has
                thrown them away.
        """
        advice = "wait until it has ended"
        with owned(self._beside("merge"), str(self.out), "diffcov sample", advice, wait=math.inf):
            if not self.is_whole():
                if not self._record.is_kept() or self.missing():
                    raise self._thrown_away()
                parts = self.there()
                for part in parts:
                    part.check()
                said = manifest([part.manifest() for part in parts])
                pixels = (batch for part in parts for batch in part.batches(shape))
                formats = self.identity["formats"]
                write_set_alone(self.out, pixels, levels, formats, 0, said, rows, labels_of, replace=force)
            self.clear()

    def clear(self) -> None:
        """Remove the parts of this set, which is whole; those of another one stay. OutputError if that is refused."""
        if self.folder.is_dir() or self._removed.is_dir():
            with self.alone():
                self._remove(self._record.is_kept())
        remove_dead(self._beside("merge"))
        remove_dead(led_to(self.out).with_name(f".{led_to(self.out).name}.lock"))

    def forget(self) -> None:
        """Leave nothing where no part was finished, begun or kept; where there are no locks that is not known."""
        with suppress(OSError, OutputError), self.alone() as locked:
            self._remove(locked and [path.name for path in self.folder.iterdir()] == [RECORD])

    def _kept(self, name: str) -> list[Path]:
        """Folders with pieces of parts that were stopped."""
        return list(self.folder.glob(unfinished_beside(self.folder / name, "*").name))

    def _beside(self, what: str) -> Path:
        target = led_to(self.out)
        return target.with_name(f".{target.name}.{what}.lock")

    @property
    def _record(self) -> SetRecord:
        return SetRecord(self.folder, {"of": self.of, **self.identity})

    @property
    def _removed(self) -> Path:
        """Where parts are while they are removed: so they are gone at once, and a kill leaves no half of them."""
        return self.folder.with_name(f".{self.folder.name}.removed")

    def _agree(self, force: bool) -> None:
        """Record what the parts are of, or refuse (OutputError) what differs from it; InputError if that is damaged."""
        if self._record.is_kept():
            return
        earlier, there, in_hand = self._record.kept(), self.there(), self.in_hand()
        if there or in_hand or self._kept("*-*"):
            if earlier is None:
                raise self._record.damaged("there is none beside the parts")
            merging = owner_of(self._beside("merge"))
            owners = [*in_hand.values(), *([] if merging is None else [merging])]
            if not force or owners:
                difference = self._record.difference(earlier)
                raise OutputError(f"{self.folder} holds parts of another set: {difference}; {_advice(owners)}")
        self._remove(earlier is not None)
        self._record.write()

    def _remove(self, folder: bool) -> None:
        """Remove what an earlier removal left and, if asked, the folder. OutputError if the file system refuses."""
        try:
            shutil.rmtree(self._removed, ignore_errors=True)
            if folder:
                with suppress(FileNotFoundError):  # where there are no locks, another job may have done it
                    self.folder.rename(self._removed)
                    shutil.rmtree(self._removed)
        except OSError as error:
            raise OutputError(
                f"could not remove {self.folder}: {error.strerror}; nothing in it is needed, remove it by hand"
            ) from error

    def _refuse_overlap(self, numbers: range) -> None:
        taken = {**{part.numbers: "are there already" for part in self.there()}}
        taken |= {other: f"are being drawn by {owner}" for other, owner in self.in_hand().items() if other != numbers}
        for other, how in taken.items():
            if other.start < numbers.stop and numbers.start < other.stop:
                raise OutputError(
                    f"images {span(numbers)} of {self.out} overlap {span(other)}, which {how}; parts of one set share "
                    "no image, give another --first or --count"
                )

    def _thrown_away(self) -> OutputError:
        return OutputError(f"parts of {self.out} were thrown away while this job was at work; start it again")


def _advice(owners: Sequence[Owner]) -> str:
    if owners:
        return f"{owners[0]} is at work on it: give the options that it has, or another --out"
    return "give the options that they have, another --out, or --force to throw them away"
