"""What few images at each of many noise levels say of all noise levels: curves over log-SNR through their means.

A mean over images scatters by its standard error, the truth does not scatter at all: it is smooth in log-SNR. So a
curve through the means of a few dozen times, with other images at each, says at every time what all of them say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.statistics.moments import Moments, pooled
from diffcov.statistics.smooth import SmoothCurve

__all__ = ["LogCurve", "error_curve", "log_snr_of", "norm_curve", "smoothed"]

LEAST = 1e-30
"""What a mean of squares counts at least, where its logarithm is taken."""


def log_snr_of(alpha_bar: Tensor) -> Tensor:
    """log(alpha_bar / (1 - alpha_bar)), -inf where there is no signal."""
    return alpha_bar.log() - (-alpha_bar).log1p()


@dataclass(frozen=True, eq=False)
class LogCurve:
    """Means of squares at M noise levels, and the curve through their logarithms.

    Attributes:
        curve: of the columns' logarithms over log-SNR, all under the columns' common relative variance.
        scale: (n,) how a column's standard deviation compares with the common one.
    """

    curve: SmoothCurve
    scale: Tensor

    @classmethod
    def through(cls, log_snr: Tensor, moments: Moments) -> LogCurve:
        """The curve through means (M, ...) of at least two noise levels, each of its own images.

        E log(mean) is log E - v / 2 to the first order in the relative variance v of a mean, which is put back. v is
        that of neighbours together, over their mean squares together: a place that is small by chance has no say in it.
        """
        mean = moments.mean().clamp(min=LEAST)
        per_image = pooled(moments.spread(), moments.count) / pooled(mean.square(), moments.count)
        variance = per_image / moments.count
        mean, variance = mean.reshape(len(mean), -1), variance.reshape(len(mean), -1).nan_to_num(nan=1.0)
        common = variance.clamp(min=LEAST).log().mean(1).exp()
        scale = (variance / common[:, None]).mean(0).sqrt()
        logs = mean.log() + variance.clamp(max=1) / 2
        theta = SmoothCurve(log_snr, logs / scale, common).theta  # a column that scatters more says less of the bends
        return cls(SmoothCurve(log_snr, logs, common, theta), scale)

    def mean(self, log_snr: Tensor) -> Tensor:
        """(B, n) float64 > 0."""
        return self.curve.mean(log_snr).exp()

    def relative_stderr(self, log_snr: Tensor) -> Tensor:
        """(B, n) float64, the standard error over the mean."""
        return self.curve.stderr(log_snr)[:, None] * self.scale


def smoothed(alpha_bar: Tensor, measured: Moments) -> Moments:
    """The curves through means of squares at all of M knots, at the knots.

    Args:
        alpha_bar: (M,) of the knots; one without signal answers for itself alone.
        measured: (M, ...).

    Returns:
        Of the same shape, as if all images had been measured at each knot, with the curves' standard errors.
    """
    return _at(alpha_bar, measured, (alpha_bar > 0).nonzero().flatten())


def error_curve(alpha_bar: Tensor, measured: Moments) -> Moments:
    """E||eps - eps_hat||^2 / d at every time.

    Args:
        alpha_bar: (T+1,) of the schedule; a time without signal answers for itself alone.
        measured: (T+1,), no image at most times; index 0 is unused.

    Returns:
        (T+1,), as if all images had been measured at each time between the first and the last that was, with the
        curve's standard error.
    """
    return _at(alpha_bar, measured, _between(alpha_bar, measured))


def norm_curve(alpha_bar: Tensor, norm: Moments, error: Moments) -> Moments:
    """E||eps_hat||^2 / d at every time.

    1 - E||eps_hat||^2 / d = E + 2 E[eps_hat . (eps - eps_hat)] / d with E = E||eps - eps_hat||^2 / d. The last term is
    0 for a mean whose error has nothing to do with what it says, and may have either sign. Over sqrt(E) it scatters
    alike at all noise levels, and through that the curve is laid.

    Args:
        alpha_bar: (T+1,) of the schedule.
        norm: (T+1,), no image at most times.
        error: (T+1,), what :func:`error_curve` says.
    """
    knots, asked = _knots(alpha_bar, norm), _between(alpha_bar, norm)
    if len(knots) < 2:
        return norm
    log_snr, of_error = log_snr_of(alpha_bar), error.mean()
    at_knots, unit = norm.at(knots), of_error.sqrt()
    variance = pooled(at_knots.spread() / of_error[knots], at_knots.count) / at_knots.count
    joint = (1 - at_knots.mean() - of_error[knots]) / unit[knots]
    curve = SmoothCurve(log_snr[knots], joint[:, None], variance.nan_to_num(nan=1.0))
    found = curve.mean(log_snr[asked])[:, 0]
    stderr = torch.hypot(curve.stderr(log_snr[asked]) * unit[asked], error.stderr()[asked])
    return _with(norm, asked, 1 - of_error[asked] - found * unit[asked], stderr)


def _at(alpha_bar: Tensor, measured: Moments, asked: Tensor) -> Moments:
    """What was measured, but for the places that are asked for, where the curve speaks."""
    knots = _knots(alpha_bar, measured)
    if len(knots) < 2:
        return measured
    log_snr, shape = log_snr_of(alpha_bar), (len(asked), *measured.total.shape[1:])
    found = LogCurve.through(log_snr[knots], measured.at(knots))
    mean = found.mean(log_snr[asked])
    stderr = found.relative_stderr(log_snr[asked]) * mean
    return _with(measured, asked, mean.reshape(shape), stderr.reshape(shape))


def _knots(alpha_bar: Tensor, measured: Moments) -> Tensor:
    """The places with images and a signal."""
    return ((measured.count.flatten() > 0) & (alpha_bar > 0)).nonzero().flatten()


def _between(alpha_bar: Tensor, measured: Moments) -> Tensor:
    """All places from the first of these to the last."""
    knots = _knots(alpha_bar, measured)
    return torch.arange(int(knots[0]), int(knots[-1]) + 1) if len(knots) else knots


def _with(measured: Moments, asked: Tensor, mean: Tensor, stderr: Tensor) -> Moments:
    """What was measured, with other values where they are asked for."""
    images = measured.count.sum().clamp(min=2).expand(len(asked), *measured.count.shape[1:])
    return measured.replaced(asked, Moments.stating(mean, stderr, images))
