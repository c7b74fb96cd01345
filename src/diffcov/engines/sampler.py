"""What a sampler is: the one identity that manifests, caches, file names and reports go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.registry import make_covariance
from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.grids import make_grid
from diffcov.diffusion.step import Eta
from diffcov.digest import digest_of_values
from diffcov.engines.classes import Classes
from diffcov.engines.last_noise import default_cap_levels
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.solver_needs import gaussian_start, knowing
from diffcov.errors import UsageError
from diffcov.gaussian.start import GaussianStart
from diffcov.noise import NOISE, require_version
from diffcov.solver.base import Solver
from diffcov.solver.registry import make_solver

__all__ = ["Sampler", "ScaleFit"]


@dataclass(frozen=True)
class ScaleFit:
    """How the scale of eps_hat is found where it is fitted and not told.

    Attributes:
        version: of the fit.
        samples: drawn at each scale that is tried.
        data: digest of the images whose contrast is wanted.
    """

    version: int
    samples: int
    data: str


@dataclass(frozen=True, eq=False)
class Sampler:
    """How to go from noise to images. Equal digests draw equal images; with a scale to fit, once that is fitted.

    Args:
        denoiser: the mean, through the view that it is sampled through.
        covariance: of each step.
        solver: how the mean of a step is made.
        grid: the visited times.
        cap_levels: size of the last noise in grey levels, or None for no cap.
        classes: of the images; None for a mean without classes.
        seed: of start noise and step noise.
        scale_fit: where the scale of eps_hat is fitted, how. The identity then holds this and not the scale, and so is
            known before the fit.
        share: c, how much of the covariance is put back, 0..1: the noise has the variance lambda2 + gamma^2 c var_x0.
        start: what is drawn at the grid's last time; None: noise.
        noise: version of the noise: its generator, and the square root of a covariance that it is multiplied by. A
            manifest that says none is of version 1.

    Raises:
        UsageError: an unknown noise, a covariance that has no meaning for the solver or was built for another mean,
            a negative or endless cap, a grid of another T, or classes for a mean that has none or none for one that
            needs them.
    """

    denoiser: Denoiser
    covariance: Covariance
    solver: Solver
    grid: Grid
    cap_levels: float | None
    classes: Classes | None = None
    seed: int = 0
    scale_fit: ScaleFit | None = None
    share: float = 1.0
    start: GaussianStart | None = None
    noise: int = NOISE

    def __post_init__(self) -> None:
        require_version(self.noise)
        self.covariance.check_solver(self.solver)
        self.covariance.check_mean(self.denoiser.schedule, self.denoiser.data)
        if self.grid.T != self.denoiser.schedule.T:
            raise UsageError(
                f"the grid is one of T={self.grid.T}, and the mean was trained with T={self.denoiser.schedule.T}"
            )
        if self.cap_levels is not None and not 0 <= self.cap_levels < math.inf:
            raise UsageError(f"the cap on the last noise must be at least 0 grey levels, found {self.cap_levels}")
        if not 0 <= self.share <= 1:
            raise UsageError(f"--share of the covariance to put back must be between 0 and 1, found {self.share:g}")
        if self.classes is not None and not self.denoiser.classes:
            raise UsageError("classes were asked for, and this mean knows none; train one with --classes")
        if self.classes is None and self.denoiser.needs_labels:
            raise UsageError("this mean has never seen an image without a class: say which are wanted with --class")

    @classmethod
    def of(
        cls,
        denoiser: Denoiser,
        covariance: Covariance,
        *,
        steps: int,
        grid: str = "even",
        solver: str = "ddpm",
        eta: Eta | None = None,
        classes: Classes | None = None,
        seed: int = 0,
    ) -> Self:
        """A sampler by names, with the published cap on the last noise.

        Args:
            denoiser, covariance, classes, seed: as for the class.
            steps: K, the number of visited times.
            grid: which times, a name of ``diffusion.grids.GRIDS``.
            solver: a registered name.
            eta: of the solver, one number or one a step; None takes its own.

        Raises:
            UsageError: an unknown name, more steps than there are times, or as for the class.
        """
        chosen, times = make_solver(solver, eta), make_grid(grid, denoiser.schedule, steps)
        return cls.with_published_cap(denoiser, covariance, chosen, times, classes=classes, seed=seed)

    @classmethod
    def of_recipe(
        cls,
        recipe: Recipe | str,
        mean: Denoiser,
        *parts: Any,
        steps: int,
        guidance: float = 1.0,
        classes: Classes | None = None,
        seed: int = 0,
        covariance: Covariance | None = None,
        solver: Solver | None = None,
        start: GaussianStart | None = None,
    ) -> Self:
        """A sampler from a recipe, which decides everything but the mean, K, guidance, classes and seed.

        Args:
            recipe: the recipe, or the name of one of the literature; what tune wrote is read by ``Run.sampler``.
            mean: the mean itself, without a view: that is the recipe's.
            parts: the statistics and the head that its covariance and its solver are made of, in any order.
            steps: K.
            guidance: W of classifier-free guidance.
            classes, seed: as for the class.
            covariance, solver, start: those of the recipe where they are made already; None makes them of the parts.

        Raises:
            UsageError: no such recipe, listed times that are not K, or as for the class.
            InputError: a part is missing, does not fit the mean, or has no answer at a time that is visited.
        """
        if isinstance(recipe, str):
            if recipe not in LITERATURE:
                raise UsageError.unknown("recipe", recipe, LITERATURE)
            recipe = LITERATURE[recipe]
        if covariance is None:
            covariance = make_covariance(recipe.covariance, mean, *parts)
        if solver is None:
            plain = make_solver(recipe.solver, **recipe.of_solver)
            solver = knowing(plain, Ingredients.of(mean.schedule, mean.data, *parts))
        if start is None and recipe.start is not None:
            start = gaussian_start(Ingredients.of(mean.schedule, mean.data, *parts))
        times = recipe.times(mean.schedule, steps)
        covariance.check_times(times.times)
        seen = through(mean, View(recipe.clip_x0, recipe.eps_scale, guidance))
        return cls.with_published_cap(
            seen, covariance, solver, times, classes=classes, seed=seed, share=recipe.share, start=start
        )

    @classmethod
    def with_published_cap(
        cls, denoiser: Denoiser, covariance: Covariance, solver: Solver, grid: Grid, **more: Any
    ) -> Self:
        """A sampler with the published cap on the last noise.

        Args:
            denoiser, covariance, solver, grid: as for the class.
            more: the class's further fields, by name.

        Raises:
            UsageError: as for the class.
        """
        return cls(denoiser, covariance, solver, grid, default_cap_levels(denoiser.schedule, solver), **more)

    def labels_of(self, indices: Sequence[int]) -> Tensor | None:
        """The class of each image by its number, (B,) int64 on the mean's device; None if there are no classes."""
        return None if self.classes is None else self.classes.of(indices).to(self.denoiser.device)

    def as_dict(self) -> dict[str, Any]:
        """Everything that decides an image, as plain values."""
        seen = self.denoiser.as_dict()
        if self.scale_fit is not None:
            seen["eps_scale"] = {"fitted": asdict(self.scale_fit)}
        return {
            **seen,
            "solver": self.solver.as_dict(),
            "covariance": self.covariance.as_dict(),
            "grid": {"name": self.grid.name, "times": list(self.grid.times)},
            "last_noise_levels": None if self.cap_levels is None else float(self.cap_levels),
            "classes": None if self.classes is None else self.classes.as_dict(),
            "seed": self.seed,
            **({} if self.share == 1 else {"share": self.share}),
            **({} if self.start is None else {"start": self.start.as_dict()}),
            **({} if self.noise == 1 else {"noise": self.noise}),
        }

    @property
    def digest(self) -> str:
        """sha256 (hex) of :meth:`as_dict`."""
        return digest_of_values(self.as_dict())

    @property
    def label(self) -> str:
        """The name for files: :attr:`way` and the seed."""
        return f"{self.way}-seed{self.seed}"

    @property
    def way(self) -> str:
        """The name of how it steps: covariance, solver and grid, then whatever is not as it is by default."""
        view, parts = self.denoiser.view, [self.covariance.name, self.solver.label, self.grid.label]
        if self.cap_levels is None:
            parts.append("lastoff")
        elif self.cap_levels != default_cap_levels(self.denoiser.schedule, self.solver):
            parts.append(f"last{self.cap_levels:.12g}")
        if self.share != 1:
            parts.append(f"share{self.share:.12g}")
        if self.start is not None:
            parts.append(f"start{self.grid.times[-1]}")
        if not view.clip_x0:
            parts.append("noclip")
        if self.scale_fit is not None:
            parts.append("epsfitted")
        elif view.eps_scale != 1:
            parts.append(f"eps{view.eps_scale:.12g}")
        if view.guidance != 1:
            parts.append(f"guided{view.guidance:.12g}")
        if self.classes is not None and self.classes.name not in ("all", "data"):
            parts.append(f"class{self.classes.name}")
        if self.noise != NOISE:
            parts.append(f"noise{self.noise}")
        return "-".join(parts)
