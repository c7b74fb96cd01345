"""How much longer eps_hat is on the sampled path than on the forward path, and the scale that undoes it.

On x_t that it made itself the network predicts more noise than on x_t made from data: the steps before left errors that
look like noise, and taking them for noise takes too much away. Dividing eps_hat by

    scale_t = sqrt(E||eps_hat||^2 on the sampled path / E||eps_hat||^2 on the forward path)

puts its norm back to what the mean was trained for. Scales are found from the first step on, each on the path that the
scales before it have made, so one pass over a batch of samples finds all of them. No distance is looked at.

Source: arXiv 2301.11706 names the bias. Scaling eps_hat is that of arXiv 2308.15321; there the scale is searched by the
distance of samples, here it is measured at each time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffcov.errors import UsageError
from diffcov.mean_model import MeanModel
from diffcov.noise import ImageNoise
from diffcov.process import q_sample
from diffcov.sampling import Sampler, sample

__all__ = ["fit_eps_scale"]


def fit_eps_scale(
    model: MeanModel, sampler: Sampler, images: Tensor, *, count: int = 512, seed: int = 0, batch_size: int = 256
) -> tuple[float, ...]:
    """The scale at each time of the sampler's trajectory.

    Args:
        model: the mean model, frozen.
        sampler: how samples are drawn; its own scales are not used.
        images: (N, C, H, W) uint8 on the model's device, of the data; used in turn.
        count: samples, all in one batch.
        seed: of both paths' noise.
        batch_size: images a network call on the forward path.

    Returns:
        K positive numbers, in the order of the trajectory's times.

    Raises:
        UsageError: a count below 1.
        NonFiniteError: NaN or infinity on either path.
    """
    if count < 1:
        raise UsageError(f"a scale of eps_hat is fitted on at least one sample, found {count}")
    norms = _forward_norms(model, images[torch.arange(count) % images.shape[0]], sampler, seed, batch_size)
    scales: dict[int, float] = {}

    def scale(t: int, eps_hat: Tensor) -> float:
        scales[t] = (float(eps_hat.square().mean(dtype=torch.float64)) / norms[t]) ** 0.5
        return scales[t]

    sample(model, replace(sampler, eps_scale=()), _start(model, range(count), seed), scale=scale)
    return tuple(scales[t] for t in sampler.trajectory.times)


def _start(model: MeanModel, indices: range, seed: int) -> ImageNoise:
    return ImageNoise(seed, indices, model.data.shape, model.device, purpose="eps-scale")


@torch.inference_mode()
def _forward_norms(model: MeanModel, images: Tensor, sampler: Sampler, seed: int, batch_size: int) -> dict[int, float]:
    """E||eps_hat||^2 / d at each time, on images noised by the draws that the samples start from.

    Sharing the draws takes most of the scatter out of the ratio, and all of it at t = T, where both paths are the same
    and an error of the scale would be multiplied by sqrt(r).
    """
    totals = dict.fromkeys(sampler.trajectory.times, 0.0)
    for first in range(0, len(images), batch_size):
        x_0 = model.data.encode(images[first : first + batch_size])
        eps = _start(model, range(first, first + len(x_0)), seed).draw()
        for t in totals:
            eps_hat = model.predict_at(q_sample(model.schedule, x_0, t, eps), t).eps_hat
            totals[t] += float(eps_hat.square().mean(dtype=torch.float64)) * len(x_0) / len(images)
    return totals
