"""Which covariances a mean can have: all of them but those that read what it may not have learned."""

from __future__ import annotations

from diffcov.covariance import registry

__all__ = ["OF_ANY_MEAN"]

OF_ANY_MEAN = tuple(name for name, entry in registry.COVARIANCES.items() if not entry.reads_range)
"""Names, in the registry's order."""
