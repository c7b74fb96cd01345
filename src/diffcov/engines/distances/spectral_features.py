"""A feature space without any network: the brightness, contrast and spectrum of one image."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor

from diffcov.basis import cosine, radial_bands
from diffcov.data import DataDescription
from diffcov.engines.distances.features import FeatureSpace

__all__ = ["spectrum_space"]

FLOOR = 1e-4
"""Added to powers before their logarithm, in units of a coefficient of the data's range: a flat image has no power."""


def spectrum_space(data: DataDescription) -> FeatureSpace:
    """The mean of each channel, and for each channel and radial band the root mean square of its cosine coefficients.

    Amplitudes and not logarithms, so that the Frechet distance is in grey levels and a band that holds little counts
    little. Few numbers an image, so that few samples suffice; it sees what a covariance and a scale change, and nothing
    of what is in the picture.
    """
    bands, names = radial_bands(data.height, data.width)
    count = len(names)
    basis = cosine(*data.shape, torch.eye(data.channels, dtype=torch.float64))
    weights = torch.zeros(count, data.height * data.width, dtype=torch.float64)
    weights[bands.flatten(), torch.arange(data.height * data.width)] = 1
    weights = weights / weights.sum(1, keepdim=True)

    def extract(images: Tensor) -> Tensor:
        x = data.encode(images).double().cpu()
        mean = x.mean((-2, -1))
        power = basis.forward(x - mean[..., None, None]).square().flatten(2) @ weights.T
        return torch.cat([mean, (power + FLOOR**2).sqrt().flatten(1)], 1).float()

    record = json.dumps(["spectrum", 1, data.as_dict(), list(names)], sort_keys=True)
    digest = hashlib.sha256(record.encode()).hexdigest()
    return FeatureSpace("spectrum", digest, data.channels * (1 + count), extract)
