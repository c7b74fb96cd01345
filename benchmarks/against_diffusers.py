"""This program beside diffusers: a training step and a sampling by networks of the same size, and of the same network.

UNet2DModel is built with the same widths, levels, attention and time embedding: the same number of multiplications,
and parameters equal to 0.01 %. Their training step is that of their own unconditional training example (add_noise,
mse_loss, clip_grad_norm_, AdamW, EMAModel); their sampling is DDIMPipeline. Imported, their network is sampled by both
programs.

Run: python benchmarks/against_diffusers.py [--repeats N] [--out benchmarks/results/against-diffusers-NAME.json]
(needs diffusers)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from sizes import SIZES, Size
from speed import random_examples, session_for, steps
from timing import asked, pair, report
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from diffcov import MeanModel, Sampler, View, draw, make_covariance, through
from diffcov.nets.adapters.diffusers_unet import DiffusersUNet
from diffcov.runtime import keep_freed_memory

STEPS = 10


def theirs(size: Size) -> UNet2DModel:
    """The same U-Net, built by them."""
    of = size.network
    attends = [side in of.attention for side in of.sides]
    down = tuple("AttnDownBlock2D" if attention else "DownBlock2D" for attention in attends)
    up = tuple("AttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(attends))
    return UNet2DModel(
        sample_size=of.height, in_channels=of.image_channels, out_channels=of.image_channels,
        layers_per_block=of.blocks, block_out_channels=tuple(of.channels * factor for factor in of.multipliers),
        down_block_types=down, up_block_types=up, resnet_time_scale_shift="scale_shift",
        attention_head_dim=of.channels * of.multipliers[-1] // of.heads,
    )  # fmt: skip


def training(size: Size, count: int) -> Callable[[], None]:
    """``count`` training steps of theirs on images in memory."""
    network, scheduler = theirs(size), DDPMScheduler(1000)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    average = EMAModel(network.parameters(), decay=0.9999, model_cls=UNet2DModel, model_config=network.config)
    images = random_examples(size.spec).images.float() / 127.5 - 1

    def run() -> None:
        for _ in range(count):
            clean = images[torch.randint(len(images), (size.batch,))]
            noise, t = torch.randn_like(clean), torch.randint(0, 1000, (size.batch,))
            F.mse_loss(network(scheduler.add_noise(clean, noise, t), t).sample, noise).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average.step(network.parameters())

    return run


def pipeline(network: UNet2DModel, batch: int) -> Callable[[], Any]:
    """DDIM by their pipeline, eta = 0, as a numpy array."""
    pipe = DDIMPipeline(network.eval(), DDIMScheduler(1000))
    pipe.set_progress_bar_config(disable=True)
    return lambda: pipe(batch_size=batch, num_inference_steps=STEPS, output_type="np", return_dict=False)


def sampling(mean: MeanModel, batch: int) -> Callable[[], Any]:
    """DDIM here, eta = 0, as uint8."""
    sampler = Sampler.of(through(mean, View(clip_x0=True)), make_covariance("small", mean), solver="ddim", steps=STEPS)
    return lambda: draw(sampler, batch, batch_size=batch)


def multiplications(call: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def beside(size: Size, repeats: int) -> dict[str, object]:
    """Both programs on one size: A here, B there."""
    mean, network = size.spec.build().freeze(), theirs(size)
    data, schedule = size.spec.reading.data, size.spec.reading.schedule
    x, t = torch.randn(2, *data.shape), torch.zeros(2)
    imported = MeanModel.of(DiffusersUNet(network), predicts="eps", schedule=schedule, data=data)
    pipe = pipeline(network, size.batch)
    return {
        "flops": [multiplications(lambda: mean.network(x, t)), multiplications(lambda: network(x, t))],
        "parameters": [sum(p.numel() for p in net.parameters()) for net in (mean.network, network)],
        "training_step": pair(steps(*session_for(size.spec, size.batch), 2), training(size, 2), repeats),
        "sampling": pair(sampling(mean, size.batch), pipe, repeats),
        "sampling_same_network": pair(sampling(imported, size.batch), pipe, repeats),
    }


def main() -> None:
    """Take every measurement and print it as JSON."""
    options = asked(__doc__, 7)
    keep_freed_memory()
    report({name: beside(size, options.repeats) for name, size in SIZES.items()}, options.out)


if __name__ == "__main__":
    main()
