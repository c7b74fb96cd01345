"""What a network to be trained can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.engines.training.preset_values import preset_values
from diffcov.store.paths import expanded_text
from diffcov.study.options import option, whole_numbers
from diffcov.study.requests.phrases import DATA, LIMIT, NETWORK, TRAINING, names

__all__ = ["MemoryChoice", "NetworkChoice"]


@dataclass(frozen=True)
class NetworkChoice:
    """What is trained; None leaves it to the preset, and the images to the digits."""

    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    limit: int | None = option(None, LIMIT, metavar="N", least=1)
    preset: Literal["small", "digits", "mnist", "cifar10"] | None = option(
        None,
        "A set of defaults for the network and its training.",
        shown="the one that fits the images and the device",
    )
    predict: str | None = option(
        None,
        f"What the network predicts: {'; '.join(f'{name}, {one.summary}' for name, one in PARAMETRISATIONS.items())}.",
        metavar=names(list(PARAMETRISATIONS)).replace(", ", "|"),
        words=lambda: list(PARAMETRISATIONS),
        shown="eps",
        panel=NETWORK,
    )
    classes: bool | None = option(
        None,
        "Tell the network the class of each image, from the labels of the data.",
        "--classes/--no-classes",
        panel=NETWORK,
    )
    label_dropout: float | None = option(
        None,
        "Share of the images whose class is not told to the network, which guidance needs; 0.1 is usual.",
        metavar="P",
        shown="0",
        panel=NETWORK,
    )
    channels: int | None = option(
        None,
        "Channels of the first level of the network (a U-Net), its base width.",
        metavar="N",
        shown=preset_values("channels"),
        panel=NETWORK,
    )
    multipliers: tuple[int, ...] | None = option(
        None,
        "Width factor of each level, from the image's own size down: a level has the base width times its factor.",
        metavar="N,N,..",
        shown=preset_values("multipliers"),
        many=True,
        parse=whole_numbers("--multipliers", "1,2,2"),
        panel=NETWORK,
    )
    blocks: int | None = option(
        None, "Residual blocks in each level.", metavar="N", shown=preset_values("blocks"), panel=NETWORK
    )
    attention: tuple[int, ...] | None = option(
        None,
        "Sizes, in pixels of the shorter side, of the levels that have attention, or none.",
        metavar="N,N,..|none",
        shown="a level, counted from 0: " + preset_values("attention_levels"),
        many=True,
        none="none",
        parse=whole_numbers("--attention", "8,16"),
        panel=NETWORK,
    )
    heads: int | None = option(
        None, "Number of attention heads.", metavar="N", shown=preset_values("heads"), panel=NETWORK
    )
    dropout: float | None = option(
        None,
        "Share of units that are dropped at random in training.",
        metavar="X",
        shown=preset_values("dropout"),
        panel=NETWORK,
    )
    scale_shift: bool | None = option(
        None,
        "Let the embedding of the time scale and shift the normalised activations, and not only be added to them.",
        "--scale-shift/--no-scale-shift",
        shown="scale-shift",
        panel=NETWORK,
    )
    schedule: Literal["linear", "cosine", "vp"] | None = option(
        None, "Noise schedule: how the noise grows with the time.", shown="linear", panel=NETWORK
    )
    timesteps: int | None = option(
        None,
        "Number T of time steps of the schedule that the network is trained on.",
        metavar="T",
        shown="1000",
        panel=NETWORK,
    )


@dataclass(frozen=True)
class MemoryChoice:
    """How to train in less memory; up to rounding (and which units are dropped) the training is the same."""

    accumulate: int = option(
        1,
        "Number of parts in which each batch is computed, one after the other, to save memory.",
        metavar="N",
        least=1,
        panel=TRAINING,
    )
    checkpoint_activations: bool = option(
        False,
        "Compute activations again in the backward pass instead of keeping them: less memory, a third more time.",
        "--checkpoint-activations",
        panel=TRAINING,
    )
