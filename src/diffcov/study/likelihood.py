"""The bound on the likelihood of one covariance, for scripts."""

from __future__ import annotations

from diffcov.covariance.base import Covariance
from diffcov.data import ExampleSet
from diffcov.denoiser.base import Denoiser
from diffcov.diffusion.grid import Grid
from diffcov.engines.forward import ForwardNoise, measure
from diffcov.engines.meters.likelihood import Likelihood, LikelihoodMeter

__all__ = ["likelihood"]


def likelihood(
    denoiser: Denoiser,
    covariance: Covariance,
    grid: Grid,
    examples: ExampleSet,
    *,
    seed: int = 0,
    batch_size: int = 256,
    noise: ForwardNoise | None = None,
) -> Likelihood:
    """The bound along a grid of images, for the Markov chain (DDPM); ``.bits_per_dim()`` of it is a mean and its error.

    Args:
        denoiser: the mean, through the view that the chain sees it through (the published bounds clip x0_hat).
        covariance: of each step.
        grid: the visited times.
        examples: the images, on the mean's device.
        seed, batch_size, noise: as for :func:`diffcov.engines.forward.measure`.

    Raises:
        UsageError: a schedule of fewer than two steps.
        NonFiniteError: NaN or infinity anywhere.
    """
    meter = LikelihoodMeter(denoiser.schedule, denoiser.data, {covariance.name: covariance}, [grid], len(examples))
    measure(denoiser, examples, [meter], seed=seed, batch_size=batch_size, noise=noise)
    return meter.result(covariance.name, grid)
