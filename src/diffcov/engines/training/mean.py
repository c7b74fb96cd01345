"""The objective of the mean model: E||eps - eps_hat||^2 / d, the L_simple of arXiv 2006.11239 per value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from diffcov.denoiser.network import MeanModel
from diffcov.engines.training.batches import Batch

__all__ = ["MeanObjective"]


class MeanObjective:
    """Predict the noise.

    Args:
        model: the model to train, put into train mode.
    """

    def __init__(self, model: MeanModel) -> None:
        self.model = model.train()

    @property
    def module(self) -> nn.Module:
        """The trunk."""
        return self.model.trunk

    @property
    def parts(self) -> Sequence[nn.Module]:
        """The trunk."""
        return [self.model.trunk]

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """{"mean": (B,)}."""
        eps_hat, _ = self.model.predict(batch.x_t, batch.t)
        return {"mean": (batch.eps - eps_hat).square().flatten(1).mean(1)}
