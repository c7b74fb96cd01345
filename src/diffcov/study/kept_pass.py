"""A pass of the network along the forward path that goes on where an earlier one was stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from diffcov.data import ExampleSet
from diffcov.denoiser.base import Denoiser
from diffcov.digest import digest_of_values
from diffcov.engines.forward import Meter, measure
from diffcov.processes.base import current
from diffcov.store.parts import UNFINISHED, Part
from diffcov.study.keeping import Interval
from diffcov.study.listener import Listener
from diffcov.study.whole import CALLS
from diffcov.study.wishes import Keeper, Nowhere

__all__ = ["measured_on"]


def measured_on(
    keeper: Keeper,
    identity: Mapping[str, Any],
    denoiser: Denoiser,
    examples: ExampleSet,
    meters: Sequence[Meter],
    *,
    title: str,
    seed: int,
    batch_size: int,
    say: Listener,
) -> Callable[[], None]:
    """Fill meters as :func:`diffcov.engines.forward.measure` does, bit for bit, and keep their sums on the way.

    One process alone goes on; several that work together begin anew.

    Args:
        keeper: of the sums.
        identity: of what is measured; that of the calls is added to it.
        denoiser, examples, meters, seed, batch_size: as for ``measure``.
        title: of the pass, for people.
        say: told how far it is.

    Returns:
        What removes the sums; to be called once whatever they became is kept.

    Raises:
        UsageError, NonFiniteError: as ``measure``.
    """
    whole = {**identity, "batch_size": batch_size, "meters": [[type(one).__name__, *one.times] for one in meters]}
    name, place = f"{UNFINISHED}pass-{digest_of_values(whole)[:20]}", keeper if current().size == 1 else Nowhere()
    sums = [tensor for meter in meters for tensor in meter.sums()]
    looks = len({t for meter in meters for t in meter.times}) * len(examples)
    earlier, skip = place.part(name, whole), 0
    if earlier is not None:
        skip = int(earlier.values["calls"])
        for k, tensor in enumerate(sums):
            tensor.copy_(earlier.tensors[f"{k}"])
        say.note(f"going on: {earlier.values['looks']:,} of {looks:,} looks are done")
    interval, done = Interval(), 0
    with say.progress(title, looks * denoiser.calls, CALLS) as bar:

        def on_look(count: int) -> None:
            nonlocal done
            done = count
            bar.update(count * denoiser.calls)

        def on_call(calls: int) -> None:
            if interval.over():
                tensors = {f"{k}": tensor for k, tensor in enumerate(sums)}
                place.save_part(name, whole, Part(tensors, {"calls": calls, "looks": done}))
                interval.again()

        with torch.inference_mode():
            measure(
                denoiser, examples, meters,
                seed=seed, batch_size=batch_size, skip=skip, on_look=on_look, on_call=on_call,
            )  # fmt: skip
    return partial(place.drop_part, name)
