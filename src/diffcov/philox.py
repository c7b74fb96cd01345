"""Philox-4x32-10: 128 bits of counter and 64 of key in, 128 random bits out, and no state between calls.

Plain integer arithmetic of torch, so a CPU and a GPU give the same words. Words live in int64, whose products wrap as
those of unsigned 64 bits do: the low half of a product is the low word, and the high word is what a shift leaves.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3 and table 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["WORD", "Counter", "normals", "philox"]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
STEPS = (0x9E3779B9, 0xBB67AE85)
"""What the two words of the key grow by each round."""
ROUNDS, SPREAD = 10, 4
"""After four rounds every word depends on every word of the counter, and so has the full shape."""
WORD = 0xFFFFFFFF
"""The largest word."""

Counter = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four words in 0..2^32-1, int64, of shapes that broadcast."""


def philox(counter: Counter, key: tuple[int, int]) -> Counter:
    """The four random words of each counter, int64 in 0..2^32-1, of the counter's broadcast shape.

    Args:
        counter: the first rounds cost as little as its words' own shapes let them.
        key: two words in 0..2^32-1.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(SPREAD):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = ((p1 >> 32) ^ (c1 ^ k0)).bitwise_and_(WORD)
        c2 = ((p0 >> 32) ^ (c3 ^ k1)).bitwise_and_(WORD)
        c1, c3 = p1, p0  # their high halves go with the mask of the next round
        k0, k1 = _grown(k0, k1)
    p0, p1 = torch.empty_like(c0), torch.empty_like(c0)
    for _ in range(ROUNDS - SPREAD):  # in place: memory is what a round costs
        torch.mul(c0, MULTIPLIERS[0], out=p0)
        torch.mul(c2, MULTIPLIERS[1], out=p1)
        torch.bitwise_right_shift(p1, 32, out=c0)
        torch.bitwise_right_shift(p0, 32, out=c2)
        c0.bitwise_xor_(c1.bitwise_xor_(k0)).bitwise_and_(WORD)
        c2.bitwise_xor_(c3.bitwise_xor_(k1)).bitwise_and_(WORD)
        c1, c3, p1, p0 = p1, p0, c1, c3
        k0, k1 = _grown(k0, k1)
    return c0, c1.bitwise_and_(WORD), c2, c3.bitwise_and_(WORD)


def _grown(k0: int, k1: int) -> tuple[int, int]:
    return k0 + STEPS[0] & WORD, k1 + STEPS[1] & WORD


def normals(words: Counter) -> Tensor:
    """Four draws of N(0, 1) a counter, (..., 4, n) float32 for words of (..., n); at most 6.77 in size.

    Box and Muller's transform of two pairs of words, in float64 and rounded once: devices differ in the last bits of
    their logarithms, and what they draw in the last bit of a float32 at most.
    """
    *front, n = words[0].shape
    out = torch.empty(*front, 4, n, dtype=torch.float32, device=words[0].device)
    for half in (0, 2):
        radius = words[half].double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = words[half + 1].double().mul_(2 * math.pi * 2.0**-32)
        out[..., half, :] = angle.cos().mul_(radius)
        out[..., half + 1, :] = angle.sin_().mul_(radius)
    return out
