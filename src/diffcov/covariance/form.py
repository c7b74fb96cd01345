"""What a covariance says that it is made of, for those who compute it without its class: exported schedulers."""

from __future__ import annotations

from enum import Enum

__all__ = ["Form"]


class Form(Enum):
    """Ways to make var_x0 before its bounds; r = beta_bar / alpha_bar, and the value is the formula.

    Everything but a head and eps_hat in it depends on the time alone.
    """

    BY_TIME = "one number a time"
    HEAD = "r head(x_t, t)"
    HEAD_LESS_SQUARE = "r (head(x_t, t) - eps_hat^2)"
    SPECTRUM = "r spectrum(t)"
    SPECTRUM_HEAD = "r spectrum(t) head(x_t, t)"

    @property
    def has_head(self) -> bool:
        """Whether a head is asked at every look."""
        return self in (Form.HEAD, Form.HEAD_LESS_SQUARE, Form.SPECTRUM_HEAD)

    @property
    def in_cosines(self) -> bool:
        """Whether it is one of frequencies and colours, in the basis of the spectrum."""
        return self in (Form.SPECTRUM, Form.SPECTRUM_HEAD)

    @property
    def less_square(self) -> float:
        """How many eps_hat^2, as the network predicts it, are taken off of what a head says: 0 or 1."""
        return 1.0 if self is Form.HEAD_LESS_SQUARE else 0.0
