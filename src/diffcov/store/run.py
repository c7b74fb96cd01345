"""The run directory: where each command finds what the earlier ones left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from diffcov.covariance import registry as covariances
from diffcov.covariance.ingredients import FittedHead, Ingredient
from diffcov.errors import InputError
from diffcov.store.artifact import read_header, tensor_names

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """Names of the files of one run, and which are there; no tensor is read here.

    Args:
        path: the directory; it need not exist.
    """

    path: Path

    @property
    def mean(self) -> Path:
        """The mean model: weights and configuration, enough to sample."""
        return self.path / "mean.safetensors"

    @classmethod
    def around(cls, path: Path) -> Self | None:
        """The run that a file lies in, or in a folder of which it lies; None if it lies in none."""
        found = [cls(folder) for folder in path.parents[:2] if folder.name != "state"]
        return next((run for run in found if run.mean.is_file() or run.state("mean").is_file()), None)

    def ingredient(self, kind: type[Ingredient], covariance: str = "") -> Path:
        """What the covariance needs of this class; a statistic is the same for every covariance."""
        return self.path / kind.file_for(covariance)

    def head(self, covariance: str) -> Path:
        """The head of a covariance."""
        return self.ingredient(FittedHead, covariance)

    def heads(self) -> dict[str, Path]:
        """The heads that are there, by the name of their covariance."""
        pattern = FittedHead.file_for("*")
        start, end = pattern.split("*")
        return {path.name[len(start) : -len(end)]: path for path in sorted(self.path.glob(pattern))}

    def needed_by(self, covariance: str) -> list[Path]:
        """The files that a registered covariance is built from."""
        return [self.ingredient(kind, covariance) for kind in covariances.load(covariance).needs]

    def available(self) -> dict[str, str | None]:
        """Every covariance that its mean allows -> None if the run can build it, else what makes what it lacks."""
        found = dict[str, str | None]()
        learned = self.learned_range
        for name, entry in covariances.COVARIANCES.items():
            if entry.reads_range and not learned:
                continue
            kinds = covariances.load(name).needs
            lacking = [kind.command_for(name) for kind in kinds if not self.ingredient(kind, name).is_file()]
            found[name] = lacking[0] if lacking else self._remedy(name)
        return found

    def _remedy(self, covariance: str) -> str | None:
        """The command that measures what a covariance reads and the files that are there lack; None if they do not."""
        kind = covariances.load(covariance)
        if not kind.reads:
            return None
        paths = {one: self.ingredient(one, covariance) for one in kind.needs}
        try:
            held = frozenset().union(*(tensor_names(path) for path in paths.values()))
        except InputError:
            return None  # it is there; whoever opens it says what is wrong
        return None if held >= set(kind.reads) else f"{kind.needs[0].command_for(covariance)} --force"

    @property
    def learned_range(self) -> bool:
        """Whether the header of its mean says that it learned a variance too; a mean that is broken says so itself."""
        try:
            return "learned_range" in read_header(self.mean)
        except InputError:
            return False

    @property
    def range_check(self) -> Path:
        """How the bound of the mean's learned range compares with that of ``corrected``."""
        return self.path / "range-check.safetensors"

    def grids(self, covariance: str) -> Path:
        """The optimal grids of a covariance."""
        return self.path / f"trajectory-{covariance}.safetensors"

    def all_grids(self) -> list[Path]:
        """The optimal grids that are there."""
        return sorted(self.path.glob("trajectory-*.safetensors"))

    def scale(self, name: str) -> Path:
        """A fitted scale of eps_hat."""
        return self.path / "eps-scale" / f"{name}.safetensors"

    def all_scales(self) -> list[Path]:
        """The fitted scales that are there."""
        return sorted((self.path / "eps-scale").glob("*.safetensors"))

    def recipe(self, steps: int) -> Path:
        """The tuned recipe for K steps."""
        return self.path / "recipes" / f"{steps}.json"

    def all_recipes(self) -> list[Path]:
        """The tuned recipes that are there."""
        return sorted((self.path / "recipes").glob("*.json"), key=lambda path: (len(path.name), path.name))

    @property
    def tuning(self) -> Path:
        """Folder of what searches for recipes have seen, beside what they found."""
        return self.path / "recipes"

    @property
    def classifier(self) -> Path:
        """The classifier whose features measure samples."""
        return self.path / "classifier.safetensors"

    @property
    def comparison(self) -> Path:
        """Folder of the comparison."""
        return self.path / "compare"

    def state(self, task: str) -> Path:
        """Exact resume state of ``task``: "mean", "heads", or of a second fit of heads "heads-" and its kinds."""
        return self.path / "state" / f"{task}.safetensors"

    def all_states(self) -> list[Path]:
        """The states that are there."""
        return sorted((self.path / "state").glob("*.safetensors"))

    def all_head_states(self) -> list[Path]:
        """The states of fits of heads that are there."""
        return sorted((self.path / "state").glob("heads*.safetensors"))

    @property
    def samples(self) -> Path:
        """Folder of sample sets."""
        return self.path / "samples"

    def sample_sets(self) -> list[Path]:
        """The sample sets that are there, the newest last."""
        found = (path.parent for path in self.samples.glob("*/manifest.json"))
        return sorted((path for path in found if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime)

    @property
    def log(self) -> Path:
        """One JSON object a logged step."""
        return self.path / "log.jsonl"

    def require_mean(self) -> Path:
        """The mean model's path.

        Raises:
            InputError: there is none yet.
        """
        if not self.mean.is_file():
            raise InputError(
                f"{self.path} holds no mean model (mean.safetensors); bring one with diffcov import SOURCE, or run: "
                "diffcov train-mean"
            )
        return self.mean
