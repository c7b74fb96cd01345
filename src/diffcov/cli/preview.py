"""Sample grids while the mean trains: a glance at whether it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from diffcov.covariance.base import Fitted
from diffcov.covariance.small import Small
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.grid import even
from diffcov.diffusion.process import DDIM
from diffcov.engines.sampling import Sampler, generate
from diffcov.engines.training.session import Session
from diffcov.store.atomic import atomic_write
from diffcov.store.images import contact_sheet, save_png

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
        spec = self.spec
        model = spec.wrap(session.ema.module).eval()
        steps = even(spec.schedule.T, min(STEPS, spec.schedule.T))
        sampler = Sampler(Small.build(Fitted()), DDIM(), steps, cap_levels=None)
        pixels = torch.cat(list(generate(model, sampler, COUNT, seed=self.seed, batch_size=COUNT)))
        with atomic_write(self.folder / f"iteration-{session.iteration:06d}.png") as temporary:
            save_png(temporary, contact_sheet(pixels, spec.data.levels))
