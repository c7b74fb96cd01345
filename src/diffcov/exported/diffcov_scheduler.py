"""A scheduler for diffusers that steps as a sampler of diffcov does; it needs torch and diffusers.

    scheduler = DiffcovScheduler.from_pretrained("folder", subfolder="scheduler")
    DDPMPipeline(unet, scheduler)(num_inference_steps=10)

Each step is x_s = mean + sqrt(lambda2 + gamma^2 c var_x0) z. The mean is the solver's, made of what the network says
now and, where the solver remembers, said before; lambda2 is what it keeps of the noise when x_0 is known, and var_x0
what was measured to be uncertain in x_0: one number a time, or one a time, frequency and colour; or what a head says at
every step, see DiffcovPipeline. The first x_t is noise; that of a sampler which starts below T is ``begin(noise)``.
Written by ``diffcov export``; numbers in the configuration are base64 of float64.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor

from diffcov.denoiser.look import Look
from diffcov.denoiser.parametrisation import PREDICTIONS
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import DiffcovError
from diffcov.exported.covariances import PackedCovariance
from diffcov.exported.looks import PackedLooks
from diffcov.exported.packing import unpacked
from diffcov.exported.solvers import solver_again
from diffcov.exported.tables import PackedErrors, PackedMatrices, PackedSpectrum, start_again
from diffcov.exported.times import PackedTimes
from diffcov.gaussian.diagonal import Diagonal
from diffcov.solver.base import Walk

__all__ = ["DiffcovScheduler"]


class DiffcovScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Few steps by any solver of diffcov, with a measured covariance.

    Args:
        num_train_timesteps: T.
        log_alpha: (T+1,) packed, log(alpha_bar_t / alpha_bar_{t-1}), 0 first.
        prediction_type: "epsilon", "v_prediction" or "sample".
        solver: its name and its numbers.
        grid: the name of a rule for K times, or the K times of 1..T that the solver was found with.
        num_inference_steps: K where nobody says another.
        covariance: its name, for people.
        share: c, the share of the covariance that is put back, 0..1.
        var_x0: (T+1,) packed, one variance of x_0 a time, within its bounds; None where it is of frequencies or a head.
        in_cosines: whether the covariance is one of frequencies and colours, made of the spectrum.
        head: whether a head says what is uncertain, and ``step`` wants to be told. In pixels var_x0 is then r (head -
            less_square eps_hat^2), in cosines r spectrum head; r = beta_bar / alpha_bar.
        less_square: 0 or 1.
        spectrum: error of eps_hat in cosines, see PackedSpectrum, where the covariance or the solver needs it.
        table: error of eps_hat by time, see PackedErrors, where the solver needs it.
        matrices: error of eps_hat between coefficients, see PackedMatrices, where the solver needs them.
        eps_scale: what eps_hat is divided by.
        clip_sample: whether x0_hat is kept in the range of the data.
        low, high: the range.
        last_noise: the largest variance of the last noise; None: no cap.
        start: the Gaussian of the images, see ``start_again``, where the first x_t is drawn from it; None: it is noise.
        spread_until: the time over which a named grid is spread in the place of T.
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
        solver: dict[str, Any] | None = None,
        grid: str | list[int] = "even",
        num_inference_steps: int | None = None,
        covariance: str = "small",
        share: float = 1.0,
        var_x0: dict[str, Any] | None = None,
        in_cosines: bool = False,
        head: bool = False,
        less_square: float = 0.0,
        spectrum: dict[str, Any] | None = None,
        table: dict[str, Any] | None = None,
        matrices: dict[str, Any] | None = None,
        eps_scale: float = 1.0,
        clip_sample: bool = True,
        low: float = -1.0,
        high: float = 1.0,
        last_noise: float | None = None,
        start: dict[str, Any] | None = None,
        spread_until: int | None = None,
        time_offset: float = 1.0,
        time_scale: float = 1.0,
    ) -> None:
        if log_alpha is None or not isinstance(solver, dict):
            raise ValueError(
                "a DiffcovScheduler is made by `diffcov export` of this version, read with from_pretrained"
            )
        self.schedule = NoiseSchedule({"name": "exported", "T": num_train_timesteps}, unpacked(log_alpha))
        self.alphas_cumprod = self.schedule.alpha_bar[1:].float()
        self.betas = -self.schedule.log_alpha[1:].expm1().float()
        frequencies = None if spectrum is None else PackedSpectrum.from_config(spectrum)
        errors = None if table is None else PackedErrors.from_config(table)
        pairs = None if matrices is None else PackedMatrices.from_config(matrices)
        self.solver = solver_again(solver, {"spectrum": frequencies, "table": errors, "matrices": pairs})
        told = None if var_x0 is None else unpacked(var_x0)
        own = frequencies if in_cosines else None
        self.covariance = PackedCovariance(self.schedule, ((high - low) / 2) ** 2, told, own, less_square)
        bounds = (low, high) if clip_sample else None
        self._looks = PackedLooks(self.schedule, PREDICTIONS[prediction_type], eps_scale, bounds)
        self.start = None if start is None else start_again(start)
        self.init_noise_sigma = 1.0
        self._times = PackedTimes(self.schedule, grid, spread_until, self.solver.eta, num_inference_steps)
        self.set_timesteps(self.own_steps or self._times.most)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: list[int] | None = None,
    ) -> None:
        """Choose K times by the configured rule, or a list of our times 1..T; a new walk from noise to data begins.

        Raises:
            ValueError: numbers of steps or times that cannot be, or that the sampler was not found with.
        """
        try:
            grid = self._times.grid(num_inference_steps, timesteps)
            self._steps = self.solver.steps(self.schedule, grid)
        except DiffcovError as error:
            raise ValueError(str(error)) from error
        self.num_inference_steps = grid.K
        convention = TimeConvention(self.config.time_offset, self.config.time_scale)
        told = convention(torch.tensor([step.t for step in self._steps])).tolist()
        whole = all(float(one).is_integer() for one in told)
        self.timesteps = torch.tensor(told, dtype=torch.int64 if whole else torch.float64, device=device)
        self._places = {float(one): place for place, one in enumerate(told)}
        self._walk: Walk | None = None
        self._next = 0
        self._begun = False

    @property
    def own_steps(self) -> int | None:
        """K where nobody says another; None: there is no such K."""
        return self._times.own_steps

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """x_t at the first timestep, of white noise (B, C, H, W): the noise itself, or what ``start`` makes of it."""
        self._begun = True
        return noise if self.start is None else self.start.draw(self.schedule, self._steps[0].t, noise)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """The sample: the network sees x_t as it is."""
        return sample

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """sqrt(alpha_bar_t) x_0 + sqrt(beta_bar_t) eps at network times (B,)."""
        t = (timesteps.double() / self.config.time_scale + self.config.time_offset).round().long()
        return q_sample(self.schedule, original_samples, t, noise)

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

        A solver that remembers does so from one timestep to the next; from any other, as from the first, a new walk
        begins.

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
        place = self._place(timestep)
        if place == 0 and self.start is not None and not self._begun:
            raise ValueError(
                f"this sampler starts at t={self._steps[0].t} from the Gaussian of the images, and not with noise: "
                "sample with the folder's DiffcovPipeline, or begin with x = scheduler.begin(noise)"
            )
        if self._walk is None or place == 0 or place != self._next:
            self._walk = self.solver.walk(self._steps[place:])
        self._next, self._begun = place + 1, False
        step = self._steps[place]
        look = self._looks.at(model_output, sample, step.t)
        x_s = self._walk.mean(step, look)
        if step.s > 0:
            noise = variance_noise
            if noise is None:
                noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            x_s = x_s + self._uncertainty(step, look, head).color(noise)
        if not return_dict:
            return (x_s,)
        return DDPMSchedulerOutput(prev_sample=x_s, pred_original_sample=look.x0_hat)

    def time_of(self, timestep: Any) -> int:
        """t in 1..T of one of the chosen ``timesteps``."""
        return self._steps[self._place(timestep)].t

    def _place(self, timestep: Any) -> int:
        """Number of the step from one of the chosen timesteps."""
        told = float(timestep)
        if told not in self._places:
            raise ValueError(f"{told:g} is none of the chosen timesteps {self.timesteps.tolist()}; call set_timesteps")
        return self._places[told]

    def estimates(self, output: torch.Tensor, x_t: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(x0_hat, eps_hat) that an output at time t says, neither scaled nor clipped."""
        return self._looks.estimates(output, x_t, t)

    def _uncertainty(self, step: Step, look: Look, head: torch.Tensor | None) -> Diagonal:
        """Cov[x_s | x_t] of a step."""
        found = self.covariance.at(look, head).shared(self.config.share).lifted(step)
        last = step.s == self._steps[-1].t and self.config.last_noise is not None
        return found.capped(self.config.last_noise) if last else found
