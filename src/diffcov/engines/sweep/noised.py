"""The samples of a sweep: sample k at time t is a function of (seed, t, k), however the sweep is cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.denoiser.network import MeanModel
from diffcov.diffusion.process import q_sample
from diffcov.errors import NonFiniteError, UsageError
from diffcov.noise import ImageNoise, generator, key

__all__ = ["Sweep"]


@dataclass(frozen=True)
class Sweep:
    """What is noised and predicted.

    Attributes:
        model: the mean model, frozen.
        images: (N, C, H, W) uint8 on the model's device, the data it was trained on.
        seed: of the shuffle, the flips and the noise.
        flip: mirror with probability 1/2, as in training.
        purpose: keeps the noise of different sweeps apart.
    """

    model: MeanModel
    images: Tensor
    seed: int
    flip: bool
    purpose: str

    def __post_init__(self) -> None:
        order = torch.randperm(self.images.shape[0], generator=generator(self.seed, f"{self.purpose}-order"))
        object.__setattr__(self, "_order", order)

    def predict(self, batch: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Noise and predict samples, given as pairs (t, k); sample k is image ``order[k mod N]`` of a fixed shuffle.

        Returns:
            x_t, eps and eps_hat, each (B, C, H, W) float32.

        Raises:
            NonFiniteError: the network gave NaN or infinity.
        """
        order: Tensor = self._order  # type: ignore[attr-defined]
        x_0 = self.model.data.encode(self.images[order[[k % len(order) for _, k in batch]].to(self.images.device)])
        if self.flip:
            mirrored = torch.tensor([bool(key(self.seed, f"{self.purpose}-flip", t, k) & 1) for t, k in batch])
            x_0 = torch.where(mirrored.to(x_0.device)[:, None, None, None], x_0.flip(-1), x_0)
        eps = ImageNoise(self.seed, batch, self.model.data.shape, x_0.device, purpose=self.purpose).draw()
        t = torch.tensor([t for t, _ in batch], device=x_0.device)
        x_t = q_sample(self.model.schedule, x_0, t, eps)
        eps_hat, _ = self.model.predict(x_t, t)
        if not torch.isfinite(eps_hat).all():
            raise NonFiniteError("the network predicts NaN or infinite noise; the mean model is broken: train it again")
        return x_t, eps, eps_hat


def check_sizes(samples: int, batch_size: int) -> None:
    """Refuse (UsageError) numbers below 1."""
    if samples < 1 or batch_size < 1:
        raise UsageError(f"--samples and --batch-size must be at least 1, found {samples} and {batch_size}")
