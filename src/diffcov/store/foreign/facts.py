"""What the files of a published model say of it, what they leave open, and where each fact was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import NetworkSpec
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.schedules import named_schedule

__all__ = ["Fact", "Foreign", "ForeignHead", "Meaning", "Variation"]


@dataclass(frozen=True)
class Fact:
    """One thing that is known of a model.

    Attributes:
        name: what.
        value: in words.
        source: the file that says so, or why it is assumed.
    """

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Meaning:
    """One way to read a network: how it is built, and what its output means."""

    network: NetworkSpec
    reading: Reading
    features: str | None = None


def scheduled(meaning: Meaning, name: str, T: int) -> Meaning:
    """The meaning under another schedule; times are counted as before."""
    return replace(meaning, reading=replace(meaning.reading, schedule=named_schedule(name, T)))


@dataclass(frozen=True)
class Variation:
    """Something that no file says: the ways it may be, of which the check takes the one with the least error.

    Attributes:
        name: what is open.
        ways: by a word for each, what makes it of a meaning; the first is what is assumed.
    """

    name: str
    ways: Mapping[str, Any]

    def of(self, meaning: Meaning) -> Iterator[tuple[str, Meaning]]:
        """Every way with its word; the first is the meaning as it is."""
        for number, (word, change) in enumerate(self.ways.items()):
            yield word, change(meaning) if number else meaning


@dataclass(frozen=True)
class ForeignHead:
    """A variance head that was published with a mean.

    Attributes:
        network: what it is, a name of ``nets.variance_head.NETWORKS``.
        weights: by that network's own names.
        kind: name of its covariance, where a file's name says so.
    """

    network: str
    weights: dict[str, Tensor]
    kind: str | None


@dataclass(frozen=True)
class Foreign:
    """A published model, read and not yet built.

    Attributes:
        family: whose format.
        source: the file of its weights.
        meaning: how it is read as far as its files say, the rest by the custom of its family.
        weights: of the network, by the network's own names.
        facts: all that was read, in words.
        open: what no file says.
        scheduled: a meaning under another schedule by its name and T, as its family means it.
        fixed: facts that nobody can overrule, and why.
        head: the variance head beside the mean; None where there is none.
    """

    family: str
    source: Path
    meaning: Meaning
    weights: dict[str, Tensor]
    facts: tuple[Fact, ...]
    open: tuple[Variation, ...] = ()
    scheduled: Callable[[Meaning, str, int], Meaning] = scheduled
    fixed: Mapping[str, str] = field(default_factory=dict)
    head: ForeignHead | None = None

    @property
    def program(self) -> str | None:
        """What has to be trusted before the network is called; None for a network of ours."""
        return self.meaning.network.program if isinstance(self.meaning.network, BuiltBy) else None

    def with_facts(self, *facts: Fact) -> Foreign:
        """The same, with facts in the place of those of their names."""
        names = {fact.name for fact in facts}
        return replace(self, facts=(*(fact for fact in self.facts if fact.name not in names), *facts))
