"""Folders of diffusers: a UNet2DModel, flat or nested, with its scheduler's configuration.

Formats: ``config.json`` and ``diffusion_pytorch_model.*`` in the folder, in ``unet/`` or in ``unet_ema/``;
``scheduler_config.json`` beside them or in ``scheduler/``; ``model_index.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.parametrisation import PREDICTIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.adapters.diffusers_unet import last_block
from diffcov.nets.built_by import BuiltBy
from diffcov.store.artifact import understanding
from diffcov.store.foreign.facts import Fact, Foreign, Meaning, Variation
from diffcov.store.foreign.schedules import schedule_of_config
from diffcov.store.foreign.variations import Change, predictions, times
from diffcov.store.foreign.weights import load_json, read_weights, unwrapped, weights_file

__all__ = ["is_diffusers_folder", "read_diffusers_folder"]

BUILDER = "diffcov.nets.adapters.diffusers_unet:build"
STEM = "diffusion_pytorch_model"
OF_BEFORE = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention weights before diffusers 0.12, and now."""
HEADS = "attention_head_dim"


def is_diffusers_folder(path: Path) -> bool:
    """Whether a folder looks like one of them."""
    if any((path / name).is_file() for name in ("model_index.json", "unet/config.json", "unet_ema/config.json")):
        return True
    return (path / "config.json").is_file() and "UNet2DModel" in str(_class(path))


def read_diffusers_folder(path: Path) -> Foreign:
    """The mean model of a folder.

    Raises:
        InputError: parts that are missing or damaged, or a model that is not one of images in a fixed range.
    """
    _refuse_latents(path)
    folder, average = _unet(path)
    config = load_json(folder / "config.json")
    with understanding(folder / "config.json"):
        return _read(path, folder, average, config)


def _read(path: Path, folder: Path, average: bool, config: Mapping[str, Any]) -> Foreign:
    _refuse_others(config, folder)
    file = weights_file(folder, STEM)
    if file is None:
        raise InputError(f"{folder} holds config.json and no {STEM}.safetensors or .bin; fetch the weights too")
    weights = {f"unet.{_renamed(unwrapped(name))}": tensor for name, tensor in read_weights(file).items()}
    scheduler, from_scheduler = _scheduler(path)
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    if prediction not in PREDICTIONS:
        raise InputError(f"{from_scheduler} says that the network predicts {prediction}, which is not known here")
    schedule = schedule_of_config(scheduler)
    size, classes = _size(config), int(config.get("num_class_embeds") or 0)
    reading = Reading(
        schedule,
        DataDescription(int(config.get("in_channels", 3)), *size),
        TimeConvention(1.0, 1.0),
        PREDICTIONS[prediction],
        classes,
        needs_labels=classes > 0,
        learned_range=config.get("out_channels") == 2 * int(config.get("in_channels", 3)),
    )
    plain = {name: value for name, value in config.items() if not name.startswith("_")}
    meaning = Meaning(BuiltBy(BUILDER, plain), reading, last_block(config))
    facts = (
        Fact("network", f"UNet2DModel{' (its average)' if average else ''}", str(folder / "config.json")),
        Fact("weights", f"{sum(tensor.numel() for tensor in weights.values()):,} numbers", str(file)),
        Fact("images", str(reading.data), "config.json: sample_size, in_channels"),
        Fact("classes", str(classes or "none"), "config.json: num_class_embeds"),
        Fact("learned variance", "yes" if reading.learned_range else "no", "config.json: out_channels"),
        Fact("prediction", reading.predicts, f"{from_scheduler}: prediction_type {prediction}"),
        Fact("schedule", _schedule_words(scheduler, schedule), from_scheduler),
        Fact("times", "0..T-1", "the custom of diffusers"),
        Fact("range", "[-1, 1]", "the custom of diffusers"),
        Fact("heads", _heads_words(config), "config.json: attention_head_dim"),
    )
    return Foreign("diffusers", file, meaning, weights, facts, (predictions(reading.predicts), *_open(config, weights)))


def _class(path: Path) -> Any:
    try:
        return load_json(path / "config.json").get("_class_name")
    except InputError:
        return None


def _refuse_latents(path: Path) -> None:
    index = path / "model_index.json"
    parts = load_json(index) if index.is_file() else {}
    coders = [name for name in ("vae", "vqvae", "movq") if name in parts or (path / name).is_dir()]
    if coders:
        raise InputError(
            f"{path} is a latent model ({parts.get('_class_name', 'with ' + coders[0])}): what it draws are codes of "
            f"its {coders[0]} and not images in a range, and diffcov has no use for those yet"
        )


