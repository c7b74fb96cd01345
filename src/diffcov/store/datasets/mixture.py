"""What was met among pictures that are made alike: how many channels they have, and how they lie."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mixture"]


@dataclass(frozen=True)
class Mixture:
    """How many of some pictures are what.

    Attributes:
        count: all of them.
        grey: with one channel.
        transparent: with an alpha channel that is kept.
        dropped: with one that was left out.
        turned: in another way than their pixels are stored, as their EXIF data say.
        first: the name of the first transparent one.
        first_opaque: the name of the first that is not.
    """

    count: int = 0
    grey: int = 0
    transparent: int = 0
    dropped: int = 0
    turned: int = 0
    first: str = ""
    first_opaque: str = ""

    def with_one(self, name: str, channels: int, dropped: bool, turned: bool) -> Mixture:
        """The same with one picture more."""
        clear = channels == 4
        return Mixture(
            self.count + 1,
            self.grey + (channels == 1),
            self.transparent + clear,
            self.dropped + dropped,
            self.turned + turned,
            self.first or (name if clear else ""),
            self.first_opaque or ("" if clear else name),
        )

    def remarks(self) -> tuple[str, ...]:
        """Sentences on how pictures were made alike."""
        found = []
        if 0 < self.grey < self.count:
            found.append(f"{self.grey} of {self.count} pictures are grey, and were made colour")
        if self.turned:
            found.append(f"{self.turned} of {self.count} pictures were turned as their EXIF orientation says")
        if self.dropped:
            found.append(f"the alpha channel of {self.dropped} of {self.count} pictures was left out (--drop-alpha)")
        return tuple(found)

    def warnings(self) -> tuple[str, ...]:
        """A sentence on pictures with an alpha channel among opaque ones, or the other way round."""
        if not 0 < self.transparent < self.count:
            return ()
        return (
            f"{self.transparent} of {self.count} pictures {'has' if self.transparent == 1 else 'have'} an alpha "
            f"channel ({self.first}) and others have none ({self.first_opaque}), so that all images have 4 channels; "
            "leave alpha out with --drop-alpha",
        )
