"""One sweep of the network over the data gives every statistic of the variance table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from diffcov.denoiser.network import MeanModel
from diffcov.engines.sweep.noised import Sweep, check_sizes
from diffcov.statistics.table import VarianceTable

__all__ = ["estimate"]


@torch.inference_mode()
def estimate(
    model: MeanModel,
    images: Tensor,
    times: Sequence[int],
    samples: int,
    *,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 256,
    flip: bool = False,
    on_batch: Callable[[int], None] = lambda done: None,
) -> VarianceTable:
    """Measure E||eps_hat||^2 / d and E||eps - eps_hat||^2 / d at the given times.

    Sample k at time t is image ``order[k mod N]`` of a fixed shuffle with noise of its own, and depends on
    (seed, t, k) only: tables of samples 0..99 and 100..199 merge into that of 0..199, and batches do not matter.

    The drawn noise's own ||eps||^2 / d, whose mean is known to be 1, serves as control variate of ||eps_hat||^2 / d.
    What ``analytic`` needs is 1 - Gamma_t, which falls to 1e-3 while the plain estimate of Gamma_t scatters by
    sqrt(2 / (d M)); where eps_hat is close to eps that scatter is common to both and cancels. (At small t, where they
    are not close, 1 - Gamma_t is near 1 and its relative error is that of ||eps - eps_hat||^2.)

    Args:
        model: the mean model, frozen.
        images: (N, C, H, W) uint8 on the model's device, the data it was trained on.
        times: which t in 1..T.
        samples: M, images at each time.
        seed: of the shuffle, the flips and the noise.
        first: number of the first sample; M0 to continue a table that holds M0.
        batch_size: images a network call.
        flip: mirror with probability 1/2, as in training.
        on_batch: told the number of images done so far.

    Returns:
        The table of these samples alone; sums in float64.

    Raises:
        UsageError: samples or batch size below 1.
        NonFiniteError: the network gave NaN or infinity.
    Source: arXiv 2201.06503, equation 8 (Monte Carlo estimate of Gamma); arXiv 2206.07309 for the error.
    """
    check_sizes(samples, batch_size)
    sweep = Sweep(model, images, seed, flip, "estimate")
    table = VarianceTable.empty(model.schedule.T)
    pairs = [(t, k) for t in times for k in range(first, first + samples)]
    done = 0
    for batch in _batches(pairs, batch_size):
        _, eps, eps_hat = sweep.predict(batch)
        t = torch.tensor([t for t, _ in batch])
        _add(table, t, _per_image(eps_hat) - _per_image(eps) + 1, _per_image(eps - eps_hat))
        done += len(batch)
        on_batch(done)
    return table


def _batches(pairs: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _per_image(values: Tensor) -> Tensor:
    """||values||^2 / d per image: (B, C, H, W) float32 -> (B,) float64 on the CPU."""
    return values.square().flatten(1).mean(1, dtype=torch.float64).cpu()


def _add(table: VarianceTable, t: Tensor, eps_hat_sq: Tensor, error_sq: Tensor) -> None:
    table.count.index_add_(0, t, torch.ones_like(eps_hat_sq))
    table.eps_hat_sq.index_add_(0, t, eps_hat_sq)
    table.eps_hat_sq_sq.index_add_(0, t, eps_hat_sq.square())
    table.error_sq.index_add_(0, t, error_sq)
    table.error_sq_sq.index_add_(0, t, error_sq.square())
