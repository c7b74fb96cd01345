"""diffusers trains a tiny UNet2DModel on the digits: foreign code, real training, saved as a pipeline to be imported.

Run: python benchmarks/foreign_digits.py FOLDER [--iterations N] [--prediction epsilon|v_prediction|sample]
Then: diffcov import FOLDER --data digits --run RUN; estimate-var, fit-var-head, compare, export as for any run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from diffcov.store.datasets import load_images

BATCH, WARMUP, DECAY = 128, 100, 0.999


def main() -> None:
    """Train and save; the weights saved are averaged over iterations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--prediction", default="epsilon")
    given = parser.parse_args()
    torch.manual_seed(0)
    images = load_images("digits")
    x = images.description.encode(images.images)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, attention_head_dim=16,
    )  # fmt: skip
    scheduler = DDPMScheduler(1000, prediction_type=given.prediction)
    average = {name: value.clone() for name, value in unet.state_dict().items()}
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / WARMUP))
    for iteration in range(given.iterations):
        x_0 = x[torch.randint(len(x), (BATCH,))]
        eps, t = torch.randn_like(x_0), torch.randint(1000, (BATCH,))
        target = {"epsilon": eps, "sample": x_0, "v_prediction": scheduler.get_velocity(x_0, eps, t)}[given.prediction]
        loss = (unet(scheduler.add_noise(x_0, eps, t), t).sample - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rate.step()
        decay = min(DECAY, (1 + iteration) / (10 + iteration))
        for name, value in unet.state_dict().items():
            average[name].lerp_(value, 1 - decay) if value.is_floating_point() else average[name].copy_(value)
        if iteration % 100 == 0 or iteration == given.iterations - 1:
            print(f"iteration {iteration + 1}: loss {float(loss.detach()):.4f}", flush=True)  # noqa: T201
    unet.load_state_dict(average)
    DDPMPipeline(unet.eval(), scheduler).save_pretrained(given.folder)


if __name__ == "__main__":
    main()
