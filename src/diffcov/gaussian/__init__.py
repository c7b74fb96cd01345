"""Gaussians that are diagonal in some orthonormal basis."""
