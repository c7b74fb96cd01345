"""Files that are programs (x, t) -> prediction: TorchScript, and exported ones. Nothing is run while they are read."""

from __future__ import annotations

from pathlib import Path

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.adapters import EXPORTED, PROGRAMS, SCRIPTED
from diffcov.nets.adapters.bytes_of_program import as_weights
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.facts import Fact, Foreign, Meaning
from diffcov.store.foreign.variations import predictions, schedules, times
from diffcov.store.zips import BadZipFile, open_zip

__all__ = ["builder_of_program", "read_program"]

MEMBERS = {
    "models/model.json": EXPORTED,
    "serialized_exported_program.json": EXPORTED,
    "constants.pkl": SCRIPTED,
    "archive_format": EXPORTED,
}
"""What lies in the zip of a program, and who loads it; torch.export wrote the second one until torch 2.7."""
NAMES = {SCRIPTED: "TorchScript", EXPORTED: "torch.export"}


def builder_of_program(path: Path) -> str | None:
    """The builder of the program that a file is, by the names in its zip; None if it is none."""
    try:
        with open_zip(path) as archive:
            names = {end for name in archive.namelist() for end in (name, name.partition("/")[2])}
    except (OSError, BadZipFile):
        return None
    return next((builder for member, builder in MEMBERS.items() if member in names), None)


def read_program(path: Path, builder: str, data: DataDescription | None) -> Foreign:
    """The mean model that a file may be; all but its bytes is assumed, and tried on images.

    Args:
        path: the file.
        builder: what :func:`builder_of_program` says of it.
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
        Fact("network", f"a {NAMES[builder]} program, sha256 {arguments['digest'][:12]}", str(path)),
        Fact("prediction", "eps", assumed),
        Fact("schedule", "linear, T=1000", assumed),
        Fact("times", "0..T-1", assumed),
        Fact("range", f"[{data.low:g}, {data.high:g}]", assumed),
    )
    open_questions = (predictions(), schedules(), times("0..T-1", "1..T", "0..1000 for any T"))
    return Foreign(
        PROGRAMS[builder], path, Meaning(BuiltBy(builder, arguments), reading), weights, facts, open_questions
    )
