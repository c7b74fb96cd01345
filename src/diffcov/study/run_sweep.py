"""What every sweep that begins or extends statistics of a run is made of, and does before and after its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.denoiser.through import through
from diffcov.errors import InputError
from diffcov.statistics.base import Statistic
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.store.statistics import StatisticFile
from diffcov.study.kept_sweep import Result
from diffcov.study.listener import Listener
from diffcov.study.opening import Opened
from diffcov.study.quickest import Work, choose_way

__all__ = ["Kinds", "Measured", "RunSweep", "check_together", "in_the_run"]

Kinds = Sequence[type[Statistic]]
ALIKE: dict[str, Callable[[StatisticFile[Any]], Any]] = {
    "numbers of images": lambda file: file.config["samples"],
    "times": lambda file: file.config["times"],
    "seeds": lambda file: file.config["seed"],
    "precisions": lambda file: file.config["precision"],
    "mirroring": lambda file: file.config["flip"],
    "guidance": lambda file: file.guidance,
}
"""What statistics of one sweep must have in common to go on together: only then do they hold the same samples."""


@dataclass(frozen=True)
class Measured:
    """One statistic as it stands in the run now.

    Attributes:
        statistic: all images together.
        path: its file.
        digest: of the file.
        samples: images at each time, or all of them together of one that lays curves.
    """

    statistic: Statistic
    path: Path
    digest: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class RunSweep:
    """A sweep that is sure to be possible, of which nothing has been measured yet.

    Attributes:
        mean: the mean model; its precision is set to the sweep's.
        opened: the images.
        kinds: which statistics.
        held: by class, what they go on from; empty where they begin.
        seed, precision, guidance, batch_size, compile: as asked for, or as those that are there were measured.
    """

    mean: MeanCheckpoint
    opened: Opened
    kinds: Kinds
    held: Mapping[type[Statistic], StatisticFile[Any]]
    seed: int
    precision: str
    guidance: float
    batch_size: int
    compile: Literal["auto", "on", "off"]

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return ", ".join(kind.name for kind in self.kinds)

    @property
    def flip(self) -> bool:
        """Whether images are mirrored, as in the training."""
        return bool(self.mean.settings.get("flip", False))

    @property
    def colour(self) -> Tensor | None:
        """The rotation of the channels under which what is there was measured; None where nothing there has one."""
        held = (file.statistic for file in self.held.values())
        return next((statistic.colour for statistic in held if hasattr(statistic, "colour")), None)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells what is kept of it on the way from what is kept of others of the same command."""
        return {
            "held": {kind.name: file.digest for kind, file in self.held.items()},
            "kinds": [kind.name for kind in self.kinds], "data": self.opened.provenance["digest"],
            "batch_size": self.batch_size,
        }  # fmt: skip

    def prepared(self, images: int | None, seconds: float | None, say: Listener) -> Denoiser:
        """The mean as it is measured, called in the way that is quickest for so many images, or so long."""
        self.mean.model.autocast = PRECISIONS[self.precision]
        denoiser = through(self.mean.model, View(guidance=self.guidance))
        calls = None if images is None else -(-images // self.batch_size) * denoiser.calls
        choose_way(self.mean.model, Work(self.batch_size, calls, seconds), self.compile, say)
        return denoiser

    def result(self, whole: Statistic, samples: int, times: Sequence[int]) -> Result:
        """A statistic of all images, as it will stand in its run.

        Args:
            whole: the statistic.
            samples: of which it is made, as :class:`Measured` counts them.
            times: at which they are.
        """
        config = {
            "samples": samples, "times": list(times), "seed": self.seed, "flip": self.flip,
            "precision": self.precision, "view": View(type(whole).clips, guidance=self.guidance).as_dict(),
            "data": self.opened.provenance, "call": self.mean.model.caller.way.as_dict(),
        }  # fmt: skip
        return Result(whole, config)


def in_the_run(run: RunFolder, result: Result, digest: str) -> Measured:
    """A statistic as it stands in its run now."""
    return Measured(result.statistic, run.ingredient(type(result.statistic)), digest, result.config["samples"])


def check_together(kinds: Kinds, there: Mapping[type[Statistic], StatisticFile[Any]], opened: Opened) -> None:
    """Refuse (InputError) to extend statistics of other images, or some that do not hold the same as the rest."""
    for kind, file in there.items():
        if file.config["data"]["digest"] != opened.provenance["digest"]:
            raise InputError(
                f"--add needs the images that {kind.file} was measured on; give the same --data and --limit"
            )
    apart = [what for what, key in ALIKE.items() if len({str(key(file)) for file in there.values()}) > 1]
    missing = [kind.file for kind in kinds if kind not in there]
    if missing or apart:
        held = f"{missing[0]} does not exist" if missing else f"they have different {', '.join(apart)}"
        files = " and ".join(kind.file for kind in kinds)
        raise InputError(
            f"--add goes on with {files} together, and {held}; add with --no-full, or measure anew with --full --force"
        )