def _unet(path: Path) -> tuple[Path, bool]:
    """The folder of the network, and whether it says that it is an average."""
    for name, average in (("unet_ema", True), ("unet", False), ("", False)):
        if (path / name / "config.json").is_file():
            return path / name if name else path, average
    raise InputError(
        f"{path} holds no config.json, neither in itself nor in unet/; give the folder of a pipeline or UNet2DModel"
    )


def _refuse_others(config: Mapping[str, Any], folder: Path) -> None:
    name = config.get("_class_name", "UNet2DModel")
    if name != "UNet2DModel":
        raise InputError(f"{folder} holds a {name}, and of diffusers' networks UNet2DModel alone is read")
    if config.get("time_embedding_type") == "fourier":
        raise InputError(
            f"{folder} has a Fourier time embedding: it is a variance-exploding (VE) model, and its schedule has no "
            "alpha_bar; VE models are not read yet"
        )
    if config.get("class_embed_type") == "identity":
        raise InputError(f"{folder} takes embeddings and not class labels (class_embed_type identity)")
    if "up_block_types" not in config:
        raise InputError(f"{folder}/config.json has no up_block_types; fetch it again")


def _renamed(name: str) -> str:
    stem, dot, end = name.rpartition(".")
    head, _, last = stem.rpartition(".")
    return f"{head}.{OF_BEFORE[last]}{dot}{end}" if last in OF_BEFORE else name


def _scheduler(path: Path) -> tuple[dict[str, Any], str]:
    for place in (path / "scheduler", path, path.parent / "scheduler"):
        file = place / "scheduler_config.json"
        if file.is_file():
            config = load_json(file)
            name = str(config.get("_class_name", ""))
            if any(word in name for word in ("Ve", "FlowMatch", "EDM", "VQ", "RePaint")):
                raise InputError(f"{file} is a {name}, and its noise is not that of a schedule with betas")
            return config, str(file)
    return {}, "no scheduler_config.json: diffusers' defaults"


def _schedule_words(config: Mapping[str, Any], schedule: NoiseSchedule) -> str:
    family = "betas as trained" if config.get("trained_betas") is not None else config.get("beta_schedule", "linear")
    zero = ", moved to end at alpha_bar 0" if config.get("rescale_betas_zero_snr") else ""
    return f"{family}, T={schedule.T}, ends at alpha_bar {float(schedule.alpha_bar[-1]):.3g}{zero}"


def _size(config: Mapping[str, Any]) -> tuple[int, int]:
    size = config.get("sample_size")
    if isinstance(size, int) and size > 0:
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise InputError("config.json has no sample_size; say how large the images are with --data or --size")


def _heads_words(config: Mapping[str, Any]) -> str:
    if HEADS not in config:
        return "8 channels wide, the library's default"
    return "one" if config[HEADS] is None else f"{config[HEADS]} channels wide"


def _open(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[Variation, ...]:
    """Heads have the same shapes whatever their width (copies have lost the key), and times may count from 1."""
    found: list[Variation] = []
    if any(".to_q." in name for name in weights):
        stated = config.get(HEADS, 8)
        sizes = [tensor.shape[0] for name, tensor in weights.items() if name.endswith(".to_q.weight")]
        widths = [w for w in dict.fromkeys([stated, 8, None, 16, 32, 64]) if not w or all(n % w == 0 for n in sizes)]
        ways = {"one head" if width is None else f"{width} wide": _configured(**{HEADS: width}) for width in widths}
        found.append(Variation("heads", ways))
    if any(".downsamplers." in name for name in weights) and config.get("downsample_type", "conv") == "conv":
        sides = {0: "right and bottom", 1: "all sides"}
        stated = int(config.get("downsample_padding", 1))
        if stated in sides:
            ways = {sides[one]: _configured(downsample_padding=one) for one in (stated, 1 - stated)}
            found.append(Variation("padding", ways))
    if config.get("time_embedding_type", "positional") == "positional":
        stated = bool(config.get("flip_sin_to_cos", True)), float(config.get("freq_shift", 0))
        words = {(True, 0.0): "cos, sin (ADM)", (False, 1.0): "sin, cos (DDPM)"}
        forms = dict.fromkeys([stated, *words])
        ways = {words.get(form, f"{form}"): _configured(flip_sin_to_cos=form[0], freq_shift=form[1]) for form in forms}
        found.append(Variation("time embedding", ways))
    found.append(times("0..T-1", "1..T"))
    return tuple(found)


def _configured(**values: Any) -> Change:
    """The same network of a configuration that differs."""

    def change(meaning: Meaning) -> Meaning:
        network = meaning.network
        assert isinstance(network, BuiltBy)
        return replace(meaning, network=BuiltBy(network.builder, {**network.arguments, **values}))

    return change
