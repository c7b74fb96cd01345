"""A mean network of diffcov as a model of diffusers; it needs torch and diffusers.

unet = DiffcovUNet.from_pretrained("folder", subfolder="unet")
output = unet(x_t, timestep).sample
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from diffcov.nets.adapters.lucidrains import LucidUNet
from diffcov.nets.unet import UNet, UNetConfig

__all__ = ["DiffcovUNet"]

NETWORKS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "unet": lambda arguments: UNet(UNetConfig.from_dict(arguments)),
    "lucidrains": lambda arguments: LucidUNet(**arguments),
}
"""Networks by the name of their family."""
UNLABELLED = -1


class DiffcovUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """(x_t (B, C, H, W), time in the network's own convention[, labels]) -> what the network predicts.

    Args:
        family: a name of :data:`NETWORKS`.
        arguments: what its network is built with.
        sample_size: [H, W].
        in_channels: C.
        out_channels: C, or 2 C with a learned variance, which comes second.
        num_class_embeds: number of classes; 0: none.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        family: str,
        arguments: dict[str, Any],
        sample_size: list[int],
        in_channels: int,
        out_channels: int,
        num_class_embeds: int = 0,
    ) -> None:
        super().__init__()
        self.network = NETWORKS[family](arguments)

    def forward(
        self, sample: Tensor, timestep: Any, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> Any:
        """One call.

        Args:
            sample: x_t.
            timestep: a number, or (B,).
            class_labels: (B,) whole numbers, below 0 for an image without a label; None: none has one.
            return_dict: whether the result has names.
        """
        exact = torch.promote_types(self.dtype, torch.float32)  # bfloat16 cannot tell 999 from 1000
        times = torch.as_tensor(timestep, device=sample.device).to(exact).expand(len(sample))
        labels: tuple[Tensor, ...] = ()
        if self.config.num_class_embeds:
            unlabelled = torch.full((len(sample),), UNLABELLED, device=sample.device)
            labels = (unlabelled if class_labels is None else class_labels.to(sample.device),)
        output = self.network(sample, times, *labels)[0]
        return UNet2DOutput(sample=output) if return_dict else (output,)
