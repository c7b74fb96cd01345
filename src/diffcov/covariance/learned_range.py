"""``learned-range``: what the network itself says beside its mean, a place between beta_tilde and beta of the step."""

from __future__ import annotations

from diffcov.covariance.base import Covariance
from diffcov.denoiser.look import Look
from diffcov.errors import InputError
from diffcov.gaussian import Ranged


class LearnedRange(Covariance):
    """The second half v of the output: (v + 1) / 2 is how far from beta_tilde to beta it is, in logarithms.

    Both ends are those of the pair (s, t), never a beta of the trained chain, so that it can be used with few steps. It
    is a statement on p(x_s | x_t) itself: what it makes of x_0 depends on the step, see :class:`Ranged`.
    """

    name = "learned-range"
    reads_range = True
    of_ddpm = True
    summary = "between beta-tilde and beta, where the network's own second half says (DDPM only)"
    formula = "so that log var_xs = f log beta_ts + (1 - f) log beta_tilde, f = (v(x_t, t) + 1) / 2"
    reference = "arXiv 2102.09672, equation 15"

    def unbounded(self, look: Look) -> Ranged:
        """The place in the range of each pixel, (B, C, H, W) float64; within the range where v is in [-1, 1].

        Raises:
            InputError: a network that learned no variance.
        """
        if look.learned is None:
            raise InputError(
                "the learned-range covariance is the second half of a network's output, and this network gives its "
                "mean alone; use another covariance, such as corrected"
            )
        return Ranged.of((look.learned.double() + 1) / 2, float(self.schedule.beta_bar[look.time]))
