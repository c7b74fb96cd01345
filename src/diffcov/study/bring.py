"""A published model in, a run's mean out: read, told, checked against real images, saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diffcov.data import DataDescription
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.engines.plausibility import Plausibility
from diffcov.errors import InputError, UsageError
from diffcov.nets.programs import reason
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import save_mean
from diffcov.store.datasets import ImageDataset, load_images
from diffcov.store.foreign.extended import read_norms
from diffcov.store.foreign.facts import Fact, Foreign
from diffcov.store.foreign.recognise import read_foreign, refuse_nothing
from diffcov.store.ownership import MEAN
from diffcov.store.run import RunFolder
from diffcov.study.device import pick_device
from diffcov.study.foreign_head import known_kind, published_head
from diffcov.study.foreign_norms import import_norms
from diffcov.study.listener import Listener, Silent
from diffcov.study.owning import owning
from diffcov.study.pictures import tell_data
from diffcov.study.range_check import keep_range_check
from diffcov.study.reading_bench import ReadingBench, Way, built, judge
from diffcov.study.requests.bring import ImportRequest, ReadingChoice

__all__ = ["Imported", "import_mean"]


@dataclass(frozen=True)
class Imported:
    """A mean that was imported.

    Attributes:
        mean: its file.
        family: whose format it was.
        facts: what was read, and where.
        ways: what was tried.
        check: the errors of the reading that was taken; None without a check.
        program: what has to be trusted from now on, with ``--module``; None for a network of ours.
        head: the variance head that came with it; None where there was none.
        norms: the table of norms that was imported for the mean that the run has; None where a mean was.
    """

    mean: Path
    family: str
    facts: tuple[Fact, ...]
    ways: tuple[Way, ...]
    check: Plausibility | None
    program: str | None = None
    head: Path | None = None
    norms: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "mean": str(self.mean),
            "family": self.family,
            "facts": [vars(fact) for fact in self.facts],
            "ways": [vars(way) for way in self.ways],
            "check": None if self.check is None else self.check.as_dict(),
            "program": self.program,
            "head": None if self.head is None else str(self.head),
            "norms": None if self.norms is None else str(self.norms),
        }


@owning("import", lambda request: [MEAN])
def import_mean(request: ImportRequest, listener: Listener | None = None) -> Imported:
    """Make a published model the mean of a run.

    Raises:
        UsageError: nothing to import, or options that contradict each other.
        InputError: a model that cannot be read, or one whose error is above a Gaussian's.
        OutputError: a mean is there already, or the file system refuses.
    """
    say = listener or Silent()
    if request.source is None:
        raise UsageError("import what? give the model's file or folder: diffcov import SOURCE")
    run = RunFolder(request.place.run)
    norms = read_norms(request.source)
    if norms is not None:
        path, told = import_norms(request, request.source, norms, run, say)
        return Imported(run.mean, "ms_eps", told, (), None, norms=path)
    refuse_existing(run.mean, request.force, "use --force to replace it, or another --run")
    refuse_nothing(request.source)  # before images are read
    images = None if request.data is None else load_images(request.data, request.limit)
    if images is not None:
        tell_data(images, say)
    if request.check and images is None:
        raise UsageError(
            "an import is checked on real images: say where some are with --data, or leave the check out with "
            "--no-check"
        )
    given = request.reading
    size = _pair("--size", given.size) or (None if images is None else images.description.shape[1:])
    description = None if images is None else images.description
    found = _told(read_foreign(request.source, size, description), given)
    found = _sized(found, given, images)
    kind = known_kind(found, given.head)
    if kind is not None:
        refuse_existing(run.head(kind), request.force, "use --force to replace it, or another --run")
    for fact in found.facts:
        say.note(f"{fact.name}: {fact.value} ({fact.source})")
    program = found.program
    if program is not None and not request.trust:
        raise InputError(
            f"{request.source} is a program ({program}), and nothing was run; if you trust it, say --trust"
        )
    if program is not None:
        _try_program(found)
    device = pick_device(request.device)
    ways: list[Way] = []
    check: Plausibility | None = None
    meaning = found.meaning
    if images is not None and request.check:
        bench = ReadingBench.of(found, images, device, request.seed)
        meaning, ways = bench.chosen(say)
        found = found.with_facts(*_found_on_images(ways))
        check = bench.errors(meaning, bench.examples)
        judge(check, request.source, say)
    model, tried = built(found, meaning), None if check is None else bench.examples
    if tried is not None:
        model.to(device)
    head = published_head(found, given.head, model, tried, check.times if check is not None else (), request.seed)
    if head is not None:
        refuse_existing(run.head(head.kind), request.force, "use --force to replace it, or another --run")
        found = found.with_facts(Fact("variance head", f"{head.kind}, {head.spec.network}", head.how))
    training: dict[str, Any] = {
        "imported": {
            "from": str(request.source.absolute()), "family": found.family,
            "facts": {fact.name: f"{fact.value} ({fact.source})" for fact in found.facts},
            "ways": [vars(way) for way in ways],
        }
    }  # fmt: skip
    if check is not None:
        training["check"] = check.as_dict()
    if images is not None:
        training["data"] = images.provenance(request.limit, labelled=bool(meaning.reading.classes))
    spec = MeanSpec(meaning.network, meaning.reading, features=meaning.features)
    save_mean(run.mean, model.network, spec, training)
    if tried is not None and images is not None:
        provenance = images.provenance(request.limit, labelled=bool(meaning.reading.classes))
        keep_range_check(run, model, tried, provenance, say, request.seed)
    kept = None if head is None else head.save(run, model)
    return Imported(run.mean, found.family, found.facts, tuple(ways), check, program, kept)


def _try_program(found: Foreign) -> None:
    """Run a program once, on two images: it does not say what it takes.

    Raises:
        InputError: it takes something else, or one number of images alone.
    """
    model = built(found, found.meaning)
    shape = model.data.shape
    try:
        with torch.no_grad():
            model.look(torch.zeros(2, *shape), 1)
    except InputError as error:
        raise InputError(f"{found.source} cannot be a mean: {error}") from error
    except Exception as error:  # whatever a stranger's program raises
        raise InputError(
            f"{found.source} was tried with x (2, {', '.join(map(str, shape))}) and times (2,), and raised "
            f"{type(error).__name__}: {reason(error)}; a mean takes these two, for any number of images"
        ) from error


def _found_on_images(ways: Sequence[Way]) -> list[Fact]:
    """What was taken instead of what was assumed, which stands first of each name."""
    assumed = {way.name: way for way in reversed(ways)}
    return [Fact(way.name, way.word, "tried on images") for way in ways if way.taken and way is not assumed[way.name]]


def _pair(name: str, values: Sequence[int] | None) -> tuple[int, int] | None:
    if values is None:
        return None
    if len(values) not in (1, 2) or min(values) < 1:
        raise UsageError(f"{name} takes height and width, such as 32,32; found {','.join(map(str, values))}")
    return values[0], values[-1]


def _told(found: Foreign, given: ReadingChoice) -> Foreign:
    """What was asked for in the place of what the files say; it is open no more."""
    meaning, told = found.meaning, list[Fact]()
    if given.prediction is not None:
        if given.prediction not in PARAMETRISATIONS:
            raise UsageError(f"--prediction takes {', '.join(PARAMETRISATIONS)}; found {given.prediction!r}")
        meaning = replace(meaning, reading=replace(meaning.reading, predicts=given.prediction))
        told.append(Fact("prediction", given.prediction, "--prediction"))
    if given.schedule is not None or given.timesteps is not None:
        schedule = meaning.reading.schedule
        T, name = given.timesteps or schedule.T, given.schedule or schedule.name
        if given.schedule is None and name == "betas":
            raise UsageError(f"--timesteps {T} was given, and the files hold {schedule.T} betas; say --schedule too")
        meaning = found.scheduled(meaning, name, T)
        told.append(Fact("schedule", f"{name}, T={T}", "--schedule, --timesteps"))
    if given.time_offset is not None or given.time_scale is not None:
        time = meaning.reading.time
        offset = time.offset if given.time_offset is None else given.time_offset
        scale = time.scale if given.time_scale is None else given.time_scale
        meaning = replace(meaning, reading=replace(meaning.reading, time=TimeConvention(offset, scale)))
        told.append(Fact("times", f"(t - {offset:g}) * {scale:g}", "--time-offset, --time-scale"))
    for fact in told:
        if fact.name in found.fixed:
            raise UsageError(f"{fact.source} cannot be given for {found.source}: {found.fixed[fact.name]}")
    settled = {fact.name for fact in told}
    still_open = tuple(one for one in found.open if one.name not in settled)
    return replace(found, meaning=meaning, open=still_open).with_facts(*told)


def _sized(found: Foreign, given: ReadingChoice, images: ImageDataset | None) -> Foreign:
    """The images' grey levels and the range that was asked for; refuses images that the network was not made for."""
    data = found.meaning.reading.data
    low, high = (data.low, data.high) if given.range is None else _range(given.range)
    levels = data.levels if images is None else images.description.levels
    wanted = DataDescription(data.channels, data.height, data.width, levels, low, high)
    if images is not None and not images.description.same_pixels(wanted):
        raise InputError(
            f"{images.source} holds images of {images.description}, and the model's are {wanted}; give images of that "
            "kind with --data"
        )
    facts = [] if given.range is None else [Fact("range", f"[{low:g}, {high:g}]", "--range")]
    if images is not None:
        facts.append(Fact("images", str(wanted), images.source))
    meaning = replace(found.meaning, reading=replace(found.meaning.reading, data=wanted))
    still_open = tuple(one for one in found.open if given.range is None or one.name != "range")
    return replace(found, meaning=meaning, open=still_open).with_facts(*facts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise UsageError(f"--range takes two numbers, such as 0,1; found {','.join(map(str, values))}")
    return values[0], values[1]
