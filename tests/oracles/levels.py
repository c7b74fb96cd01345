"""The mass of a normal distribution on one grey level, in 50 digits."""

from __future__ import annotations

from diffcov.data import DataDescription
from oracles.exact import MP


def level_nats(level: int, mean: float, var: float, data: DataDescription) -> float:
    """-log of the mass of N(mean, var) between the middles to the neighbouring levels; end levels take the tails."""
    width = (MP.mpf(data.high) - MP.mpf(data.low)) / (data.levels - 1)
    edge = MP.mpf(data.low) + (level - MP.mpf("0.5")) * width - MP.mpf(mean)
    scale = MP.sqrt(2 * MP.mpf(var))
    below = -MP.inf if level == 0 else edge / scale
    above = MP.inf if level == data.levels - 1 else (edge + width) / scale
    if below + above > 0:  # mirror, so that both complements are small
        below, above = -above, -below
    return float(-MP.log((_erfc(-above) - _erfc(-below)) / 2))


def _erfc(z: MP.mpf) -> MP.mpf:
    return MP.mpf(0) if z == MP.inf else MP.erfc(z)
