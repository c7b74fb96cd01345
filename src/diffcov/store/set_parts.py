"""One set of samples that several jobs fill: each keeps a part beside it, and whoever has the last one writes the set.

A part is a folder ``SET.parts/000000-000999``; it appears when it is complete. What they are all parts of stands in
``SET.parts/set.json``. Jobs take turns to look and to say which part is theirs, by locks beside the set; where a file
system has none, a part that is being drawn is not seen.
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

from diffcov.errors import InputError, OutputError
from diffcov.store.atomic import atomic_folder, led_to, write_bytes
from diffcov.store.ownership import Owner, owned, owner_of
from diffcov.store.parts import leaves_of
from diffcov.store.sample_set import is_sample_set, load_manifest, refuse_existing_set, write_set_alone
from diffcov.store.set_part import SetPart, numbers_of, part_name, span

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
        """Where the parts are."""
        target = led_to(self.out)
        return target.with_name(f"{target.name}.parts")

    def there(self) -> list[SetPart]:
        """The parts that are complete, by their numbers."""
        found = [path for path in self.folder.glob("*-*") if path.is_dir()] if self.folder.is_dir() else []
        named = [(path, numbers) for path in found if (numbers := numbers_of(path.name)) is not None]
        return [SetPart(path, numbers) for path, numbers in sorted(named, key=lambda one: one[1].start)]

    def in_hand(self) -> dict[range, Owner]:
        """The parts that are being drawn, and by whom."""
        found = dict[range, Owner]()
        for lock in sorted(self.folder.glob(".*-*.lock")):
            numbers, owner = numbers_of(lock.name[1 : -len(".lock")]), owner_of(lock)
            if numbers is not None and owner is not None:
                found[numbers] = owner
        return found

    def missing(self) -> list[range]:
        """The numbers of the images that no complete part holds."""
        gaps, reached = list[range](), 0
        for part in self.there():
            if part.numbers.start > reached:
                gaps.append(range(reached, part.numbers.start))
            reached = max(reached, part.numbers.stop)
        return [*gaps, range(reached, self.of)] if reached < self.of else gaps

    def is_whole(self) -> bool:
        """Whether the set itself is there, as this job would make it."""
        if not is_sample_set(self.out):
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
        with self._alone():
            if self.is_whole():
                return None
            refuse_existing_set(self.out, force)
            self._agree(force)
            if any(part.numbers == numbers for part in self.there()):
                return None
            self._refuse_overlap(numbers)
            held.callback(self._forget)
            job = f"diffcov sample --first {numbers.start} --count {len(numbers)}"
            return held.enter_context(atomic_folder(self.folder / part_name(numbers), job, replace=False))

    def merge(
        self,
        shape: tuple[int, ...],
        levels: int,
        manifest: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]],
        rows: int | None,
        labels_of: Callable[[Sequence[int]], Tensor | None],
        force: bool,
    ) -> None:
        """Write the set of its parts, which are all there, and remove them; wait if another job does it.

        Args:
            shape, levels: of the images.
            manifest: makes the set's of its parts' manifests.
            rows, labels_of: as for ``sample_set.write_sample_set``.
            force: whether a set that is there may be replaced.

        Raises:
            InputError: a part is damaged.
            OutputError: something is at ``out``, or the file system refuses; the parts stay.
        """
        advice = "wait until it has ended"
        with owned(self._beside("merge"), str(self.out), "diffcov sample", advice, wait=math.inf):
            parts = self.there()
            if not parts and self.is_whole():
                return
            said = manifest([part.manifest() for part in parts])
            pixels = (batch for part in parts for batch in part.batches(shape))
            formats = self.identity["formats"]
            write_set_alone(self.out, pixels, levels, formats, 0, said, rows, labels_of, replace=force)
            with self._alone(), suppress(FileNotFoundError):
                shutil.rmtree(self.folder)

    def _alone(self) -> AbstractContextManager[bool]:
        """While no other job looks what is there."""
        return owned(self._beside("parts"), str(self.folder), "diffcov sample", "try again", wait=TURN)

    def _beside(self, what: str) -> Path:
        target = led_to(self.out)
        return target.with_name(f".{target.name}.{what}.lock")

    def _agree(self, force: bool) -> None:
        """Record what the parts are of, or refuse (OutputError) what differs from it; InputError if that is damaged."""
        path, now = self.folder / "set.json", json.loads(json.dumps({"of": self.of, **self.identity}))
        there, in_hand = self.there(), self.in_hand()
        if there or in_hand:
            try:
                earlier = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InputError(f"{path} is damaged ({error}); remove {self.folder} to begin anew") from error
            if earlier == now:
                return
            merging = owner_of(self._beside("merge"))
            owners = [*in_hand.values(), *([] if merging is None else [merging])]
            if not force or owners:
                raise OutputError(
                    f"{self.folder} holds parts of another set: {_difference(earlier, now)}; {_advice(owners)}"
                )
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
        write_bytes(path, (json.dumps(now, indent=2) + "\n").encode())

    def _refuse_overlap(self, numbers: range) -> None:
        taken = {**{part.numbers: "are there already" for part in self.there()}}
        taken |= {other: f"are being drawn by {owner}" for other, owner in self.in_hand().items() if other != numbers}
        for other, how in taken.items():
            if other.start < numbers.stop and numbers.start < other.stop:
                raise OutputError(
                    f"images {span(numbers)} of {self.out} overlap {span(other)}, which {how}; parts of one set share "
                    "no image, give another --first or --count"
                )

    def _forget(self) -> None:
        """Leave nothing where no part was finished and none is being drawn."""
        with suppress(OSError, OutputError), self._alone():
            if self.folder.is_dir() and not self.there() and not self.in_hand():
                shutil.rmtree(self.folder)


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first thing in which two sets differ, and how."""
    before, after = leaves_of(earlier), leaves_of(now)
    key = next(key for key in [*after, *before] if before.get(key) != after.get(key))
    old, new = (str(values.get(key, "none"))[:60] for values in (before, after))
    return f"{key.removeprefix('sampler.')} is {old} there and {new} here"


def _advice(owners: Sequence[Owner]) -> str:
    if owners:
        return f"{owners[0]} is at work on it: give the options that it has, or another --out"
    return "give the options that they have, another --out, or --force to throw them away"
