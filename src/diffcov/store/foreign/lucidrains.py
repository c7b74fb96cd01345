"""Checkpoints of denoising-diffusion-pytorch: ``model-N.pt`` of its trainer, or the state of a GaussianDiffusion.

The schedule stands in the buffers, and what the network predicts is read off the weights of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.facts import Fact, Foreign, Meaning
from diffcov.store.foreign.variations import times
from diffcov.store.foreign.weights import state_dict_of

__all__ = ["is_lucidrains", "read_lucidrains"]

BUILDER = "diffcov.nets.adapters.lucidrains:build"
NETWORK = "model."
MIN_SNR = 5.0
"""The largest weight of min-SNR, where it is used (arXiv 2303.09556)."""


def is_lucidrains(values: Any) -> bool:
    """Whether what a file holds is one of theirs."""
    if not isinstance(values, Mapping):
        return False
    inner = values.get("model")
    state = inner if isinstance(inner, Mapping) else values
    return "loss_weight" in state and f"{NETWORK}init_conv.weight" in state


def read_lucidrains(values: Mapping[str, Any], source: Path, size: tuple[int, int] | None) -> Foreign:
    """The mean model of what :func:`is_lucidrains` recognised; the average where there is one.

    Raises:
        InputError: a network of another kind (self-conditioned, Fourier features), or an unknown objective.
    """
    state, averaged = _state(values)
    tensors = state_dict_of(state, source)
    weights = {name.removeprefix(NETWORK): tensor for name, tensor in tensors.items() if name.startswith(NETWORK)}
    betas = tensors["betas"].double()
    schedule = NoiseSchedule.from_betas(betas)
    predicts, how = _objective(tensors["loss_weight"].double(), schedule)
    arguments = _arguments(weights)
    data = DataDescription(arguments["channels"], *(size or (32, 32)))
    learned = arguments["out_channels"] == 2 * arguments["channels"]
    reading = Reading(schedule, data, TimeConvention(1.0, 1.0), predicts, learned_range=learned)
    facts = (
        Fact("network", f"U-Net of denoising-diffusion-pytorch{' (its average)' if averaged else ''}", str(source)),
        Fact("weights", f"{sum(tensor.numel() for tensor in weights.values()):,} numbers", str(source)),
        Fact("images", str(data), "the size is that of --data or --size" if size else "the size is assumed"),
        Fact("learned variance", "yes" if learned else "no", "final_conv.weight"),
        Fact("prediction", predicts, f"loss_weight, which is {how}"),
        Fact("schedule", f"T={schedule.T}, ends at alpha_bar {float(schedule.alpha_bar[-1]):.3g}", "its buffer betas"),
        Fact("times", "0..T-1", "the custom of that library"),
        Fact("range", "[-1, 1]", "the custom of that library (auto_normalize)"),
    )
    return Foreign(
        "denoising-diffusion-pytorch", source, Meaning(BuiltBy(BUILDER, arguments), reading), weights, facts,
        (times("0..T-1", "1..T", "0..1000 for any T"),),
    )  # fmt: skip


def _state(values: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    average = values.get("ema")
    if isinstance(average, Mapping):
        prefix = "ema_model."
        found = {name.removeprefix(prefix): value for name, value in average.items() if name.startswith(prefix)}
        if f"{NETWORK}init_conv.weight" in found:
            return found, True
    inner = values.get("model")
    return dict(inner if isinstance(inner, Mapping) else values), False


def _objective(weight: Tensor, schedule: NoiseSchedule) -> tuple[str, str]:
    """What is predicted, and in words what the weights of the loss are."""
    snr = (schedule.alpha_bar / schedule.beta_bar)[1:]
    for cap, said in ((float("inf"), ""), (MIN_SNR, ", capped (min-SNR)")):
        capped = snr.clamp(max=cap)
        known = {"eps": (capped / snr, "1"), "x0": (capped, "the SNR"), "v": (capped / (snr + 1), "SNR / (SNR + 1)")}
        for name, (expected, words) in known.items():
            if torch.allclose(weight, expected, rtol=1e-2, atol=1e-6):
                return name, words + said
    raise InputError("the weights of its loss say neither eps nor x0 nor v; say what it predicts with --prediction")


def _arguments(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the network was built with, from the shapes of its weights."""
    if "time_mlp.0.weights" in weights:
        raise InputError("its time embedding has random or learned Fourier features, which are not read yet")
    try:
        first, out = weights["init_conv.weight"], weights["final_conv.weight"]
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("downs."))
        levels = range(depth)
        ends = [weights.get(f"downs.{i}.3.1.weight", weights.get(f"downs.{i}.3.weight")) for i in levels]
        memories = [weights[f"downs.{i}.2.mem_kv"] for i in levels]
        full = [f"downs.{i}.2.to_out.weight" in weights for i in levels]
        channels = first.shape[1]
        if out.shape[0] not in (channels, 2 * channels):
            raise InputError(
                f"it takes {channels} channels and gives {out.shape[0]}: a self-conditioned network, which is not "
                "read yet"
            )
        memory, width = memories[0].shape[-2:] if full[0] else memories[0].shape[:-3:-1]
        return {
            "channels": channels,
            "out_channels": out.shape[0],
            "widths": [first.shape[0], *(end.shape[0] for end in ends if end is not None)],
            "time_width": weights["time_mlp.1.weight"].shape[1],
            "full": full,
            "heads": [one.shape[1] for one in memories],
            "head_width": int(width),
            "memory": int(memory),
        }
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"its U-Net is of another version than the one that is read ({error}); versions from 1.9 on are"
        ) from error
