"""A world of several textures: each image is Gaussian with one of a few spectra, and which one is seen only in x_t.

x_0 ~ sum_k weights_k N(0, U^T diag(spectra_k) U), U cosines times colour axes. Given x_t the texture is a posterior
over k, and inside a texture everything is Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from diffcov.basis import Separable, cosine
from diffcov.basis.bands import frequency_radius
from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.features import Features
from oracles.trunks import OUR_TIMES


@dataclass(frozen=True, eq=False)
class TextureWorld:
    """``spectra`` (K, C, H, W) float64 > 0, ``weights`` (K,) summing to 1; everything float64."""

    schedule: NoiseSchedule
    spectra: Tensor
    weights: tuple[float, ...]
    basis: Separable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "basis", cosine(*self.spectra.shape[1:]))

    @property
    def data(self) -> DataDescription:
        """A range that no pixel leaves, in 256 levels."""
        return DataDescription(*self.spectra.shape[1:], levels=256, low=-5.0, high=5.0)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """x_0 (count, C, H, W), and which texture each has."""
        k = torch.multinomial(torch.tensor(self.weights), count, replacement=True, generator=generator)
        z = torch.randn(count, *self.spectra.shape[1:], generator=generator, dtype=torch.float64)
        return self.basis.inverse(self.spectra[k].sqrt() * z), k

    def _given(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """(share (B, K, 1, 1, 1), E[U eps | x_t, k] (B, K, C, H, W), Var[U eps | x_t, k] (K, C, H, W))."""
        abar, bbar = float(self.schedule.alpha_bar[t]), float(self.schedule.beta_bar[t])
        total = abar * self.spectra + bbar
        c = self.basis.forward(x_t)[:, None]
        log_q = -0.5 * (c.square() / total + total.log()).flatten(2).sum(2)
        share = (log_q + torch.tensor(self.weights, dtype=torch.float64).log()).softmax(1)
        return share[:, :, None, None, None], bbar**0.5 * c / total, abar * self.spectra / total

    def eps_hat(self, x_t: Tensor, t: int) -> Tensor:
        """E[eps | x_t]."""
        share, mean, _ = self._given(x_t, t)
        return self.basis.inverse((share * mean).sum(1))

    def var_eps(self, x_t: Tensor, t: int) -> Tensor:
        """Var[(U eps) | x_t] per coefficient, (B, C, H, W)."""
        share, mean, var = self._given(x_t, t)
        return (share * (var + (mean - (share * mean).sum(1, keepdim=True)).square())).sum(1)

    def model(self) -> MeanModel:
        """The perfect mean model of this world."""
        return MeanModel(TextureTrunk(self), Reading(self.schedule, self.data, OUR_TIMES))


class TextureTrunk(nn.Module):
    """The perfect eps_hat; features: x_t in 4 rings of frequency of each colour axis, and t / T."""

    embedding_width = 1
    RINGS = 4

    def __init__(self, world: TextureWorld) -> None:
        super().__init__()
        self.world = world
        self.nothing = nn.Parameter(torch.zeros(()))
        channels, height, width = world.spectra.shape[1:]
        self.feature_channels = channels * self.RINGS
        radius = frequency_radius(height, width).log1p()
        ring = (radius / radius.max() * self.RINGS).long().clamp(max=self.RINGS - 1)
        self.masks = nn.functional.one_hot(ring, self.RINGS).movedim(-1, 0).double()

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        exact = torch.empty_like(x)
        for t in times.unique().tolist():
            chosen = times == t
            exact[chosen] = self.world.eps_hat(x[chosen].double(), int(t)).to(x.dtype)
        seen = self.world.basis.forward(x.double())[:, :, None] * self.masks
        rings = torch.einsum("ui,...uv,vj->...ij", self.world.basis.rows, seen, self.world.basis.columns)
        share = (times / self.world.schedule.T)[:, None]
        return exact + self.nothing, Features(rings.flatten(1, 2).float(), share)
