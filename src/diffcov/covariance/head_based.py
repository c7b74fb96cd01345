"""What a covariance with a fitted head states beside the rest: what the head regresses, and where it starts."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, Ingredient, Ingredients
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.table import VarianceTable

__all__ = ["HeadCovariance"]


class HeadCovariance(Covariance):
    """A covariance that reads a fitted head."""

    needs: ClassVar[tuple[type[Ingredient], ...]] = (FittedHead,)

    clips: ClassVar[bool] = False
    """Whether the head regresses the error of the clipped mean; published ones do not."""
    needs_curvature: ClassVar[bool] = False
    """Whether :meth:`head_target` reads ``curvature``, which costs a Jacobian product a step."""
    losses: ClassVar[tuple[str, ...]] = ("likelihood", "squared")
    """Names of the losses a head can be fitted by; the first is the default."""
    architectures: ClassVar[tuple[str, ...]] = ("simple", "complex", "stem")
    """Names of the networks a head can be."""
    start_needs: ClassVar[tuple[type[Ingredient], ...]] = (VarianceTable,)
    """Classes of what :meth:`start` reads."""
    reach: ClassVar[float] = 8.0
    """A head fitted by likelihood stays within exp(-reach)..exp(reach) times its start: no wild target throws it
    further."""
    published_start: ClassVar[float] = 0.0
    """The output of a head before its first iteration, where it is fitted by squared error (published)."""
    file_words: ClassVar[tuple[str, ...]] = ()
    """Words in the names of published files whose head is one of these; none of a covariance that nobody published."""

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self.head = self.ingredients[FittedHead].function

    def head_at(self, look: Look) -> Tensor:
        """What the head says, broadcastable to (B, C, H, W)."""
        times = torch.full((len(look.x_t),), look.time, device=look.x_t.device)
        return self.head(look.features, times)

    @classmethod
    @abstractmethod
    def head_target(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """What the head regresses, (B, C, H, W): its mean given x_t is what the head shall say.

        Args:
            noised: through the clipped mean if :attr:`clips`, else through the mean as it predicts.
            ingredients: what the covariance needs beside the head.
        """

    @classmethod
    def head_unit(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """What a head that says 1 says of the error of eps_hat, as a variance; broadcastable to (B, C, H, W)."""
        return torch.ones((), device=noised.eps.device)

    @classmethod
    def typical(cls, error: Tensor) -> Tensor:
        """The mean of :meth:`head_target` over images and pixels where E||eps - eps_hat||^2 / d is ``error``."""
        return error

    @classmethod
    def start(cls, schedule: NoiseSchedule, ingredients: Ingredients) -> Tensor:
        """Where a head fitted by likelihood starts, (T+1,) float64 > 0: one number a time, near the target's mean.

        E||eps - eps_hat||^2 / d of the table (Var[eps | x_t] and squared bias), between measured times straight in
        log-SNR and logarithms; index 0 is not used.
        """
        return ingredients[VarianceTable].error_at_all_times(schedule)
