"""A scheduler for diffusers that steps with a measured covariance; it needs torch and diffusers.

    scheduler = DiffcovScheduler.from_pretrained("folder", subfolder="scheduler")
    DDPMPipeline(unet, scheduler)(num_inference_steps=10)

Each step is x_s = mean + sqrt(lambda2 + gamma^2 var_x0) z, where mean is the posterior mean at the network's x0_hat,
lambda2 what the posterior keeps when x_0 is known, and var_x0 what was measured to be uncertain in x_0: one number a
time, or one a time, frequency and colour; or what a head says at every step, see DiffcovPipeline. Written by ``diffcov
export``; numbers in the configuration are base64 of float64.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor

from diffcov.basis.cosine import cosine
from diffcov.exported.packing import unpacked

__all__ = ["DiffcovScheduler"]


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
        head: whether a head says what is uncertain, and ``step`` wants to be told. Without a spectrum var_x0 is r (head
            - less_square eps_hat^2) a pixel, with one it is r spectrum head a coefficient; r = beta_bar / alpha_bar.
        less_square: 0 or 1.
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
        head: bool = False,
        less_square: float = 0.0,
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
        self.basis = None
        if colour is not None and cells is not None:
            axes = unpacked(colour)
            self.basis = cosine(len(axes), len(cells[0]), len(cells[1]), axes)
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
        times = torch.tensor(grid[::-1], dtype=torch.float32)  # in which networks are told times
        told = ((times - self.config.time_offset) * self.config.time_scale).tolist()
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
        head: torch.Tensor | None = None,
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
            head: what the head says at x_t, of the size of the sample, where the covariance has one.
        """
        if self.config.head and head is None:
            raise ValueError(
                f"the {self.config.covariance} covariance needs its head at every step: sample with the folder's "
                "DiffcovPipeline, or tell step what the head says"
            )
        s, t = self._pair(timestep)
        if model_output.shape[1] == 2 * sample.shape[1]:
            model_output = model_output[:, : sample.shape[1]]
        x0_hat, eps_hat = self.estimates(model_output, sample, t)
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
            var = lambda2 + gamma**2 * self._var(t, head, eps_hat)
            if s == self._last_noisy and self.config.last_noise is not None:
                var = var.clamp(max=self.config.last_noise)
            x_s = x_s + self._colored(var, noise)
        if not return_dict:
            return (x_s,)
        return DDPMSchedulerOutput(prev_sample=x_s, pred_original_sample=x0_hat)

    def time_of(self, timestep: Any) -> int:
        """t in 1..T of one of the chosen ``timesteps``."""
        return int(self._pair(timestep)[1])

    def _pair(self, timestep: Any) -> tuple[int, int]:
        """(s, t) of the step from one of the chosen timesteps."""
        told = float(timestep)
        if told not in self._pairs:
            raise ValueError(f"{told:g} is none of the chosen timesteps {self.timesteps.tolist()}; call set_timesteps")
        s, t = self._pairs[told]
        return s, t

    def estimates(self, output: torch.Tensor, x_t: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(x0_hat, eps_hat) that an output at time t says, unclipped."""
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

    def _colored(self, var: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Noise of the variances of pixels or of coefficients."""
        colored = var.sqrt().to(noise.device, noise.dtype) * noise
        return colored if self.basis is None else self.basis.inverse(colored)

    def _var(self, t: int, head: torch.Tensor | None, eps_hat: torch.Tensor) -> torch.Tensor:
        """Cov[x_0 | x_t] within its bounds: a number, or one a pixel, or one a cosine and colour."""
        ratio = float(self.beta_bar[t] / self.alpha_bar[t]) if self.alpha_bar[t] > 0 else 1.0
        most = ((self.config.high - self.config.low) / 2) ** 2
        if self.spectrum is None or self.basis is None:
            less = float(self.config.less_square)
            var: torch.Tensor = self.var_x0[t] if head is None else ratio * (head - less * eps_hat.square())
            return var.clamp(0.0, most)
        logs, weights = self.spectrum
        in_cells = (weights[t] @ logs.flatten(1)).exp().reshape(logs.shape[1:])
        rows, columns = self.config.cells
        spread = in_cells[:, rows][..., columns]
        if head is not None:
            spread = spread.to(head.device) * head
        widest = torch.as_tensor(self.basis.largest_variance(most), device=spread.device)
        return (ratio * spread).clamp(min=0.0).minimum(widest)
