"""What a head is fitted by. Both losses have the same minimiser, E[target | x_t]; they differ in what they care for.

The squared error is in units of the target squared, which falls by orders of magnitude over t: it fits where the target
is large and leaves the rest. The likelihood of a Gaussian whose variance is the head's output depends on their ratio
alone, so that every t weighs alike. Its derivative in the output, 1/g - target/g^2, is linear in the target: the
target may be noisy, and even of either sign, as long as its mean is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "Loss"]


@dataclass(frozen=True)
class Loss:
    """A loss of a head.

    Attributes:
        value: (output, target) -> loss, elementwise.
        link: how the head's network moves its start, a name of ``nets.variance_head.LINKS``.
        from_start: whether the head starts at its covariance's own start, or at the published one.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    link: str
    from_start: bool


def squared(output: Tensor, target: Tensor) -> Tensor:
    """(target - output)^2. Source: arXiv 2206.07309."""
    return (target - output).square()


def likelihood(output: Tensor, target: Tensor) -> Tensor:
    """target / g + log g: twice -log N(error; 0, g) of an error whose square is the target, less log 2pi."""
    return target / output + output.log()


LOSSES: dict[str, Loss] = {
    "likelihood": Loss(likelihood, link="log", from_start=True),
    "squared": Loss(squared, link="identity", from_start=False),
}
"""Losses by the name the command line gives them."""
