"""EDM's networks with what stands between them and images, as networks of our own: (x_t, t) -> eps or v."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.adapters.edm_preconditioning import PRECONDITIONINGS, Preconditioning
from diffcov.nets.adapters.edm_unets import UNETS, EdmUNet
from diffcov.nets.features import Features

__all__ = ["Preconditioned", "build", "shapes_of"]


class Preconditioned(nn.Module):
    """(x_t (B, C, H, W), times t (B,) in 1..T[, labels (B,)]) -> (eps or v, features).

    Args:
        model: the network.
        preconditioning: of it.
        schedule: the noise levels of t = 1..T; any that it knows.
    """

    def __init__(self, model: EdmUNet, preconditioning: Preconditioning, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.model = model
        self.feature_channels, self.embedding_width = model.feature_channels, model.embedding_width
        sigma = schedule.ratio[1:].sqrt()
        # no buffers: a network that is moved to float32 is still told its levels from float64
        self._told = preconditioning.noise(sigma)
        self._coefficients = torch.stack(preconditioning.coefficients(sigma))

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Features]:
        """The prediction, (B, C, H, W), or (B, 2C, H, W) of a network that learned a variance; and the features."""
        places = times.long() - 1
        told = self._told.to(x.device)[places]
        a, b, c = self._coefficients.to(x.dtype).to(x.device)[:, places, None, None, None]
        said, features = self.model(a * x, told, labels)
        mean, rest = said[:, : x.shape[1]], said[:, x.shape[1] :]
        return torch.cat([b * x + c * mean, rest], 1), features


def build(
    preconditioning: str,
    numbers: Mapping[str, float],
    unet: str,
    config: Mapping[str, Any],
    schedule: Mapping[str, Any],
) -> Preconditioned:
    """The network of an EDM file, with fresh weights.

    Args:
        preconditioning: a name of ``PRECONDITIONINGS``.
        numbers: its attributes.
        unet: a name of ``UNETS``.
        config: its arguments.
        schedule: spec of the noise levels of t = 1..T.

    Raises:
        InputError: what no such network is made of.
    """
    with torch.device("cpu"):  # a network whose size is measured on "meta" still has noise levels that are numbers
        levels = NoiseSchedule.from_spec(dict(schedule))
    with _understanding():
        around, model = PRECONDITIONINGS[preconditioning](**numbers), UNETS[unet](**config)
    return Preconditioned(model, around, levels)


def shapes_of(unet: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of such a network's weights by name; no memory is taken for them.

    Raises:
        InputError: as for :func:`build`.
    """
    with _understanding(), torch.device("meta"):
        return {f"model.{name}": tuple(value.shape) for name, value in UNETS[unet](**config).state_dict().items()}


@contextmanager
def _understanding() -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise InputError(f"no network of EDM is made of this: {type(error).__name__}: {said:.200}") from error
