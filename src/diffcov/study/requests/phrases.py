"""What help says of options that several commands have, each sentence once, and the panels that they stand in."""

from __future__ import annotations

from collections.abc import Sequence

from diffcov.covariance.registry import COVARIANCES

__all__ = [
    "BATCH_SIZE",
    "CLIP_X0",
    "COMPILE",
    "COVARIANCE",
    "DATA",
    "DEVICE",
    "FORCE",
    "GUIDANCE",
    "LIMIT",
    "NETWORK",
    "PRECISION",
    "RUN",
    "RUNNING",
    "SAMPLING",
    "SEED",
    "TRAINING",
    "names",
]

RUNNING = "Running"
SAMPLING = "Sampling"
TRAINING = "Training"
NETWORK = "Network"
"""Panels of the help text."""


def names(first: Sequence[str]) -> str:
    """Names in a row, for a help text."""
    return ", ".join(first)


PRECISION = (
    "Precision inside the network; everything else is float32 or better. auto tries both and takes bf16 where that is "
    "quicker."
)
COMPILE = (
    "Whether to compile the network. auto does where the work is long and a trial is quicker; off also keeps its "
    "memory layout."
)
DEVICE = "Where the network runs: auto (a GPU if there is one), cpu, cuda, cuda:1, ..."
SEED = "Seed of everything random."
BATCH_SIZE = "Images that go through the network in one call."
FORCE = "Replace what is already there."
LIMIT = "Use only N of the images, a random choice that is always the same."
RUN = "Folder of the run, which all commands share: each finds there what the others left."


DATA = (
    "The images: digits (they come with the package), a folder or zip of pictures, .npy or .npz, idx (.gz too), "
    "parquet, or a CIFAR archive."
)
COVARIANCE = (
    "How uncertain the image is said to be at a step: auto (what compare found best, else the best that the run "
    f"holds), {names(list(COVARIANCES))}."
)
CLIP_X0 = "Keep the predicted image x0_hat in the range of the data."
GUIDANCE = "Weight of classifier-free guidance. 1 is none; any other takes two network calls a step."
