"""Spectrum and residual matrices from one sweep at knots: the error of eps_hat, coefficient by coefficient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.basis import colour_axes
from diffcov.denoiser.network import MeanModel
from diffcov.diffusion.process import clipped_eps
from diffcov.engines.sweep.noised import Sweep, check_sizes
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum

__all__ = ["Residuals", "estimate_residuals"]


@dataclass(frozen=True)
class Residuals:
    """What one sweep found.

    Attributes:
        spectrum: second moments of single coefficients.
        matrices: second moments of pairs of them; None if not asked for.
    """

    spectrum: Spectrum
    matrices: ResidualMatrices | None


@torch.inference_mode()
def estimate_residuals(
    model: MeanModel,
    images: Tensor,
    knots: Knots,
    samples: int,
    *,
    matrices: bool = False,
    clip_x0: bool = True,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 256,
    flip: bool = False,
    colour: Tensor | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Residuals:
    """Measure E[c c^T] of the cosine coefficients c = U (eps - eps_hat) at the knots, or its diagonal alone.

    Sample k at time t depends on (seed, t, k) only, so sweeps of other samples merge, and batches do not matter.

    The error is that of the clipped mean, which sampling and likelihood use: at large t, where r multiplies the error
    of eps by up to 1e8, the clip decides how large that of x_0 is.

    Args:
        model: the mean model, frozen.
        images: (N, C, H, W) uint8 on the model's device, the data it was trained on.
        knots: where to measure.
        samples: images at each knot.
        matrices: whether pairs are measured too; images of at most 1024 values.
        clip_x0: whether x0_hat is clipped to the data's range.
        seed, first, batch_size, flip, on_batch: as for ``estimate``.
        colour: (C, C), the rotation of the channels; by default the images' own, see ``basis.colour_axes``.

    Raises:
        UsageError: samples or batch size below 1.
        InputError: matrices of images that are too large.
        NonFiniteError: the network gave NaN or infinity.
    """
    check_sizes(samples, batch_size)
    sweep = Sweep(model, images, seed, flip, "residuals")
    colour = colour_axes(images) if colour is None else colour
    spectrum = Spectrum.empty(knots, model.data.shape, colour)
    pairs = ResidualMatrices.empty(knots, model.data.shape, colour) if matrices else None
    done = 0
    for knot, t in enumerate(knots.times):
        seen: list[Tensor] = []
        for start in range(first, first + samples, batch_size):
            batch = [(t, k) for k in range(start, min(start + batch_size, first + samples))]
            x_t, eps, eps_hat = sweep.predict(batch)
            if clip_x0:
                eps_hat = clipped_eps(
                    model.schedule, x_t.double(), t, eps_hat.double(), model.data.low, model.data.high
                )
            coefficients = spectrum.basis.forward(eps.double() - eps_hat).cpu()
            spectrum.add(knot, coefficients.square())
            seen += [coefficients] if pairs is not None else []
            done += len(batch)
            on_batch(done)
        if pairs is not None:
            pairs.add(knot, torch.cat(seen))
    return Residuals(spectrum, pairs)
