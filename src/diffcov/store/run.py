"""The run directory: where each command finds what the earlier ones left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcov.errors import InputError

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """Names of the files of one run; nothing is opened here.

    Args:
        path: the directory; it need not exist.
    """

    path: Path

    @property
    def mean(self) -> Path:
        """EMA weights and configuration of the mean model: enough to sample."""
        return self.path / "mean.safetensors"

    @property
    def table(self) -> Path:
        """The variance table."""
        return self.path / "variance.safetensors"

    @property
    def spectrum(self) -> Path:
        """The spectrum: variances by frequency, at knots."""
        return self.path / "spectrum.safetensors"

    @property
    def matrices(self) -> Path:
        """The residual matrices, at knots."""
        return self.path / "matrices.safetensors"

    def head(self, kind: str) -> Path:
        """The head of the covariance ``kind``."""
        return self.path / f"head-{kind}.safetensors"

    def heads(self) -> dict[str, Path]:
        """The heads that are there, by kind."""
        found = sorted(self.path.glob("head-*.safetensors"))
        return {path.stem.removeprefix("head-"): path for path in found}

    def trajectories(self, covariance: str) -> Path:
        """The optimal trajectories of a covariance."""
        return self.path / f"trajectory-{covariance}.safetensors"

    def eps_scale(self, name: str) -> Path:
        """A fitted scale of eps_hat."""
        return self.path / "eps-scale" / f"{name}.safetensors"

    @property
    def comparison(self) -> Path:
        """Folder of the comparison of all covariances."""
        return self.path / "compare"

    def state(self, task: str) -> Path:
        """Exact resume state of ``task`` ("mean" or "heads")."""
        return self.path / "state" / f"{task}.safetensors"

    @property
    def samples(self) -> Path:
        """Folder of sample sets."""
        return self.path / "samples"

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
            raise InputError(f"{self.path} holds no mean model (mean.safetensors); run: diffcov train-mean")
        return self.mean
