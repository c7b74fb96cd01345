"""From what was asked for to everything a training needs: flat settings, and the objects they stand for.

Settings are one flat dictionary of plain values, named as the command line's options. They are stored with the
state, so that a resumed training rebuilds itself and a changed option can be noticed by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.engines.training.config import TrainingConfig
from diffcov.engines.training.head_fit import head_covariance
from diffcov.engines.training.presets import HEAD, HEAD_ARCHITECTURE, PRESETS, choose_preset, network_for
from diffcov.errors import InputError, UsageError
from diffcov.nets.unet import UNetConfig
from diffcov.store.datasets import canonical_source

__all__ = [
    "HEADS_OF_BEFORE",
    "HEAD_SHAPE_FIELDS",
    "OF_BEFORE",
    "SHAPE_FIELDS",
    "canonical_head_options",
    "default_kinds",
    "head_architecture",
    "head_settings",
    "mean_settings",
    "mean_spec",
    "training_config",
]

IMAGE_FIELDS = ("image_channels", "height", "width")
NETWORK_FIELDS = tuple(f.name for f in fields(UNetConfig) if f.name not in IMAGE_FIELDS)
TRAINING_FIELDS = tuple(f.name for f in fields(TrainingConfig))

SHAPE_FIELDS = frozenset(
    {*NETWORK_FIELDS, "data", "limit", "size", "crop", "drop_alpha", "preset", "predict", "schedule", "timesteps"}
    - {"dropout"}
)
"""Settings that the stored weights depend on: no resumption can change them."""

CALLED_BEFORE: Mapping[str, Any] = {"compile": "off", "layout": "contiguous"}
"""How an earlier version called a network, and how one is called as long as nothing else was chosen."""

OF_BEFORE: Mapping[str, Any] = {
    "predict": "eps",
    "classes": 0,
    "label_dropout": 0.0,
    "size": None,
    "crop": None,
    "drop_alpha": False,
    **CALLED_BEFORE,
}
"""What a mean was whose training an earlier version began, which could not say otherwise."""

HEAD_SHAPE_FIELDS = frozenset(
    {"kind", "head", "loss", "data", "limit", "size", "crop", "drop_alpha", "guidance", "trunk"}
)
"""The same for a fit of heads."""

HEADS_OF_BEFORE: Mapping[str, Any] = {
    "guidance": 1.0,
    "size": None,
    "crop": None,
    "drop_alpha": False,
    "held_out": 0,
    **CALLED_BEFORE,
}
"""What a fit was that an earlier version began."""


def mean_settings(given: Mapping[str, Any], data: DataDescription, gpu: bool) -> dict[str, Any]:
    """All settings of a mean training: the preset's, with what was given in their place.

    Args:
        given: settings by name; absent ones are filled in. ``classes`` is the number of classes, 0 for none.
        data: the images, from which the preset is chosen if it is not given.
        gpu: whether there is one, which chooses too.

    Raises:
        UsageError: a value outside its range, or a combination that no network has.
    """
    name = given.get("preset") or choose_preset(data, gpu)
    preset = PRESETS[name]
    network = network_for(preset, data, {k: v for k, v in given.items() if k in NETWORK_FIELDS}).as_dict()
    training = replace(preset.training, **{k: v for k, v in given.items() if k in TRAINING_FIELDS}).as_dict()
    settings = {
        "data": given["data"],
        "limit": given.get("limit"),
        "size": given.get("size"),
        "crop": given.get("crop"),
        "drop_alpha": given.get("drop_alpha", False),
        "preset": name,
        "predict": given.get("predict", "eps"),
        "label_dropout": given.get("label_dropout", 0.0),
        "schedule": given.get("schedule", "linear"),
        "timesteps": given.get("timesteps", 1000),
        **{k: list(v) if isinstance(v, tuple) else v for k, v in network.items() if k in NETWORK_FIELDS},
        **training,
        **CALLED_BEFORE,
    }
    mean_spec(settings, data)
    return settings


def _check_dropout(label_dropout: float, classes: int) -> None:
    if not 0 <= label_dropout < 1:
        raise UsageError(f"--label-dropout must be in [0, 1), found {label_dropout}")
    if label_dropout and not classes:
        raise UsageError("--label-dropout leaves labels out, and there are none without --classes")


def mean_spec(settings: Mapping[str, Any], data: DataDescription) -> MeanSpec:
    """The model that the settings describe.

    Its network counts times from 0 and always sees them in 0..1000, as the published ones do. Settings that an earlier
    version did not have are as they were then.

    Raises:
        UsageError: a value outside its range.
    """
    try:
        schedule: NoiseSchedule = FAMILIES[settings["schedule"]](settings["timesteps"])
    except InputError as error:
        raise UsageError(f"--timesteps {settings['timesteps']}: {error}") from error
    network = UNetConfig.from_dict(
        {
            "image_channels": data.channels,
            "height": data.height,
            "width": data.width,
            **{name: settings[name] for name in NETWORK_FIELDS if name in settings},
        }
    )
    _check_dropout(settings.get("label_dropout", 0.0), network.classes)
    reading = Reading(
        schedule,
        data,
        TimeConvention.spanning_thousand(schedule.T),
        settings.get("predict", "eps"),
        network.classes,
        needs_labels=network.classes > 0 and not settings.get("label_dropout"),
    )
    return MeanSpec(network, reading, settings["precision"])


def training_config(settings: Mapping[str, Any]) -> TrainingConfig:
    """The training part of the settings."""
    return TrainingConfig(**{name: settings[name] for name in TRAINING_FIELDS})


def canonical_head_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a fit as they are stored: each kind once and in the registry's order, an absolute data source.

    Raises:
        UsageError: a kind of head that does not exist.
    """
    out = dict(given)
    if "kind" in given:
        for kind in given["kind"]:
            head_covariance(kind)
        out["kind"] = [kind for kind in registry.heads() if kind in given["kind"]]
    if "data" in given:
        out["data"] = canonical_source(given["data"])
    return out


