"""A network that learned a range, trained here as it was published: by the bound, with the mean held fixed."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.unet import UNet

__all__ = ["learn_range"]


def learn_range(
    network: UNet, reading: Reading, images: Tensor, iterations: int = 150, spread: int = 5, seed: int = 0
) -> None:
    """Train the second half of the output of a U-Net on steps of about ``spread`` times; its trunk and mean stay.

    The loss is KL(q(x_s|x_t,x_0) || N(mean, exp(f log beta + (1 - f) log beta_tilde))), arXiv 2102.09672, section 3.1.

    Args:
        network: with ``learned_range``; what of it is trained is the second half of its last convolution.
        reading: of the network, which predicts eps.
        images: (N, C, H, W) uint8.
        iterations: of Adam, 64 images each.
        spread: the steps' length.
        seed: of everything.
    """
    schedule, data = reading.schedule, reading.data
    draw = torch.Generator().manual_seed(seed)
    last, channels = network.out[2], data.channels
    weight = last.weight[channels:].detach().clone().requires_grad_(True)
    bias = last.bias[channels:].detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([weight, bias], lr=0.03)
    for _ in range(iterations):
        x_0 = data.encode(images[torch.randint(len(images), (64,), generator=draw)], torch.float32)
        t = torch.randint(2, schedule.T + 1, (64,), generator=draw)
        eps = torch.randn(x_0.shape, generator=draw)
        with torch.no_grad():
            x_t = q_sample(schedule, x_0, t, eps)
            output, features = network(x_t, reading.time(t))
            ready = network.out[:2](features.activations)
        v = torch.nn.functional.conv2d(ready, weight, bias, padding=1)
        loss = _nats(schedule, data, x_0, x_t, output[:, :channels], v, t, spread).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        last.weight[channels:] = weight
        last.bias[channels:] = bias


def _nats(
    schedule: NoiseSchedule, data: DataDescription, x_0: Tensor, x_t: Tensor, eps_hat: Tensor, v: Tensor, t: Tensor,
    spread: int,
) -> Tensor:  # fmt: skip
    """The KL of the steps from t to t - spread, by value."""
    s = (t - spread).clamp(min=1)
    abar_s, abar_t = (schedule.alpha_bar[one].float()[:, None, None, None] for one in (s, t))
    beta = 1 - abar_t / abar_s
    tilde = beta * (1 - abar_s) / (1 - abar_t)
    x0_hat = ((x_t - (1 - abar_t).sqrt() * eps_hat) / abar_t.sqrt()).clamp(data.low, data.high)
    error_sq = (abar_s.sqrt() * beta / (1 - abar_t) * (x_0 - x0_hat)).square()
    share = (v + 1) / 2
    log_var = share * beta.log() + (1 - share) * tilde.log()
    return 0.5 * (log_var - tilde.log() + (tilde + error_sq) / log_var.exp() - 1)
