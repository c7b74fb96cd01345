"""A pipeline of diffusers for means and covariances of diffcov; it needs torch and diffusers.

pipeline = DiffusionPipeline.from_pretrained("folder", trust_remote_code=True)
images = pipeline(batch_size=16, num_inference_steps=10).images

It does what a pipeline of a network and a scheduler alone cannot: at every step a head sees the network's features and
says how uncertain each pixel is; networks are told classes; images have the range that they were trained with. And the
first x_t is a draw of the Gaussian of the images, where the sampler starts below T.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from diffcov.denoiser.taps import EMBEDDING, tap_for
from diffcov.nets.adapters.diffusers_unet import DiffusersUNet
from diffcov.nets.blocks import single_or_double, timestep_embedding
from diffcov.nets.features import Features

__all__ = ["DiffcovPipeline"]

UNLABELLED = -1
FEW = 10
"""Steps where neither the sampler nor anybody else says how many."""


class DiffcovPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Images in few steps.

    Args:
        unet: the network, of diffcov or a UNet2DModel.
        scheduler: a DiffcovScheduler.
        head: a DiffcovHead, where the covariance has one.
        features: the submodule of the network whose output the head reads; None: what the network offers, else its
            input and output.
        classes: number of classes that the network knows; 0: none.
        needs_labels: whether it has never seen an image without a class.
    """

    model_cpu_offload_seq = "unet->head"
    _optional_components = ("head",)

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        head: Any = None,
        features: str | None = None,
        classes: int = 0,
        needs_labels: bool = False,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, head=head)
        self.register_to_config(features=features, classes=classes, needs_labels=needs_labels)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int | None = None,
        class_labels: Any = None,
        timesteps: list[int] | None = None,
        generator: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw images.

        Args:
            batch_size: B.
            num_inference_steps: K, the network's calls; None: as many as the sampler was found for, else 10.
            class_labels: one class for all images, or (B,); None: none, where the network allows it.
            timesteps: K times of 1..T instead of the sampler's own.
            generator: of start noise and step noise.
            output_type: "pil", "np" (B, H, W, C) in [0, 1], or "pt" (B, C, H, W) in the range of the data, unrounded.
            return_dict: whether the result has names.

        Raises:
            ValueError: no labels for a network that needs them, or labels for one that knows none.
        """
        network = self.unet.network if hasattr(self.unet, "network") else DiffusersUNet(self.unet)
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        shape = self.unet.config.in_channels, height, width
        device, dtype = self._execution_device, self.unet.dtype
        labels = self._labels(class_labels, batch_size, device)
        K = num_inference_steps or self.scheduler.own_steps or FEW
        self.scheduler.set_timesteps(K, timesteps=timesteps)
        x_t = self.scheduler.begin(randn_tensor((batch_size, *shape), generator=generator, device=device, dtype=dtype))
        exact = torch.promote_types(dtype, torch.float32)
        tap = None
        for told in self.progress_bar(self.scheduler.timesteps):
            times = torch.full((batch_size,), float(told), device=device, dtype=exact)
            inputs = (x_t, times, *labels)
            tap = tap or tap_for(network, self.config.features, shape, tuple(one[:1] for one in inputs))
            output, features = tap.call(network, inputs)
            output = output[:, : shape[0]]
            said = None if self.head is None else self._said(output, features, told, inputs)
            x_t = self.scheduler.step(output, told, x_t, generator=generator, head=said).prev_sample
        images = self._shown(x_t, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _said(self, output: Tensor, features: Features | None, told: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        """What the head says at this step."""
        x_t, times, t = inputs[0], inputs[1], self.scheduler.time_of(told)
        if features is None:
            _, eps_hat = self.scheduler.estimates(output, x_t, t)
            features = Features(torch.cat([x_t, eps_hat], 1), timestep_embedding(times, EMBEDDING))
        activations, embedding = (single_or_double(part) for part in features)
        said: Tensor = self.head(activations, embedding, torch.full((len(x_t),), t, device=x_t.device))
        return said

    def _labels(self, asked: Any, count: int, device: torch.device) -> tuple[Tensor, ...]:
        if not self.config.classes:
            if asked is not None:
                raise ValueError("this network knows no classes: leave class_labels out")
            return ()
        if asked is None:
            if self.config.needs_labels:
                raise ValueError(
                    f"this network has never seen an image without a class: say which of 0..{self.config.classes - 1} "
                    "with class_labels"
                )
            asked = UNLABELLED
        labels = torch.as_tensor(asked, device=device).long().expand(count)
        if bool((labels >= self.config.classes).any()) or (self.config.needs_labels and bool((labels < 0).any())):
            raise ValueError(f"class_labels are 0..{self.config.classes - 1}, found {labels.tolist()}")
        return (labels,)

    def _shown(self, x_0: Tensor, output_type: str) -> Any:
        if output_type == "pt":
            return x_0
        low, high = self.scheduler.config.low, self.scheduler.config.high
        images = ((x_0.float() - low) / (high - low)).clamp(0, 1).cpu().permute(0, 2, 3, 1).numpy()
        return self.numpy_to_pil(images) if output_type == "pil" else images
