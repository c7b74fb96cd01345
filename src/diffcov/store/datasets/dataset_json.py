"""``dataset.json``, the labels that StyleGAN's and EDM's tools keep beside pictures: {"labels": [[name, class], ...]}.

Where one says something of labels, folders are blocks of a running number and no classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from diffcov.errors import InputError
from diffcov.store.datasets.stored import Labels

__all__ = ["NAME", "ListedLabels"]

NAME = "dataset.json"


@dataclass(frozen=True)
class ListedLabels:
    """What such a file says.

    Attributes:
        where: the folder or zip that it lies in, for messages.
        known: the class of each picture by its name; None if it says that there are no classes.
    """

    where: Path
    known: Mapping[str, Any] | None

    @classmethod
    def read(cls, content: bytes | None, where: Path) -> Self | None:
        """What a file's content says; None if there is no file, or if it says nothing of labels.

        Raises:
            InputError: it is no such file.
        """
        if content is None:
            return None
        try:
            found = json.loads(content.decode("utf-8"))
            if "labels" not in found:
                return None
            listed = found["labels"]
            known = None if listed is None else {str(name).replace("\\", "/"): label for name, label in listed}
            return cls(where, known)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"{NAME} in {where} does not hold the labels of pictures ({error}); mend it, or leave it out"
            ) from error

    def of(self, names: Sequence[str]) -> Labels | None:
        """The classes of pictures, (n,) int64; None if there are none.

        Raises:
            InputError: a picture without a class, or with one that is no whole number from 0 on.
        """
        if self.known is None:
            return None
        found = [self.known.get(name) for name in names]
        for name, label in zip(names, found, strict=True):
            if isinstance(label, bool) or not isinstance(label, int) or label < 0:
                said = "says nothing of" if label is None else f"gives the class {label!r} to"
                raise InputError(f"{NAME} in {self.where} {said} {name}; a class is a whole number from 0 on")
        return np.array(found, dtype=np.int64)
