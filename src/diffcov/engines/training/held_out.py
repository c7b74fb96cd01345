"""What a fit of heads is judged by: images that it leaves out, and steps of the length that samples are drawn by."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.data import Examples, ExampleSet
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.batches import NoisyBatches
from diffcov.errors import InputError
from diffcov.noise import generator

__all__ = ["STEPS", "HeldOut", "held_out_count", "hold_out", "step_gain"]

STEPS = 10
"""Heads are judged by the even DDPM steps of a chain of so many."""
SHARE, MOST = 10, 256
"""One image in ten is held out, and never more than 256."""
LOOKS, BATCH = 256, 128
"""An evaluation takes so many looks at them, so many at a time; the same images, times and noise every time."""
SEED = 20260713
"""Part of what is held out and of how it is looked at, whatever the seed of the fit: another would not compare."""


def held_out_count(images: int) -> int:
    """How many of a number of images are held out.

    Raises:
        InputError: a single image.
    """
    if images < 2:
        raise InputError(
            f"fitting stops by images that are held out, which takes at least 2 and found {images}; give more images, "
            "or fit without by --patience 0"
        )
    return min(MOST, max(1, images // SHARE))


def hold_out(examples: ExampleSet, count: int) -> tuple[ExampleSet, Examples]:
    """(the images to fit on, ``count`` that are held out): a fixed pseudo-random choice, each in the given order.

    The former stay where they are, on disk or in memory; the latter are few and are read at once.
    """
    shuffled = torch.randperm(len(examples), generator=generator(SEED, "held out"))
    fitted, held = shuffled[count:].sort().values, shuffled[:count].sort().values
    return examples.subset(fitted), examples[held]


class HeldOut(NoisyBatches):
    """Looks at held-out images: batches that are the same at every evaluation, of all times alike.

    Args:
        examples: the images, on the device that fits.
        like: the batches that heads are fitted on.
    """

    def __init__(self, examples: Examples, like: NoisyBatches) -> None:
        super().__init__(examples, like.data, like.schedule, BATCH, flip=False, seed=SEED)

    @property
    def count(self) -> int:
        """Number of batches of an evaluation."""
        return LOOKS // BATCH


def step_gain(schedule: NoiseSchedule) -> Tensor:
    """How long the step of a chain of :data:`STEPS` steps that leaves from each time is; (T+1,) float64 >= 0.

    gamma^2 r_t / lambda2 of the DDPM step from t to t - T / STEPS, but never past 1: the variance of eps_hat's error at
    which the step is as uncertain of x_0 as of its own noise is 1 / gain. Nothing leaves from 1 or arrives at 0.
    """
    t = torch.arange(1, schedule.T + 1)
    s = (t - max(1, schedule.T // STEPS)).clamp(min=1)
    gain = torch.zeros(schedule.T + 1, dtype=torch.float64)
    gain[1:] = schedule.snr_gain(s, t) * schedule.ratio[1:]
    return gain
