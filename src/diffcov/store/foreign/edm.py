"""Pickles of EDM: ``edm-*.pkl``, ``network-snapshot-*.pkl``, and the network of a ``training-state-*.pt``.

Such a file brings its program along, which is not run: the network is one of ours, built from the arguments that the
file keeps. The preconditioning says what is predicted, and at which noise levels it can be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.adapters.edm import shapes_of
from diffcov.nets.adapters.edm_preconditioning import PRECONDITIONINGS, Preconditioning
from diffcov.nets.adapters.edm_unets import UNETS
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.facts import Fact, Foreign, Meaning
from diffcov.store.foreign.opcodes import shown
from diffcov.store.foreign.persisted import (
    arguments_of,
    attributes_of,
    class_of,
    is_persisted,
    module_in,
    tensors_within,
)  # fmt: skip
from diffcov.store.foreign.pickles import Record
from diffcov.store.foreign.schedules import named_schedule
from diffcov.store.foreign.variations import ranges
from diffcov.store.foreign.weights import state_dict_of

__all__ = ["is_edm", "read_edm"]

BUILDER = "diffcov.nets.adapters.edm:build"
LOWEST, HIGHEST = 0.002, 80.0
"""The ends of the noise levels that EDM samples at, where a network allows them (arXiv 2206.00364, table 1)."""
LARGEST = 1e9
"""No number of a preconditioning is beyond it."""
NETWORKS = {"ema": "its average", "net": "the raw weights of a training state"}
"""Where a file keeps its network, the first that is there is taken."""
UNUSED = ("augment_dim", "dropout", "label_dropout")
"""Arguments of training alone."""
WORDS: dict[str, tuple[str | None, dict[str, bool]]] = {
    "embedding_type": ("fourier", {"positional": False, "fourier": True}),
    "encoder_type": ("residual", {"standard": False, "residual": True}),
    "decoder_type": (None, {"standard": False}),
}
"""Arguments in words: the name of ours, and what each word is of it."""


def is_edm(values: Any) -> bool:
    """Whether what a file holds was pickled together with its program."""
    return is_persisted(values) or (isinstance(values, Mapping) and any(map(is_persisted, values.values())))


def read_edm(values: Any, source: Path) -> Foreign:
    """The mean model of what :func:`is_edm` recognised; the average where there is one.

    Raises:
        InputError: no denoiser, or one of a kind that is not read; the sentence names it.
    """
    try:
        return _read(values, source)
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(str(source)) else f"{source}: {said}") from error


def _read(values: Any, source: Path) -> Foreign:
    network, kept = _network(values)
    kind, unet = class_of(network), module_in(network, "model")
    if kind not in PRECONDITIONINGS:
        raise InputError(f"its network is a {kind}, which is not read; known are {', '.join(PRECONDITIONINGS)}")
    if unet is None:
        raise InputError(f"its {kind} holds no network, which is called model; it is damaged, or of another version")
    numbers, config = _numbers(network, kind), _config(unet)
    around = PRECONDITIONINGS[kind](**numbers)
    schedule = around.schedule(around.steps)
    arguments = {
        "preconditioning": kind, "numbers": numbers, "unet": class_of(unet), "config": config, "schedule": schedule.spec
    }  # fmt: skip
    weights = {
        name: tensor
        for name, tensor in state_dict_of(tensors_within(network), source).items()
        if name.startswith("model.") and not name.startswith("model.map_augment.")
    }
    _check_shapes(weights, class_of(unet), config)
    size, classes = config["img_resolution"], config.get("label_dim", 0)
    unlabelled = arguments_of(unet).get("label_dropout", 0) > 0
    data = DataDescription(config["in_channels"], size, size)
    reading = Reading(
        schedule, data, TimeConvention(0.0, 1.0), around.predicts, classes, needs_labels=classes > 0 and not unlabelled
    )
    said = f"{source}: _init_kwargs"
    widths = f"{config.get('model_channels', 'usual')} x {config.get('channel_mult', 'usual')}"
    facts = (
        Fact("network", f"{class_of(unet)} of EDM, {widths} ({kept})", said),
        Fact("weights", f"{sum(tensor.numel() for tensor in weights.values()):,} numbers", str(source)),
        Fact("preconditioning", f"{kind} ({_words(numbers)})", str(source)),
        Fact("images", str(data), said),
        Fact("classes", str(classes or "none"), said),
        Fact("prediction", around.predicts, f"follows from {kind}"),
        Fact("schedule", _schedule_words(schedule), f"the levels of {kind}"),
        Fact("times", "1..T, told to the network as its noise levels", kind),
        Fact("range", "[-1, 1]", "the custom of EDM"),
    )
    meaning = Meaning(BuiltBy(BUILDER, arguments), reading)
    fixed = {"prediction": f"{kind} says what its network predicts", "times": f"{kind} says how levels are told to it"}
    return Foreign("edm", source, meaning, weights, facts, (ranges(),), scheduled, fixed)


def scheduled(meaning: Meaning, name: str, T: int) -> Meaning:
    """The meaning at other noise levels: its own family with another T, or any schedule whose levels it knows."""
    assert isinstance(meaning.network, BuiltBy)
    arguments, reading = meaning.network.arguments, meaning.reading
    around: Preconditioning = PRECONDITIONINGS[arguments["preconditioning"]](**arguments["numbers"])
    schedule = around.schedule(T) if name == reading.schedule.name else named_schedule(name, T)
    network = BuiltBy(BUILDER, {**arguments, "schedule": schedule.spec})
    return replace(meaning, network=network, reading=replace(reading, schedule=schedule))


def _network(values: Any) -> tuple[Record, str]:
    """The denoiser in what a file holds, and what it is."""
    if is_persisted(values):
        return values, "as it is"
    for name, kept in NETWORKS.items():
        if is_persisted(values.get(name)):
            return values[name], kept
    held = ", ".join(f"{shown(name)} ({class_of(value)})" for name, value in values.items() if is_persisted(value))
    raise InputError(f"it holds {held}, and no denoiser of EDM, which is called ema")


def _numbers(network: Record, kind: str) -> dict[str, float]:
    """The preconditioning's own numbers, its levels cut to those that EDM samples at."""
    found: dict[str, float] = {}
    for one in fields(PRECONDITIONINGS[kind]):  # type: ignore[arg-type]
        value = attributes_of(network).get(one.name)
        if not _is_number(value):
            raise InputError(f"its {kind} does not say its {one.name}")
        found[one.name] = value  # type: ignore[assignment]
    if "sigma_min" in found:
        found |= {"sigma_min": max(found["sigma_min"], LOWEST), "sigma_max": min(found["sigma_max"], HIGHEST)}
    for name, number in found.items():
        if not abs(number) <= LARGEST:
            raise InputError(f"its {kind} has {name} = {shown(number)}, which no network of EDM has")
    return found


