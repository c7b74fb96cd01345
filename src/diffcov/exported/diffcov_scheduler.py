"""A scheduler for diffusers that steps with a measured covariance; it needs torch and diffusers, nothing of diffcov.

    scheduler = DiffcovScheduler.from_pretrained("folder", subfolder="scheduler")
    DDPMPipeline(unet, scheduler)(num_inference_steps=10)

Each step is x_s = mean + sqrt(lambda2 + gamma^2 var_x0) z, where mean is the posterior mean at the network's x0_hat,
lambda2 what the posterior keeps when x_0 is known, and var_x0 what was measured to be uncertain in x_0: one number a
time, or one a time, frequency and colour. Written by ``diffcov export``; numbers in the configuration are base64 of
float64.
"""

from __future__ import annotations

import base64
import math
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor

__all__ = ["DiffcovScheduler", "packed", "unpacked"]


def packed(numbers: Any) -> dict[str, Any]:
    """An array as JSON: its shape, and its float64 numbers in base64."""
    array = np.asarray(numbers, dtype="<f8")
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode("ascii")}


def unpacked(value: dict[str, Any]) -> torch.Tensor:
    """The inverse of :func:`packed`."""
    array = np.frombuffer(base64.b64decode(value["data"]), dtype="<f8")
    return torch.from_numpy(array.reshape(value["shape"]).copy())


class DiffcovScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Few steps with a measured covariance.

    Args:
        num_train_timesteps: T.
        log_alpha: (T+1,) packed, log(alpha_bar_t / alpha_bar_{t-1}), 0 first.
        prediction_type: "epsilon", "v_prediction" or "sample".
        covariance: name of the covariance, for people.
        var_x0: (T+1,) packed, one variance of x_0 a time, within its bounds; None where there is a spectrum.
        spectrum: (M, C, h, w) packed, log of the error of eps in cosines at M knots, by frequency cell.
        weights: (T+1, M) packed, how each time's logarithms are made of those at the knots.
        cells: [rows, columns], the cell of each row and column of coefficients.
        colour: (C, C) packed, the rotation of the channels.
        solver: name of the solver, for people.
        mean_through: "x_t" (the mean of DDPM) or "eps_hat" (that of DDIM, eps_hat as predicted).
        eta: 0..1, the noise that is kept when x_0 is known.
        clip_sample: whether x0_hat is kept in the range of the data.
        low, high: the range.
        last_noise: the largest variance of the last noise; None: no cap.
        time_offset, time_scale: the network is told (t - offset) * scale for t = 1..T.
    """

    _compatibles: ClassVar[list[Any]] = []
    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        log_alpha: dict[str, Any] | None = None,
        prediction_type: str = "epsilon",
        covariance: str = "small",
        var_x0: dict[str, Any] | None = None,
        spectrum: dict[str, Any] | None = None,
        weights: dict[str, Any] | None = None,
        cells: list[list[int]] | None = None,
        colour: dict[str, Any] | None = None,
        solver: str = "",
        mean_through: str = "x_t",
        eta: float = 1.0,
        clip_sample: bool = True,
        low: float = -1.0,
        high: float = 1.0,
        last_noise: float | None = None,
        time_offset: float = 1.0,
        time_scale: float = 1.0,
    ) -> None:
        T = num_train_timesteps
        if log_alpha is None:
            raise ValueError("a DiffcovScheduler is made by `diffcov export`, and read with from_pretrained")
        self.log_alpha = unpacked(log_alpha)
        log_alpha_bar = self.log_alpha.cumsum(0)
        self.alpha_bar, self.beta_bar = log_alpha_bar.exp(), -log_alpha_bar.expm1()
        self.alphas_cumprod, self.betas = self.alpha_bar[1:].float(), -self.log_alpha[1:].expm1().float()
        self.var_x0 = torch.zeros(T + 1, dtype=torch.float64) if var_x0 is None else unpacked(var_x0)
        self.spectrum = None if spectrum is None else (unpacked(spectrum), unpacked(weights or {}))
        self.factors = None if colour is None or cells is None else _factors(unpacked(colour), cells)
        self.cells = cells
        self.init_noise_sigma = 1.0
        self.set_timesteps(T)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: list[int] | None = None,
    ) -> None:
        """Choose the K times of the even grid, t_k = round(1 + (k-1)(T-1)/(K-1)), or a list of our times 1..T."""
        T = int(self.config.num_train_timesteps)
        if timesteps is not None:
            grid = sorted(int(t) for t in timesteps)
        elif num_inference_steps is None or not 1 <= num_inference_steps <= T:
            raise ValueError(f"the number of steps must be between 1 and {T}, found {num_inference_steps}")
        elif num_inference_steps == 1:
            grid = [T]
        else:
            K = num_inference_steps
            grid = [round(1 + Fraction(k * (T - 1), K - 1)) for k in range(K)]
        if len(set(grid)) != len(grid) or grid[0] < 1 or grid[-1] > T:
            raise ValueError(f"times must be different whole numbers in 1..{T}, found {grid}")
        self.num_inference_steps = len(grid)
        told = [(t - self.config.time_offset) * self.config.time_scale for t in reversed(grid)]
        whole = all(float(one).is_integer() for one in told)
        self.timesteps = torch.tensor(told, dtype=torch.int64 if whole else torch.float64, device=device)
        self._pairs = dict(zip(told, zip(reversed([0, *grid[:-1]]), reversed(grid), strict=True), strict=True))
        self._last_noisy = grid[0]

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """The sample: the network sees x_t as it is."""
        return sample

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """sqrt(alpha_bar_t) x_0 + sqrt(beta_bar_t) eps at network times (B,)."""
        t = (timesteps.double() / self.config.time_scale + self.config.time_offset).round().long().cpu()
        signal, noisy = self.alpha_bar[t].sqrt(), self.beta_bar[t].sqrt()
        shape = (-1,) + (1,) * (original_samples.ndim - 1)
        a, b = (one.reshape(shape).to(original_samples.device, original_samples.dtype) for one in (signal, noisy))
        return a * original_samples + b * noise

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: Any = None,
        variance_noise: torch.Tensor | None = None,
        return_dict: bool = True,
        **unused: Any,
    ) -> Any:
        """x_s from x_t.

        Args:
            model_output: of the network, (B, C, H, W), or (B, 2C, H, W) if it learned a variance, which is not used.
            timestep: one of ``timesteps``.
            sample: x_t.
            generator: of the noise.
            variance_noise: white noise to use instead, of the size of the sample.
            return_dict: whether the result has names.
        """
        told = float(timestep)
        if told not in self._pairs:
            raise ValueError(f"{told:g} is none of the chosen timesteps {self.timesteps.tolist()}; call set_timesteps")
        s, t = self._pairs[told]
        if model_output.shape[1] == 2 * sample.shape[1]:
            model_output = model_output[:, : sample.shape[1]]
        x0_hat, eps_hat = self._estimates(model_output, sample, t)
        if self.config.clip_sample:
            x0_hat = x0_hat.clamp(self.config.low, self.config.high)
        lambda2, direction, gamma = self._coefficients(s, t)
        if self.config.mean_through == "x_t":
            x_s = gamma * x0_hat + (direction / math.sqrt(self.beta_bar[t])) * sample
        else:
            x_s = math.sqrt(self.alpha_bar[s]) * x0_hat + direction * eps_hat
        if s > 0:
            noise = variance_noise
            if noise is None:
                noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            x_s = x_s + self._colored(noise, lambda2, gamma, t, last=s == self._last_noisy)
        if not return_dict:
            return (x_s,)
        return DDPMSchedulerOutput(prev_sample=x_s, pred_original_sample=x0_hat)

    def _estimates(self, output: torch.Tensor, x_t: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(x0_hat, eps_hat)."""
        a, b = math.sqrt(self.alpha_bar[t]), math.sqrt(self.beta_bar[t])
        if self.config.prediction_type == "epsilon":
            return (x_t - b * output) / a, output
        if self.config.prediction_type == "v_prediction":
            return a * x_t - b * output, b * x_t + a * output
        return output, (x_t - a * output) / b

    def _coefficients(self, s: int, t: int) -> tuple[float, float, float]:
        """(lambda2, direction, gamma) of the step."""
        log_ts = math.fsum(self.log_alpha[s + 1 : t + 1].tolist())
        alpha_ts, beta_ts = math.exp(log_ts), -math.expm1(log_ts)
        bar_s, bar_t, eta = float(self.beta_bar[s]), float(self.beta_bar[t]), float(self.config.eta)
        share = 1.0 if s == 0 else beta_ts / bar_t
        kept = alpha_ts * bar_s / bar_t
        not_lambda = (1 - eta) * (1 + eta) * share + kept
        u = kept * not_lambda
        gamma = math.sqrt(self.alpha_bar[s]) * share * (1 + eta**2 - eta**2 * share) / (1 + math.sqrt(u))
        return eta**2 * share * bar_s, math.sqrt(bar_s * not_lambda), gamma

    def _colored(self, noise: torch.Tensor, lambda2: float, gamma: float, t: int, last: bool) -> torch.Tensor:
        """The noise with the covariance of the step."""
        var = lambda2 + gamma**2 * self._var(t)
        if last and self.config.last_noise is not None:
            var = var.clamp(max=self.config.last_noise)
        std = var.sqrt().to(noise.device, noise.dtype)
        if self.factors is None:
            return std * noise
        colour, rows, columns = (one.to(noise.device, noise.dtype) for one in self.factors)
        turned = rows.T @ (std * noise) @ columns
        return torch.einsum("dc,...dhw->...chw", colour, turned)

    def _var(self, t: int) -> torch.Tensor:
        """Cov[x_0 | x_t]: one number, or (C, H, W) in cosines times colours."""
        if self.spectrum is None or self.factors is None or self.cells is None:
            return self.var_x0[t]
        logs, weights = self.spectrum
        in_cells = (weights[t] @ logs.flatten(1)).exp().reshape(logs.shape[1:])
        spread = in_cells[:, self.cells[0]][..., self.cells[1]]
        ratio = float(self.beta_bar[t] / self.alpha_bar[t]) if self.alpha_bar[t] > 0 else 1.0
        colour, rows, columns = (factor.abs().sum(1) for factor in self.factors)
        widest = (colour[:, None, None] * rows[:, None] * columns).square()
        most = ((self.config.high - self.config.low) / 2) ** 2 * widest
        return (ratio * spread).clamp(min=0.0).minimum(most)


def _factors(colour: torch.Tensor, cells: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The colour rotation and the cosine transforms of both axes."""
    return colour, _cosines(len(cells[0])), _cosines(len(cells[1]))


def _cosines(n: int) -> torch.Tensor:
    u, j = torch.arange(n, dtype=torch.int64)[:, None], torch.arange(n, dtype=torch.int64)
    rows = ((u * (2 * j + 1) % (4 * n)).double() * (math.pi / (2 * n))).cos() * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows
