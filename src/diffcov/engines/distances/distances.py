"""How far samples are from data in one feature space: every distance at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from diffcov.engines.distances.error import frechet_influence, standard_error
from diffcov.engines.distances.frechet import Gaussian, frechet_distance, require_enough
from diffcov.engines.distances.kernel import kernel_distance, mean_within
from diffcov.engines.distances.manifold import precision_recall

__all__ = ["Distances", "Reference", "distances"]


@dataclass(frozen=True)
class Reference:
    """What is known of the data in a feature space.

    Attributes:
        gaussian: mean and covariance over all images.
        features: (m, F) float32 in an order without meaning; None where only mean and covariance are known.
        count: images behind the Gaussian; 0 if unknown.
    """

    gaussian: Gaussian
    features: Tensor | None
    count: int

    @cached_property
    def within(self) -> float | None:
        """The reference's own term of a kernel distance, computed once for all samples; None without features."""
        return None if self.features is None else mean_within(self.features)


@dataclass(frozen=True)
class Distances:
    """The distances of one set of samples to one reference; None needs features that the reference does not have.

    Attributes:
        count: number of samples.
        fid: Frechet distance, >= 0, lower is better.
        fid_stderr: its standard error over samples; see :mod:`diffcov.engines.distances.error`.
        kid: kernel distance, about 0 for samples like the data, lower is better.
        precision: share of samples among the data, in [0, 1].
        recall: share of the data among the samples, in [0, 1].
        influence: (count,) float64, of each sample on the Frechet distance.
    """

    count: int
    fid: float
    fid_stderr: float
    kid: float | None
    precision: float | None
    recall: float | None
    influence: Tensor = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, float | None]:
        """The numbers as plain values, for JSON."""
        return {
            "count": self.count,
            "fid": self.fid,
            "fid_stderr": self.fid_stderr,
            "kid": self.kid,
            "precision": self.precision,
            "recall": self.recall,
        }


def distances(samples: Tensor, reference: Reference) -> Distances:
    """Compare features.

    Args:
        samples: (n, F) features of the samples.
        reference: the data. Precision and recall take the first min(n, m) of each set.

    Raises:
        UsageError: fewer samples than dimensions, or too few for a kernel distance or for neighbours.
    """
    count, dims = samples.shape
    require_enough(count, dims, "samples")
    gaussian = Gaussian.of(samples)
    fid = frechet_distance(gaussian, reference.gaussian)
    influence = frechet_influence(samples, gaussian, reference.gaussian)
    stderr = standard_error(influence)
    if reference.features is None:
        return Distances(count, fid, stderr, None, None, None, influence)
    kid = kernel_distance(samples, reference.features, reference.within)
    equal = min(count, len(reference.features))
    precision, recall = precision_recall(samples[:equal], reference.features[:equal])
    return Distances(count, fid, stderr, kid, precision, recall, influence)
