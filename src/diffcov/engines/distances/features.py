"""Feature spaces: what turns images into the vectors that distances compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.errors import InputError, NonFiniteError
from diffcov.processes.base import current

__all__ = ["FeatureSpace", "features_of", "pixels"]


@dataclass(frozen=True)
class FeatureSpace:
    """A map from images to vectors. Distances of different spaces do not compare.

    Attributes:
        name: for people: "pixels", "classifier", "inception", or a file's name.
        digest: hex; equal digests mean equal maps.
        dims: F.
        extract: uint8 (B, C, H, W) grey levels in 0..levels-1 on any device -> (B, F) float32.
        channels: of the images that the map itself sees; None where it takes them as they are.
    """

    name: str
    digest: str
    dims: int
    extract: Callable[[Tensor], Tensor]
    channels: int | None = None


def pixels(data: DataDescription) -> FeatureSpace:
    """x_0 itself as a vector of C H W numbers in [low, high]."""
    record = json.dumps(["pixels", data.as_dict()], sort_keys=True)
    digest = hashlib.sha256(record.encode()).hexdigest()
    return FeatureSpace("pixels", digest, data.dims, lambda images: data.encode(images).flatten(1))


@torch.no_grad()
def features_of(
    space: FeatureSpace,
    images: Tensor | Iterable[Tensor],
    batch_size: int = 256,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """The features of images, in their order. Several processes share each batch, and all get the whole.

    Args:
        space: the map.
        images: uint8 (N, C, H, W), or any number of such tensors one after the other.
        batch_size: images mapped at a time.
        on_batch: told the number of images done.

    Returns:
        (N, F) float32 on the CPU.

    Raises:
        InputError: no image at all.
        NonFiniteError: NaN or infinity among the features.
    """
    found: list[Tensor] = []
    done, ours = 0, current()
    for batch in _batches(images, batch_size):
        rows = ours.share(len(batch))
        features = torch.cat(ours.gathered(lambda own=batch[rows.start : rows.stop]: _extracted(space, own)))  # type: ignore[misc]
        if not torch.isfinite(features).all():
            raise NonFiniteError(
                f"the {space.name} features of images {done}..{done + len(batch) - 1} hold NaN or infinity; "
                "choose other --features"
            )
        found.append(features)
        done += len(batch)
        on_batch(done)
    if not found:
        raise InputError("there are no images to take features of: give at least one")
    return torch.cat(found)


def _extracted(space: FeatureSpace, images: Tensor) -> Tensor:
    """(B, F) float32 on the CPU; B may be 0."""
    return space.extract(images).float().cpu() if len(images) else torch.empty(0, space.dims)


def _batches(images: Tensor | Iterable[Tensor], size: int) -> Iterator[Tensor]:
    for part in [images] if isinstance(images, Tensor) else images:
        if len(part):
            yield from torch.split(part, size)
