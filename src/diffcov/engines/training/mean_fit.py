"""The objective of the mean model: the squared error of what its network predicts, times its parametrisation's weight.

For a network that predicts eps that is E||eps - eps_hat||^2 / d, the L_simple of arXiv 2006.11239 per value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.level import Level
from diffcov.engines.training.batches import Batch

__all__ = ["MeanObjective"]


class MeanObjective:
    """Predict what the parametrisation says.

    Args:
        model: the model to train, put into train mode.
    """

    def __init__(self, model: MeanModel) -> None:
        self.model = model.train()

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.model.network

    @property
    def parts(self) -> Sequence[nn.Module]:
        """The network."""
        return [self.model.network]

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """{"mean": (B,)}."""
        level, meaning = Level.at(self.model.schedule, batch.t, batch.x_t), self.model.reading.parametrisation
        target = meaning.target(batch.x_0, batch.eps, level)
        error_sq = (target - self.model.output(batch.x_t, batch.t, batch.labels)).square()
        return {"mean": (meaning.weight(level) * error_sq).flatten(1).mean(1)}
