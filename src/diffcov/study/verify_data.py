"""Whether images are still those that were trained or measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.store.datasets import EMBEDDED, Resize, load_images
from diffcov.study.chain import Chain, State
from diffcov.study.listener import Listener
from diffcov.study.pictures import room_for
from diffcov.study.requests.pictures import PictureChoice

__all__ = ["ImageCheck", "images_of"]


def images_of(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Provenance of the images that a part of a report was made with; None where it says none."""
    for key in ("trained on", "data", "images"):
        found = part.get(key)
        if isinstance(found, Mapping) and {"source", "digest"} <= found.keys():
            return found
    return None


@dataclass(frozen=True)
class ImageCheck:
    """How images are found again.

    Attributes:
        data: where they are, if not where they were.
        pictures: how much memory they may take, and where decoded ones are kept.
        listener: told which are read.
    """

    data: str | None
    pictures: PictureChoice
    listener: Listener

    def follow(self, chain: Chain, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Add a link for each set of images that any of the parts, by their names, was made with."""
        users: dict[str, list[str]] = {}
        sets: dict[str, Mapping[str, Any]] = {}
        for name, part in parts.items():
            images = images_of(part)
            if images is not None:
                users.setdefault(images["digest"], []).append(name)
                sets.setdefault(images["digest"], images)
        for digest, images in sets.items():
            self._compare(chain, ", ".join(users[digest]), images)

    def _compare(self, chain: Chain, users: str, images: Mapping[str, Any]) -> None:
        recorded = str(images["source"])
        source, split = self.data or recorded, images.get("split", "train")
        name = f"{users} -> {source} ({split})"
        if self.data is None and recorded not in EMBEDDED and not Path(recorded).exists():
            chain.add(
                name, State.UNKNOWN,
                f"not looked at: not there; say where they are with --data (digest {images['digest'][:12]})",
            )  # fmt: skip
            return
        self.listener.note(f"reading the images of {source}")
        resize = Resize.from_dict(images)
        found = chain.reading(
            name, lambda: load_images(source, images.get("limit"), split, resize, room_for(self.pictures))
        )
        if found is None:
            return
        digests = {found.digest(), found.digest(labelled=True)}
        same = images["digest"] if images["digest"] in digests else found.digest()
        chain.same(
            name, same, images["digest"], f"{found.count} images have the digest {images['digest'][:12]}",
            "these are not the images that were recorded; give those with --data, or train and measure again",
        )  # fmt: skip
