"""Orthonormal bases in which a covariance is diagonal: pixels, 2-D cosines with a colour rotation, any dense one.

In an orthonormal basis U a covariance is U^T diag(var) U: noise is U^T (sqrt(var) z), and the likelihood of a residual
is that of its coefficients U r one by one. Everything a covariance's users need of its basis is here.
"""

from diffcov.basis.bands import band_weights, radial_bands
from diffcov.basis.base import PIXEL, Basis, Pixel
from diffcov.basis.cosine import colour_axes, cosine, dct_matrix
from diffcov.basis.dense import Dense
from diffcov.basis.separable import Separable

__all__ = [
    "PIXEL",
    "Basis",
    "Dense",
    "Pixel",
    "Separable",
    "band_weights",
    "colour_axes",
    "cosine",
    "dct_matrix",
    "radial_bands",
]
