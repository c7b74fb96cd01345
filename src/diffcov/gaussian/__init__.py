"""Gaussians that are diagonal in some orthonormal basis: clip, lift, draw, and divergences in nats."""

from diffcov.gaussian.diagonal import Diagonal
from diffcov.gaussian.nats import discretised_nats, kl_diagonal, kl_lifted
from diffcov.gaussian.ranged import Ranged

__all__ = ["Diagonal", "Ranged", "discretised_nats", "kl_diagonal", "kl_lifted"]
