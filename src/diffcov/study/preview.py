"""Sample grids while the mean trains: a glance at whether it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.small import Small
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.grids import even
from diffcov.engines.classes import Classes
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.engines.training.session import Session
from diffcov.solver.ddim import DDIM
from diffcov.store.sample_set import write_sheet

__all__ = ["Previews"]

COUNT = 32
STEPS = 20


@dataclass(frozen=True)
class Previews:
    """Writes ``iteration-000123.png``: 32 samples of the averaged weights by 20 DDIM steps, always the same seeds.

    Args:
        folder: where.
        spec: of the model that is trained.
        seed: of the samples.
    """

    folder: Path
    spec: MeanSpec
    seed: int

    def draw(self, session: Session) -> None:
        """Write the sheet of the session's present average."""
        reading = self.spec.reading
        mean = self.spec.wrap(session.ema.module).eval()
        sampler = Sampler(
            denoiser=Clipped(mean),
            covariance=Small(Ingredients(reading.schedule, reading.data)),
            solver=DDIM(),
            grid=even(reading.schedule.T, min(STEPS, reading.schedule.T)),
            cap_levels=None,
            classes=Classes.all(reading.classes) if reading.classes else None,
            seed=self.seed,
        )
        pixels = torch.cat(list(generate(sampler, COUNT, batch_size=COUNT)))
        write_sheet(self.folder / f"iteration-{session.iteration:06d}.png", pixels, reading.data.levels)
