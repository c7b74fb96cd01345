"""What a covariance with a fitted head states beside the rest: what the head regresses, and where it starts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance, Fitted, HeadFunction, Need
from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["HeadCovariance", "Noised"]


@dataclass(frozen=True)
class Noised:
    """What the targets of heads are made of: noised images, and what the mean model says of them.

    Attributes:
        schedule: the noise schedule.
        t: (B,) int64 in 1..T.
        eps: (B, C, H, W) float32, the noise that was added.
        eps_hat: (B, C, H, W) float32, the noise that is predicted.
        eps_clipped: (B, C, H, W) float32, the predicted noise that goes with x0_hat clipped to the data's range.
        curvature: (B, C, H, W) float32, v * (J^T v) with independent signs v and J = d eps_hat / d x_t: its mean over v
            is the diagonal of J. None unless a kind asks for it.
    """

    schedule: NoiseSchedule
    t: Tensor
    eps: Tensor
    eps_hat: Tensor
    eps_clipped: Tensor
    curvature: Tensor | None = None


class HeadCovariance(Covariance):
    """A covariance that reads a fitted head."""

    needs = frozenset({Need.HEAD})

    needs_curvature: ClassVar[bool] = False
    """Whether :meth:`head_target` reads ``curvature``, which costs a Jacobian product a step."""
    losses: ClassVar[tuple[str, ...]] = ("likelihood", "squared")
    """Names of the losses a head can be fitted by; the first is the default."""
    architectures: ClassVar[tuple[str, ...]] = ("simple", "complex")
    """Names of the networks a head can be."""
    start_needs: ClassVar[frozenset[Need]] = frozenset({Need.TABLE})
    """What :meth:`start` reads."""
    reach: ClassVar[float] = 8.0
    """A head fitted by likelihood stays within exp(-reach)..exp(reach) times its start: no wild target throws it
    further."""
    published_start: ClassVar[float] = 0.0
    """What an unfitted head of the published form says; it is fitted by squared error."""

    def __init__(self, head: HeadFunction) -> None:
        self.head = head

    @classmethod
    @abstractmethod
    def head_target(cls, noised: Noised, fitted: Fitted) -> Tensor:
        """What the head regresses, (B, C, H, W): its mean given x_t is what the head shall say."""

    @classmethod
    def start(cls, schedule: NoiseSchedule, fitted: Fitted) -> Tensor:
        """Where a head fitted by likelihood starts, (T+1,) float64 > 0: one number a time, near the target's mean.

        E||eps - eps_hat||^2 / d of the table (Var[eps | x_t] and squared bias), between measured times straight in
        log-SNR and logarithms; index 0 is not used.
        """
        assert fitted.table is not None
        return fitted.table.error_at_all_times(schedule)

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        return cls(fitted.require(cls).heads[cls.name])

    @staticmethod
    def times_like(t: int, images: Tensor) -> Tensor:
        """(B,) int64, the same time for each of ``images``."""
        return torch.full((images.shape[0],), t, device=images.device)
