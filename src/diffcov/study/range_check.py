"""Whether a mean's learned range has earned to be taken by ``auto``: measured once, kept in the run, consulted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcov.data import ExampleSet
from diffcov.denoiser.mean_model import MeanModel
from diffcov.engines.range_check import RangeCheck, check_range
from diffcov.errors import InputError, UsageError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.range_check import load_range_check, save_range_check
from diffcov.store.run import RunFolder
from diffcov.study.listener import Listener

__all__ = ["IMAGES", "keep_range_check", "lacks_range_check", "range_earned"]

IMAGES = 64
"""How many both bounds are measured on."""


def keep_range_check(
    run: RunFolder, model: MeanModel, examples: ExampleSet, images: Mapping[str, Any], say: Listener, seed: int = 0
) -> None:
    """Compare the bound of ``learned-range`` with that of ``corrected`` and keep what is found, if a range was learned.

    Args:
        run: where it is kept.
        model: the run's mean, on the device of the images.
        examples: images, the first :data:`IMAGES` of which are used.
        images: where they came from, as plain values.
        say: told what was found, or why it cannot be.
        seed: of the noise.
    """
    if not model.reading.learned_range:
        return
    try:
        found = check_range(model, examples[:IMAGES], seed=seed)
    except (InputError, UsageError) as error:
        say.warn(f"learned-range was not compared with corrected, so auto leaves it alone: {error}")
        return
    say.note(found.verdict)
    save_range_check(run.range_check, found, model.digest, images)


def lacks_range_check(run: RunFolder, mean: MeanCheckpoint) -> bool:
    """Whether the mean learned a range that the run holds no comparison of.

    Raises:
        InputError: there is one that cannot be read.
    """
    return mean.spec.reading.learned_range and _kept(run, mean) is None


def range_earned(run: RunFolder, mean: MeanCheckpoint) -> bool:
    """Whether the run holds a comparison of this very mean that its learned range won.

    Raises:
        InputError: the comparison cannot be read.
    """
    kept = _kept(run, mean) if mean.spec.reading.learned_range else None
    return kept is not None and kept.earned


def _kept(run: RunFolder, mean: MeanCheckpoint) -> RangeCheck | None:
    if not run.range_check.is_file():
        return None
    kept = load_range_check(run.range_check)
    return kept.found if mean.trunk.owns(kept.trunk) else None
