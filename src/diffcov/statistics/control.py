"""Control variates: what is known exactly of an easier denoiser, taken off the scatter of the hard one.

On the same images and noise as the network, the best linear denoiser of Gaussian data with the images' own mean mu_k
and variance lambda_k in cosines makes the error

    g_k = w_k eps_k - (1 - w_k) (x_k - mu_k) / sqrt(r),    w_k = lambda_k / (lambda_k + r)

whose mean square over images and noise is w_k^2 + (1 - w_k)^2 lambda_k / r, whatever the images are. Where a network is
nearly linear, its squared error goes up and down with g_k^2, and what g_k^2 is off its known mean in a sample tells
what the network's is. It costs no call of the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.basis import Separable
from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised
from diffcov.statistics.moments import Moments, near_sum, pooled

__all__ = ["LinearDenoiser", "control_sums", "controlled"]

RIDGE = 1e-6
"""Of a control's own square, added to it: controls that say the same share what they explain."""


@dataclass(frozen=True, eq=False)
class LinearDenoiser:
    """The best linear denoiser of data that are uncorrelated in cosines.

    Attributes:
        basis: U.
        mean: (C, H, W) float64, mu of the coefficients.
        var: (C, H, W) float64 >= 0, lambda.
    """

    basis: Separable
    mean: Tensor
    var: Tensor

    @classmethod
    def of(cls, parts: Iterable[Tensor], data: DataDescription, basis: Separable, flip: bool) -> LinearDenoiser:
        """The one for images (N, C, H, W) uint8 in parts, and for mirrored copies where those are measured too."""
        count, total, total_sq = 0, *(torch.zeros(data.shape, dtype=torch.float64) for _ in range(2))
        for images in parts:
            x_0 = data.encode(images.cpu(), torch.float64)
            for seen in (x_0, x_0.flip(-1)) if flip else (x_0,):
                c = basis.forward(seen)
                count, total, total_sq = count + len(c), total + c.sum(0), total_sq + c.square().sum(0)
        mean = total / count
        return cls(basis, mean, (total_sq / count - mean.square()).clamp(min=0))

    def squares(self, noised: Noised) -> tuple[Tensor, Tensor, Tensor]:
        """Three controls of each coefficient at one time, less their known means; (B, C, H, W) float64 each.

        Those of g^2, of (eps - g)^2 - eps^2, which is what the linear denoiser says beyond the noise, and of eps^2.
        """
        t, schedule = noised.look.time, noised.schedule
        r, signal = float(schedule.ratio[t]), float(schedule.alpha_bar[t]) > 0
        w = self.var / (self.var + r) * signal
        eps = self.basis.forward(noised.eps.double()).cpu()
        away = (1 - w) / r**0.5 * (self.basis.forward(noised.x_0.double()).cpu() - self.mean)
        g = w * eps - away
        of_away = (1 - w).square() * self.var / r
        said = (eps - g).square() - eps.square()
        return g.square() - w.square() - of_away, said - ((1 - w).square() + of_away - 1), eps.square() - 1


def control_sums(controls: Tensor, values: Tensor) -> Tensor:
    """What :func:`controlled` reads, for one batch.

    Args:
        controls: (B, .., K), less their known means.
        values: (B, .., Q), what they are controls of.

    Returns:
        (.., K, 1 + K + Q): sums of each control, of its products with all controls, and with the values.
    """
    whole = torch.cat([torch.ones_like(controls[..., :1]), controls, values], -1)
    return torch.einsum("b...k,b...n->...kn", controls, whole)


def controlled(moments: Moments, sums: Tensor, value: int = 0, positive: bool = True) -> Moments:
    """The moments of y - beta z, which has the mean of y: beta is that of least scatter, pooled over neighbours.

    Args:
        moments: (M, ..) of y.
        sums: (M, .., K, 1 + K + Q) of :func:`control_sums`.
        value: which of the Q values y is.
        positive: whether the mean is one of squares. Then no more than half of it is taken off as it stands, and of
            anything beyond that less and less, so that an eighth is always left.

    Where five neighbours together have no more than 2 K degrees of freedom, no control is taken.
    """
    K = sums.shape[-2]
    total, products, with_y = sums[..., 0], sums[..., 1 : K + 1], sums[..., K + 1 + value]
    n = moments.count[..., None]
    around = products - total[..., :, None] * total[..., None, :] / n[..., None]  # sum (z - mean) (z - mean)^T
    joint = with_y - total * moments.mean()[..., None]  # sum (z - mean) (y - mean)
    free = (moments.count.reshape(len(n), *[1] * (sums.ndim - 3)) - 1).clamp(min=0)
    square = pooled(around / (n - 1)[..., None], free[..., None, None])
    scale = square.diagonal(dim1=-2, dim2=-1).clamp(min=1e-60)
    wanted = pooled(joint / (n - 1), free[..., None])[..., None]
    beta = torch.linalg.solve(square + torch.diag_embed(RIDGE * scale), wanted)[..., 0]
    freedom = near_sum(free)
    enough = freedom > 2 * K
    beta = torch.where(enough[..., None], beta, 0.0)
    taken = (beta * total).sum(-1)
    if positive:
        share = taken / moments.total.clamp(min=1e-60)
        taken = torch.where(share > 0.5, moments.total * (1 - 0.25 / share.clamp(0.5, 2)), taken)
    # sum (y - mean)^2 less what beta z explains of it. What K coefficients explain by chance is given back,
    # F / (F - K), and their own scatter goes into the mean, (F - 1) / (F - K - 1) for Gaussian z.
    own = moments.total_sq - moments.total.square() / moments.count
    left_over = own - 2 * (beta * joint).sum(-1) + torch.einsum("...k,...kn,...n->...", beta, around, beta)
    scatter = left_over.clamp(min=0) * torch.where(
        enough, freedom / (freedom - K) * (freedom - 1) / (freedom - K - 1), 1.0
    )
    left = moments.total - taken
    return Moments(moments.count, left, scatter + left.square() / moments.count)
