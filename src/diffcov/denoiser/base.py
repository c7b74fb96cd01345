"""The seam: what engines know of a network, and in which way they look through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["Denoiser", "Lens", "View", "Wrapper"]


@dataclass(frozen=True)
class View:
    """What stands between a network and whoever looks: recorded with everything that is measured, fitted or drawn.

    Attributes:
        clip_x0: whether x0_hat is clipped to the range of the data.
        eps_scale: the number that eps_hat is divided by.
        guidance: W of classifier-free guidance; 1 is the conditional model itself.
    """

    clip_x0: bool = False
    eps_scale: float = 1.0
    guidance: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return asdict(self)


class Denoiser(nn.Module, ABC):
    """An estimate of x_0 and of eps from x_t, with all that is needed to use it."""

    @abstractmethod
    def look(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Look:
        """Look once.

        Args:
            x_t: (B, C, H, W) float32 or float64; its dtype is that of the answer.
            t: one time in 1..T, or (B,) int64 times.
            cond: (B,) int64 class labels in 0..classes-1, below 0 for an image without one; None gives none.

        Raises:
            UsageError: labels for a network without classes, or none for one that must have them.
            InputError: a time at which the network's output says nothing of x_0.
        """

    @property
    @abstractmethod
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""

    @property
    @abstractmethod
    def data(self) -> DataDescription:
        """The images."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the network is."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """The number of classes whose labels it takes; 0 takes none."""

    @property
    @abstractmethod
    def needs_labels(self) -> bool:
        """Whether it has never seen an image without a label, and so cannot be looked through without one."""

    @property
    @abstractmethod
    def feature_channels(self) -> int:
        """F of the features' activations."""

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """E of the features' embedding."""

    @property
    @abstractmethod
    def plain_features(self) -> bool:
        """Whether the features are x_t and eps_hat themselves, because the network offers no others."""

    @property
    @abstractmethod
    def calls(self) -> int:
        """Network calls that one look takes."""

    @property
    @abstractmethod
    def view(self) -> View:
        """What this one looks through."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """sha256 (hex) of the weights and of how they are read; what stands in between is not part of it."""

    @property
    @abstractmethod
    def precision(self) -> str:
        """The precision inside of the network: "fp32", "bf16" or "fp64"."""

    @property
    def work_dtype(self) -> torch.dtype:
        """float64 for a network in float64, else float32: what images and noise are made in."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def as_dict(self) -> dict[str, Any]:
        """What decides its answers, as plain values."""
        return {"mean": self.digest, "precision": self.precision, **self.view.as_dict()}


class Wrapper(Denoiser):
    """A denoiser around another one, which is like it in all that is not said otherwise.

    Args:
        inner: the other one.
    """

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner = inner

    @property
    def schedule(self) -> NoiseSchedule:
        return self.inner.schedule

    @property
    def data(self) -> DataDescription:
        return self.inner.data

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def classes(self) -> int:
        return self.inner.classes

    @property
    def needs_labels(self) -> bool:
        return self.inner.needs_labels

    @property
    def feature_channels(self) -> int:
        return self.inner.feature_channels

    @property
    def embedding_width(self) -> int:
        return self.inner.embedding_width

    @property
    def plain_features(self) -> bool:
        return self.inner.plain_features

    @property
    def calls(self) -> int:
        return self.inner.calls

    @property
    def digest(self) -> str:
        return self.inner.digest

    @property
    def precision(self) -> str:
        return self.inner.precision


class Lens(Wrapper):
    """A wrapper that changes what the inner denoiser sees, without calling the network again."""

    def look(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Look:
        """The inner one's look through this lens."""
        return self.change(self.inner.look(x_t, t, cond))

    @abstractmethod
    def change(self, look: Look) -> Look:
        """A look of the inner one as it is seen through this lens."""