def _config(unet: Record) -> dict[str, Any]:
    """The arguments of our network of that kind."""
    kind = class_of(unet)
    if kind not in UNETS:
        raise InputError(f"its network is a {kind}, which is not read; known are {', '.join(UNETS)}")
    known, found = signature(UNETS[kind]).parameters, dict[str, Any]()
    for name, value in arguments_of(unet).items():
        if name in WORDS:
            ours, words = WORDS[name]
            if not isinstance(value, str) or value not in words:
                raise InputError(
                    f"its {kind} has {name} {shown(value)}, which is not read yet; known are {', '.join(words)}"
                )
            if ours is not None:
                found[ours] = words[value]
        elif name in known and (_is_number(value) or (isinstance(value, list) and all(map(_is_number, value)))):
            found[name] = value
        elif name not in UNUSED or (name == "label_dropout" and not _is_number(value)):
            raise InputError(f"its {kind} was made with {shown(name)} = {shown(value)}, which is not read")
    missing = [name for name in ("img_resolution", "in_channels", "out_channels") if name not in found]
    if missing:
        raise InputError(f"its {kind} does not say its {' and '.join(missing)}")
    return found


def _check_shapes(weights: Mapping[str, Tensor], kind: str, config: Mapping[str, Any]) -> None:
    """Refuse weights that are not those of the arguments, before a network of that size is made."""
    known = signature(UNETS[kind]).parameters
    levels, blocks = (config.get(name, known[name].default) for name in ("channel_mult", "num_blocks"))
    if _is_number(blocks) and isinstance(levels, list | tuple) and blocks * len(levels) > len(weights):
        raise InputError(
            f"its {kind} is made of {len(weights)} weights, and its arguments say {len(levels)} levels of "
            f"{shown(blocks)} blocks: it is damaged, or of another version"
        )
    found, wanted = {name: tuple(tensor.shape) for name, tensor in weights.items()}, shapes_of(kind, config)
    wrong = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    if wrong:
        there, asked = (shapes.get(wrong[0], "not there") for shapes in (found, wanted))
        raise InputError(
            f"its {kind} is made of {len(wrong)} other weights than its arguments say, such as "
            f"{shown(wrong[0])}, which is {there} and should be {asked}; it is damaged, or of another version"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in numbers.items())


def _schedule_words(schedule: NoiseSchedule) -> str:
    low, high = (float(schedule.ratio[t].sqrt()) for t in (1, schedule.T))
    return f"{schedule.name}, T={schedule.T}, sigma {low:.3g} to {high:.3g}"
