"""Sample grids while the mean trains: a glance at whether it learns."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from diffcov.study.listener import Listener

__all__ = ["Previews"]

LEAST = 64
"""Images of a sheet, at least; with classes a row is one of them, and all rows are as long."""
STEPS = 10


@dataclass(frozen=True)
class Previews:
    """Writes ``iteration-000123.png``: samples of the averaged weights by 10 DDIM steps, always the same seeds.

    The weights are those that the mean's file would get now, with the warm-up of their average.

    Args:
        folder: where.
        spec: of the model that is trained.
        seed: of the samples.
        minutes: between two of them; 0: there are none.
        listener: told where they are.
    """

    folder: Path
    spec: MeanSpec
    seed: int
    minutes: float
    listener: Listener
    drawn: list[int] = field(default_factory=list, init=False)
    """Iterations that there is a sheet of."""

    def announce(self) -> None:
        """Say where they will be."""
        if self.minutes:
            each = "every minute" if self.minutes == 1 else f"every {self.minutes:g} minutes"
            self.listener.note(f"previews of its samples: a sheet {each} in {self.folder}/")

    def draw(self, session: Session) -> None:
        """Write the sheet of the session's present average."""
        reading, classes = self.spec.reading, self.spec.reading.classes
        mean = self.spec.wrap(session.ema.module).eval()
        sampler = Sampler(
            denoiser=Clipped(mean),
            covariance=Small(Ingredients(reading.schedule, reading.data)),
            solver=DDIM(),
            grid=even(reading.schedule.T, min(STEPS, reading.schedule.T)),
            cap_levels=None,
            classes=Classes.all(classes) if classes else None,
            seed=self.seed,
        )
        rows = classes or 1
        count = -(-LEAST // rows) * rows
        pixels = torch.cat(list(generate(sampler, count, batch_size=LEAST)))
        path = self.folder / f"iteration-{session.iteration:06d}.png"
        write_sheet(path, pixels, reading.data.levels, classes or None)
        self.drawn.append(session.iteration)

    def finish(self, session: Session) -> None:
        """Where there have been sheets, one of the weights that were kept in the end, and a word where they are."""
        if self.drawn and self.drawn[-1] != session.iteration:
            self.draw(session)
        if self.drawn:
            self.listener.note(
                f"the last preview, of the weights that were kept: {self.folder}/iteration-{self.drawn[-1]:06d}.png"
            )
