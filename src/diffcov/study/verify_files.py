"""Artefacts of a run, each compared with its own digest and with what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffcov.store.artifact import is_sealed, read_header
from diffcov.store.checkpoint import MeanCheckpoint, read_mean
from diffcov.store.recipes import has_its_digest
from diffcov.store.run import RunFolder
from diffcov.study.chain import Chain, State
from diffcov.study.describe_part import Part, describe_part, made_of

__all__ = ["RunFiles"]


@dataclass
class RunFiles:
    """What is read of one run, each file once.

    Attributes:
        chain: where links are noted.
        run: the run; it need not hold all that is asked for.
        module: the program that the mean's network is, if it may be called.
        parts: what was read and is what it says, by names relative to the run.
    """

    chain: Chain
    run: RunFolder
    module: str | None
    parts: dict[str, Part] = field(default_factory=dict)
    _mean: MeanCheckpoint | None = None
    _asked: set[str] = field(default_factory=set)
    _before: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """A file's name in links."""
        inside = path.is_relative_to(self.run.path)
        return path.relative_to(self.run.path).as_posix() if inside else str(path)

    def read(self, path: Path) -> Part | None:
        """Note whether a file is what it says; None if it is not."""
        name = self.name(path)
        if name in self._asked:
            return self.parts.get(name)
        self._asked.add(name)
        if not path.is_file():
            self.chain.add(name, State.MISSING, f"{path} is not there; make it again, or restore a copy")
            return None
        part = self.chain.reading(name, lambda: describe_part(path, self.module))
        if part is None or not self._sealed(name, path):
            return None
        self.parts[name] = part
        self.chain.add(name, State.OK, f"{part['kind']}, {_digest_of(part)}")
        return part

    def _sealed(self, name: str, path: Path) -> bool:
        """Whether what stands beside the numbers is unchanged too, as far as the file lets one tell."""
        sealed = has_its_digest(path) if path.suffix == ".json" else is_sealed(read_header(path)) or None
        if sealed is None:
            self._before.append(name)
        if sealed is False:
            self.chain.add(
                name, State.CHANGED, f"{path} has another digest than it says; find it again with: diffcov tune"
            )
        return sealed is not False

    def mean(self) -> MeanCheckpoint | None:
        """The mean that the run holds, built; None, with a link that says why, where that cannot be."""
        part = self.read(self.run.mean)
        if part is None or "not built" in part:
            return None
        if self._mean is None:
            self._mean = self.chain.reading(
                self.name(self.run.mean), lambda: read_mean(self.run.mean).built(self.module)
            )
        return self._mean

    def follow(self, paths: Iterable[Path]) -> None:
        """Note files, whether they belong to the run's mean, and whether what they were made of is what it was."""
        for path in paths:
            part = self.read(path)
            if part is None:
                continue
            name = self.name(path)
            for file, made_with in made_of(part).items():
                self.made_of(name, file, made_with)
            if "trunk" in part:
                self._belongs(name, part["trunk"])

    def made_of(self, name: str, file: str, recorded: str) -> None:
        """Note whether a file of the run is the one that something, by its name, was made of."""
        part = self.read(self.run.path / file)
        if part is not None:
            self.chain.same(
                f"{name} -> {file}", str(part.get("digest")), recorded, f"made of digest {recorded[:12]}",
                f"it was made of another {file} than the run holds now; make it again",
            )  # fmt: skip

    def _belongs(self, name: str, made_for: str) -> None:
        link = f"{name} -> {self.name(self.run.mean)}"
        mean = self.mean()
        if mean is None:
            why = (
                "the mean is a program, which --module lets one call" if self.run.mean.is_file() else "no mean is there"
            )
            self.chain.add(link, State.UNKNOWN, f"not compared: {why} (made for {made_for[:12]})")
        elif mean.trunk.owns(made_for):
            self.chain.add(link, State.OK, f"made for the mean {made_for[:12]}")
        else:
            self.chain.same(link, mean.digest, made_for, "", "it was made for another mean; make it again")

    def say_what_is_not_sealed(self) -> None:
        """Note the files of earlier versions, whose settings carry no digest."""
        if self._before:
            self.chain.add(
                f"settings of {', '.join(self._before)}", State.UNKNOWN,
                "written before files carried a digest of their settings; their numbers are compared, and whatever "
                "writes them again adds it",
            )  # fmt: skip


def _digest_of(part: Mapping[str, Any]) -> str:
    digest = part.get("weights") or part.get("digest")
    return f"its numbers have the digest {digest[:12]}" if digest else "its numbers have the digest that it says"
