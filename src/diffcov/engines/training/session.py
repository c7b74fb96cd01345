"""A training in progress: weights, their average, the optimiser, and how far it is. All of it is state to save."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.objective import Objective, Stopping
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.ema import EMA

__all__ = ["Session"]


class Session:
    """Everything that changes while training.

    Args:
        objective: what is trained.
        config: how.
        stopping: what may end it before its budget is spent; None: nothing.
    """

    def __init__(self, objective: Objective, config: TrainingConfig, stopping: Stopping | None = None) -> None:
        self.objective = objective
        self.config = config
        self.stopping = stopping
        self.ema = EMA(objective.module, config.ema_decay)
        self.groups = [[p for p in part.parameters() if p.requires_grad] for part in objective.parts]
        self.parameters = [p for group in self.groups for p in group]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=_fused_available(self.parameters)
        )
        self.iteration = 0
        self.seconds = 0.0

    @property
    def device(self) -> torch.device:
        """Where the training happens."""
        return self.parameters[0].device

    @property
    def due(self) -> bool:
        """Whether it is time to judge the average."""
        return self.stopping is not None and self.stopping.due(self.iteration)

    def over(self, budget: Budget) -> bool:
        """Whether the budget is spent, or what may end the training has."""
        return budget.spent(self.iteration, self.seconds) or (self.stopping is not None and self.stopping.over)

    def require_finite(self) -> None:
        """Raise NonFiniteError if a weight is NaN or infinite: a step can overflow after a loss that was a number."""
        if all(bool(torch.isfinite(p).all()) for p in self.parameters):
            return
        named = self.objective.module.named_parameters()
        first = next((name for name, p in named if not bool(torch.isfinite(p).all())), "one")
        raise NonFiniteError(f"a weight became NaN or infinite by iteration {self.iteration}, first {first}")

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: ``model.*``, ``ema.*``, ``optimizer.<i>.*``, ``stopping.*`` and the counters."""
        out = {f"model.{name}": value for name, value in self.objective.module.state_dict().items()}
        out |= {f"ema.{name}": value for name, value in self.ema.module.state_dict().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{i}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        if self.stopping is not None:
            out |= {f"stopping.{name}": value for name, value in self.stopping.tensors().items()}
        out["iteration"] = torch.tensor(self.iteration)
        out["ema_updates"] = torch.tensor(self.ema.updates)
        out["seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        return out

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`tensors`.

        Raises:
            InputError: tensors of another training.
        """
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, slot = name.split(".")
                slots.setdefault(int(i), {})[slot] = value
        try:
            self.objective.module.load_state_dict(_below(tensors, "model."))
            self.ema.module.load_state_dict(_below(tensors, "ema."))
            self.ema.updates = int(tensors["ema_updates"])
            self.iteration = int(tensors["iteration"])
            self.seconds = float(tensors["seconds"])
            if self.stopping is not None:
                self.stopping.restore(_below(tensors, "stopping."))
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"the saved state does not fit this training: {' '.join(str(error).split())}") from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _fused_available(parameters: list[torch.nn.Parameter]) -> bool:
    return all(p.device.type in ("cpu", "cuda") for p in parameters)
