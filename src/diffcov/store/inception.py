"""The Inception network of the Frechet Inception distance: where it lies, and how it gets there once.

NVIDIA's TorchScript translation of the original weights: 2048 features, the same numbers as the original FID.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffcov.errors import InputError
from diffcov.processes.base import current
from diffcov.store.atomic import atomic_write
from diffcov.store.machine import cache_folder
from diffcov.store.paths import expanded
from diffcov.store.seal import file_digest

__all__ = ["INCEPTION", "Weights", "find_weights", "inception_file"]

VARIABLE = "DIFFCOV_INCEPTION"
TIMEOUT = 30.0
"""Seconds without a byte."""
CHUNK = 2**20


@dataclass(frozen=True)
class Weights:
    """A file that everybody must have in the same bytes.

    Attributes:
        name: of the file.
        url: where it is published.
        sha256: hex.
        size: in bytes, for people.
    """

    name: str
    url: str
    sha256: str
    size: int


INCEPTION = Weights(
    "inception-2015-12-05.pt",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    95_607_719,
)


def find_weights(weights: Weights) -> Path:
    """Where the file lies or belongs: $DIFFCOV_INCEPTION, else the cache folder."""
    if named := os.environ.get(VARIABLE):
        return expanded(named)
    return cache_folder() / weights.name


def inception_file(
    weights: Weights = INCEPTION,
    on_fetch: Callable[[Path], None] = lambda path: None,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> Path:
    """The file, fetched if it is not there yet, with the right checksum.

    Args:
        weights: which file.
        on_fetch: told where it will be put before it is fetched.
        on_bytes: told the bytes that have come.

    Raises:
        InputError: $DIFFCOV_INCEPTION names no file, it cannot be fetched, or its bytes are others.
        OutputError: the cache folder cannot be written.
    """
    return current().once(lambda: _found(weights, on_fetch, on_bytes))


def _found(weights: Weights, on_fetch: Callable[[Path], None], on_bytes: Callable[[int], None]) -> Path:
    path = find_weights(weights)
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise InputError(f"${VARIABLE} names {path}, which is no file; put {weights.name} there ({weights.url})")
        on_fetch(path)
        _fetch(weights, path, on_bytes)
        return path
    if (found := file_digest(path)) != weights.sha256:
        raise InputError(_other_bytes(str(path), found, weights) + f"; remove it and fetch {weights.url}")
    return path


def _fetch(weights: Weights, path: Path, on_bytes: Callable[[int], None]) -> None:
    state, done = hashlib.sha256(), 0
    with atomic_write(path) as temporary, temporary.open("wb") as out:
        for chunk in _download(weights, path):
            out.write(chunk)
            state.update(chunk)
            done += len(chunk)
            on_bytes(done)
        if state.hexdigest() != weights.sha256:
            raise InputError(_other_bytes(weights.url, state.hexdigest(), weights) + f"; put the right file at {path}")


def _download(weights: Weights, path: Path) -> Iterator[bytes]:
    # Reading must not fail as OSError: around it, that means that the disk refuses.
    try:
        with urllib.request.urlopen(weights.url, timeout=TIMEOUT) as answer:
            done, promised = 0, int(answer.headers.get("Content-Length", 0))
            while chunk := answer.read(CHUNK):
                done += len(chunk)
                yield chunk
            if done < promised:
                raise ConnectionError(f"the connection broke after {done} of {promised} bytes")
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(
            f"{weights.name} is not here and cannot be fetched ({reason}); "
            f"get it from {weights.url} and put it at {path}, or name it with ${VARIABLE}"
        ) from error


def _other_bytes(where: str, found: str, weights: Weights) -> str:
    return f"{where} is not {weights.name}: its sha256 is {found[:12]}, not {weights.sha256[:12]}"
