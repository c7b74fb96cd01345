"""TorchScript files: any program (x, t) -> prediction. Its network is a program, so nothing is run while it is read."""

from __future__ import annotations

from pathlib import Path

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.adapters import SCRIPTED
from diffcov.nets.adapters.scripted import as_weights
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.facts import Fact, Foreign, Meaning
from diffcov.store.foreign.variations import predictions, schedules, times

__all__ = ["read_scripted"]


def read_scripted(path: Path, data: DataDescription | None) -> Foreign:
    """The mean model that a file may be; all but its bytes is assumed, and tried on images.

    Args:
        path: the file.
        data: images of its kind: a program does not say what it takes.

    Raises:
        InputError: unreadable, or no images.
    """
    if data is None:
        raise InputError(f"{path} is a program, which does not say what images it takes; give some with --data")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    arguments, weights = as_weights(content)
    reading = Reading(NoiseSchedule.linear(1000), data, TimeConvention(1.0, 1.0))
    assumed = "assumed"
    facts = (
        Fact("network", f"a TorchScript program, sha256 {arguments['digest'][:12]}", str(path)),
        Fact("prediction", "eps", assumed),
        Fact("schedule", "linear, T=1000", assumed),
        Fact("times", "0..T-1", assumed),
        Fact("range", f"[{data.low:g}, {data.high:g}]", assumed),
    )
    open_questions = (predictions(), schedules(), times("0..T-1", "1..T", "0..1000 for any T"))
    return Foreign("torchscript", path, Meaning(BuiltBy(SCRIPTED, arguments), reading), weights, facts, open_questions)
