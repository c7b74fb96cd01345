"""The 2-D cosine transform by matrix products against one by a fast Fourier transform, over image sizes.

Run: python benchmarks/transform.py [--repeats N] [--out benchmarks/results/transform-NAME.json]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from timing import pair, report
from torch import Tensor

from diffcov.basis import Separable, dct_matrix

VALUES = 1 << 20
"""About so many values a batch, at every size."""


def fast_cosine(x: Tensor) -> Tensor:
    """Orthonormal DCT-II along the last axis: even samples, then odd ones backwards, through one real FFT."""
    n = x.shape[-1]
    reordered = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
    k = torch.arange(n, dtype=x.dtype, device=x.device)
    turned = torch.fft.fft(reordered) * torch.polar(torch.ones_like(k), -math.pi * k / (2 * n))
    scale = torch.full((n,), math.sqrt(2 / n), dtype=x.dtype, device=x.device)
    scale[0] = math.sqrt(1 / n)
    return turned.real * scale


def fast_cosine_2d(x: Tensor) -> Tensor:
    """Along both of the last axes."""
    return fast_cosine(fast_cosine(x).transpose(-1, -2)).transpose(-1, -2)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sizes: dict[str, dict[str, float]] = {}
    for n in (8, 16, 28, 32, 64, 128, 256):
        basis = Separable(torch.eye(3, dtype=torch.float64), dct_matrix(n), dct_matrix(n))
        x = torch.randn(max(1, VALUES // (3 * n * n)), 3, n, n)
        difference = float((basis.forward(x) - fast_cosine_2d(x)).abs().max())
        assert difference < 1e-4, difference
        found = pair(lambda basis=basis, x=x: basis.forward(x), lambda x=x: fast_cosine_2d(x), given.repeats)
        sizes[str(n)] = {**found, "batch": len(x), "largest_difference": difference}
    report({"sizes": sizes}, given.out)


if __name__ == "__main__":
    main()
