"""``dpmpp``: DPM-Solver++, multistep, of order 1 to 3, and with eta 1 its form for the reverse SDE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from diffcov.diffusion.step import Eta, Step
from diffcov.solver.lam import half_log_snr, moments, speed
from diffcov.solver.multistep import Multistep, Seen

__all__ = ["DPMpp"]


@dataclass(frozen=True)
class DPMpp(Multistep):
    """x0_hat as a polynomial in lambda through the last looks, integrated as the step weighs it.

    With h the step in lambda, h' the one before it and H of :func:`speed`, order 2 (midpoint) has the trend
    h / (2 h') (x0_hat(t) - x0_hat(u)), u being the time before t; order 3 integrates the parabola through three looks.
    With eta 1 order 2 is SDE-DPM-Solver++(2M), and order 1 is DDPM. The published program of order 3 takes half of the
    parabola's second derivative, which makes it converge with order 2; this one does not.

    Args:
        eta: 0..1, one number or one a step. With noise, x0_hat is nearly a martingale and has less of a trend.
    """

    eta: Eta = 0.0

    name = "dpmpp"
    summary = "DPM-Solver++ multistep in x0_hat; --eta 1 is its SDE form"
    reference = "arXiv 2211.01095, algorithm 2 and appendix B"

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """h / (2 h') (x0_hat(t) - x0_hat(u)), or that of the parabola through three looks."""
        lambdas = [half_log_snr(step.schedule, one.t) for one in seen]
        h = half_log_snr(step.schedule, step.s) - lambdas[0]
        r0 = (lambdas[0] - lambdas[1]) / h
        slope = (seen[0].x0_hat - seen[1].x0_hat) / r0
        if len(seen) == 2:
            return slope / 2
        r1 = (lambdas[1] - lambdas[2]) / h
        before = (seen[1].x0_hat - seen[2].x0_hat) / r1
        bend = (slope - before) / (r0 + r1)
        slope = slope + r0 / (r0 + r1) * (slope - before)  # r1 is infinite where the oldest look is at noise alone
        first, second = moments(speed(step), 2)
        return first * slope + second * bend
