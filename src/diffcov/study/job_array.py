"""A part of one set of samples, drawn by one job of several; the job that completes the set writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.data import DataDescription
from diffcov.engines.sampler import Sampler
from diffcov.errors import InputError, UsageError
from diffcov.processes.base import current
from diffcov.store.ownership import Owner
from diffcov.store.set_part import SetPart, fill_part, span, spans
from diffcov.store.set_parts import SetParts
from diffcov.study.asked import typed
from diffcov.study.listener import Listener
from diffcov.study.requests.draw import SampleRequest

__all__ = ["Incomplete", "check_part", "draw_part", "numbers_asked", "parts_of", "put_together"]

OWN = ("first", "count", "batch_size", "looks", "network_calls", "call", "device", "torch_version", "diffcov_version")
"""What may differ from part to part, and is recorded of each."""


def check_part(request: SampleRequest) -> None:
    """Refuse (UsageError) a part that is not inside of its set."""
    if request.of is not None and request.first + request.count > request.of:
        raise UsageError(
            f"--first {request.first} --count {request.count} ends at image {request.first + request.count - 1}, and a "
            f"set --of {request.of} ends at {request.of - 1}; give a smaller --count"
        )


def numbers_asked(request: SampleRequest) -> range:
    """The numbers of the images that a request is for."""
    return range(request.first, request.first + request.count)


def parts_of(request: SampleRequest, folder: Path, sampler: Sampler) -> SetParts:
    """The set that a request draws a part of, as it is known before a scale is fitted."""
    assert request.of is not None
    formats = sorted({*request.formats} - {"grid"})
    return SetParts(folder.absolute(), request.of, {"sampler": sampler.as_dict(), "formats": formats})


def draw_part(
    parts: SetParts,
    request: SampleRequest,
    data: DataDescription,
    draw: Callable[[], AbstractContextManager[tuple[Mapping[str, Any], Iterable[Tensor]]]],
    say: Listener,
) -> bool:
    """Draw a part that is not there yet.

    Args:
        parts: those of the set.
        request: for this part.
        data: what images are.
        draw: begins with the work; gives the manifest, and (B, C, H, W) uint8 batches. Called only if there is some.
        say: told what is there already.

    Returns:
        Whether there was anything to draw.

    Raises:
        InputError: a part that is there was drawn with another fitted scale, or is damaged.
        OutputError: the parts that are there are of another set, overlap with this one, or somebody is drawing it.
    """
    numbers = numbers_asked(request)
    with ExitStack() as drawing, ExitStack() as held:
        if current().first:
            drawing.callback(parts.forget)
        folder = current().once(lambda: parts.claim(held, numbers, request.force))
        if folder is None:
            say.note(f"images {span(numbers)} of {request.of} are there already; nothing to draw")
            return False
        manifest, batches = drawing.enter_context(draw())
        current().once(lambda: _require_scale(parts.there(), manifest["eps_scale_value"]))
        fill_part(folder, batches, data.shape, {**manifest, "count": request.count})
        current().once(held.close)  # the part is there before what was kept while it was drawn goes
    return True


@dataclass(frozen=True)
class Incomplete:
    """What is known of a set that is not whole yet.

    Attributes:
        missing: numbers of the images that are still to be drawn.
        manifest: of this job's part, as it was recorded when it was drawn.
    """

    missing: tuple[range, ...]
    manifest: dict[str, Any]


def put_together(
    parts: SetParts, request: SampleRequest, data: DataDescription, sampler: Sampler, rows: int | None, say: Listener
) -> Incomplete | None:
    """Say what is there and what is missing; if nothing is, write the set and remove its parts.

    Args:
        parts: those of the set.
        request: for this job's part, which is there.
        data: what images are.
        sampler: whose images they are.
        rows: of the sheet, as for ``sample_set.write_sample_set``.
        say: told how far the set is.

    Returns:
        What is missing; None if the set is there.

    Raises:
        InputError: a part is damaged, or was drawn with another fitted scale.
        OutputError: something else is at the set's place, or the file system refuses, and the parts stay; or
            another job has thrown them away.
    """
    seen = current().once(lambda: _seen(parts, numbers_asked(request)))
    if seen is None:
        say.note(f"{parts.out} is whole: {parts.of} images")
        current().once(parts.clear)
        return None
    incomplete, there, in_hand = seen
    if incomplete.missing:
        drawn_by = "".join(f"; {span(numbers)} are being drawn by {owner}" for numbers, owner in in_hand.items())
        say.note(f"of {parts.of} images {spans(there)} are there, {spans(incomplete.missing)} are missing{drawn_by}")
        return incomplete
    say.note(f"all {parts.of} images are there: putting {len(there)} parts together into {parts.out}")
    whole = typed("sample", replace(request, first=0, count=parts.of, of=None))

    def manifest(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        _require_scale(parts.there(), found[0]["eps_scale_value"])
        spent = {name: sum(one[name] for one in found) for name in ("looks", "network_calls")}
        own = [{name: one[name] for name in OWN} for one in found]
        return {**found[0], **spent, "command": whole, "first": 0, "parts": own}

    current().once(lambda: parts.merge(data.shape, data.levels, manifest, rows, sampler.labels_of, request.force))
    return None


def _seen(parts: SetParts, own: range) -> tuple[Incomplete, list[range], dict[range, Owner]] | None:
    """What is there and by whom the rest is drawn, while no other job changes it; None if the set is whole."""
    with parts.alone():
        if parts.is_whole():
            return None
        incomplete = Incomplete(tuple(parts.missing()), parts.part(own).manifest())
        return incomplete, [part.numbers for part in parts.there()], parts.in_hand()


def _require_scale(parts: Sequence[SetPart], scale: float) -> None:
    """Refuse (InputError) parts that were drawn with another scale: one that is fitted may differ by machine."""
    for part in parts:
        theirs = part.manifest()["eps_scale_value"]
        if theirs != scale:
            raise InputError(
                f"{part.path} was drawn with the scale {theirs!r} of eps_hat, and it is {scale!r} here; give "
                f"all jobs one --run that holds the fit, or --eps-scale {theirs!r}, and remove the parts of the other"
            )