def head_settings(given: Mapping[str, Any], mean: Mapping[str, Any], trunk: str) -> dict[str, Any]:
    """All settings of a fit of heads.

    Flips and precision are the mean's unless given: a head sees its trunk as the trunk was trained. Kinds are those
    that share one plain pass: the curvature, which doubles the cost of a step, has to be asked for.

    Args:
        given: from :func:`canonical_head_options`; absent ones are filled in.
        mean: the mean's settings, empty where they are not known.
        trunk: digest of the mean model.

    Raises:
        UsageError: a value outside its range.
    """
    own = {name: mean[name] for name in ("flip", "precision") if name in mean}
    training = replace(HEAD, **{**own, **{k: v for k, v in given.items() if k in TRAINING_FIELDS}}).as_dict()
    return {
        "kind": given.get("kind", default_kinds(given.get("loss"))),
        "loss": given.get("loss"),
        "head": head_architecture(given),
        "trunk": trunk,
        "data": given.get("data"),
        "limit": given.get("limit"),
        "size": given.get("size"),
        "crop": given.get("crop"),
        "drop_alpha": given.get("drop_alpha", False),
        "guidance": given.get("guidance", 1.0),
        **training,
        **CALLED_BEFORE,
    }


def head_architecture(given: Mapping[str, Any]) -> str:
    """The architecture of heads per pixel that was given, or the usual one."""
    return str(given.get("head", HEAD_ARCHITECTURE))


def default_kinds(loss: str | None) -> list[str]:
    """Kinds that share one plain pass, of those that are fitted by this loss (None: each by its own)."""
    kinds = {kind: head_covariance(kind) for kind in registry.unasked_heads()}
    return [name for name, kind in kinds.items() if loss is None or loss in kind.losses]
