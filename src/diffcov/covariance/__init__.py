"""The heart: one method, one file, one class. :mod:`diffcov.covariance.registry` lists them by name."""
