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

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffcov.errors import NonFiniteError, UsageError
from diffcov.mean_model import MeanModel
from diffcov.noise import ImageNoise, generator
from diffcov.process import q_sample
from diffcov.sampling import Sampler, sample

__all__ = ["fit_eps_scale"]


@torch.inference_mode()
def fit_eps_scale(
    model: MeanModel, sampler: Sampler, images: Tensor, *, count: int, seed: int = 0, batch_size: int = 256
) -> tuple[float, ...]:
    """The scale at each time of the sampler's trajectory.

    Both paths of a sample start from the same draw. That takes most of the scatter out of the ratio, and nearly all of
    it at t = T, where an error of the scale would be multiplied by sqrt(r).

    Args:
        model: the mean model, frozen.
        sampler: how samples are drawn; its own scales are not used.
        images: (N, C, H, W) uint8 on the model's device, of the data; sample k belongs to image ``order[k mod N]`` of a
            fixed shuffle.
        count: samples. Each batch of them walks on the path that its own scales make.
        seed: of the shuffle and of both paths' noise.
        batch_size: images a network call.

    Returns:
        K positive numbers, in the order of the trajectory's times.

    Raises:
        UsageError: a count or a batch size below 1.
        NonFiniteError: NaN or infinity on either path.
    """
    if count < 1 or batch_size < 1:
        raise UsageError(f"a scale of eps_hat is fitted on at least one sample, found {count} in {batch_size} a batch")
    times, plain = sampler.trajectory.times, replace(sampler, eps_scale=())
    order = torch.randperm(images.shape[0], generator=generator(seed, "eps-scale-order"))
    forward, sampled = dict.fromkeys(times, 0.0), dict.fromkeys(times, 0.0)
    for first in range(0, count, batch_size):
        numbers = range(first, min(first + batch_size, count))
        x_0 = model.data.encode(images[order[torch.tensor(numbers) % len(order)].to(images.device)])
        own = _forward_powers(model, x_0, _start(model, numbers, seed).draw(), times)
        found: dict[int, float] = {}

        def scale(t: int, eps_hat: Tensor, own: dict[int, float] = own, found: dict[int, float] = found) -> float:
            found[t] = _power(eps_hat)
            return math.sqrt(found[t] / own[t])

        sample(model, plain, _start(model, numbers, seed), scale=scale)
        for t in times:
            forward[t] += own[t]
            sampled[t] += found[t]
    return tuple(math.sqrt(sampled[t] / forward[t]) for t in times)


def _start(model: MeanModel, indices: range, seed: int) -> ImageNoise:
    return ImageNoise(seed, indices, model.data.shape, model.device, purpose="eps-scale")


def _power(eps_hat: Tensor) -> float:
    return float(eps_hat.square().sum(dtype=torch.float64))


def _forward_powers(model: MeanModel, x_0: Tensor, eps: Tensor, times: Sequence[int]) -> dict[int, float]:
    """sum ||eps_hat||^2 over images noised by ``eps``, at each time."""
    powers = {t: _power(model.predict_at(q_sample(model.schedule, x_0, t, eps), t).eps_hat) for t in times}
    if not all(0 < power < math.inf for power in powers.values()):
        raise NonFiniteError(
            "the network predicts no noise, or NaN or infinity; the mean model is broken: train it again"
        )
    return powers
