"""A run for scripts: the commands as methods, and what they work with as objects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.data import ExampleSet
from diffcov.denoiser.mean_model import MeanModel
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw
from diffcov.errors import InputError
from diffcov.statistics.base import Statistic
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.images import stretch
from diffcov.store.paths import expanded
from diffcov.store.run import RunFolder
from diffcov.store.statistics import load_statistic
from diffcov.study.asked import asked
from diffcov.study.bring import Imported, import_mean
from diffcov.study.choice import choose
from diffcov.study.compare import Comparison, compare
from diffcov.study.draw import SampleSet, draw_samples
from diffcov.study.estimate import Estimated, estimate_var
from diffcov.study.evaluate import Evaluation, evaluate
from diffcov.study.export import Exported, export_model
from diffcov.study.fit import Fit, fit_var_head
from diffcov.study.known import known_covariance
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import held_out_examples, open_mean, training_examples
from diffcov.study.own_network import save_own_mean
from diffcov.study.planning import plan_sampler
from diffcov.study.requests.bring import ImportRequest
from diffcov.study.requests.draw import SampleRequest
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.judge import CompareRequest, EvaluateRequest
from diffcov.study.requests.measure import EstimateRequest, SearchRequest
from diffcov.study.requests.shared import Place, Running
from diffcov.study.requests.train import FitRequest, TrainRequest
from diffcov.study.requests.tune import TuneRequest
from diffcov.study.search import Search, search_grids
from diffcov.study.train import Trained, train_mean
from diffcov.study.tune import Tuned, tune

__all__ = ["Run"]

S = TypeVar("S", bound=Statistic)


class Run:
    """A run directory. Options of its methods are those of the commands, with underscores, and have the same defaults.

    ``run.evaluate(covariance="npr", steps=10)`` is ``diffcov evaluate --covariance npr --steps 10``; ``classes`` stands
    for ``--class``, a word that Python keeps to itself.

    Args:
        path: the directory; it need not exist.
        module: "package:function", where the mean's network is built by a function of yours that you trust.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: of the network's inside, "fp32" or "bf16", "auto" for the quicker one; None takes the mean's own.
        compile: the network: "auto", "on" or "off".
        listener: told how far things are; nobody by default.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        module: str | None = None,
        device: str = "auto",
        precision: str | None = None,
        compile: str = "auto",
        listener: Listener | None = None,
    ) -> None:
        self.folder = RunFolder(expanded(path))
        self.listener = listener or Silent()
        self._place = {"run": self.folder.path, "module": module}
        self._running = {"device": device, "precision": precision, "compile": compile}

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r})"

    @classmethod
    def create(
        cls,
        path: str | Path,
        mean: MeanModel,
        builder: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        data: str | None = None,
        force: bool = False,
        **more: Any,
    ) -> Self:
        """A run of a mean of yours: its weights, its reading, and the name of the function that builds its network.

        Args:
            path: the directory.
            mean: as made by :meth:`MeanModel.of`.
            builder: "package.module:function", a name that the command line can import too.
            arguments: that the function is called with; JSON values by name.
            data: the images that it was trained on, if they are at hand; what is measured later uses them.
            force: replace a mean that is there.
            more: as for the class.

        Raises:
            UsageError: a builder's name of another form.
            InputError: a function that cannot be imported, or that builds another network; images of another kind.
            OutputError: a mean is there, or the file system refuses.
        """
        run = cls(path, module=builder, **more)
        save_own_mean(run.folder, mean, builder, dict(arguments or {}), data, force)
        return run

    @cached_property
    def checkpoint(self) -> MeanCheckpoint:
        """The mean model with its spec and where it came from; read once.

        Raises:
            InputError: there is none, it is damaged, or its network is a program that is not trusted.
        """
        return open_mean(asked(Place, self._place), asked(Running, self._running))

    @property
    def mean(self) -> MeanModel:
        """The mean model, on its device."""
        return self.checkpoint.model

    def statistic(self, kind: type[S]) -> S:
        """What was measured: ``run.statistic(diffcov.Spectrum)``, or ``VarianceTable``, or ``ResidualMatrices``.

        Raises:
            InputError: it is not there, damaged, or of another mean.
        """
        path = self.folder.ingredient(kind)
        if not path.is_file():
            raise InputError(f"{self.folder.path} holds no {path.name}; make it with run.estimate()")
        return load_statistic(path, kind, self.checkpoint.trunk).statistic

    def covariance(self, name: str) -> Covariance:
        """A covariance from what the run holds, by its name; "auto" takes the first in the order of preference.

        Raises:
            UsageError: no such covariance.
            InputError: what it needs is missing, damaged, or was made for another mean.
        """
        chosen = choose(self.folder, name, self.checkpoint).name
        return known_covariance(self.folder, chosen, self.checkpoint, ()).covariance

    def examples(self, data: str | None = None, limit: int | None = None) -> ExampleSet:
        """The images that the mean was trained on, or others of their kind, on its device."""
        return training_examples(self.folder, self.checkpoint, self.listener, data, limit).examples

    def held_out(self, data: str | None = None, limit: int | None = None, split: str | None = None) -> ExampleSet:
        """Images to evaluate on: of the test split where there is one."""
        return held_out_examples(self.folder, self.checkpoint, self.listener, data, limit, split).examples

    def sampler(self, **options: Any) -> Sampler:
        """What ``diffcov sample`` would draw with: ``diffcov.draw(run.sampler(steps=10), 64)`` gives images.

        Raises:
            TypeError: an option that the command does not have.
            UsageError, InputError: as for ``study.draw.draw_samples``.
        """
        request = self._asked(SampleRequest, options)
        other = options.keys() & {"run", "module", "device", "precision", "compile"}
        mean = open_mean(request.place, request.running) if other else self.checkpoint
        return plan_sampler(request, mean, self.listener)

    def bring(self, source: str | Path, **options: Any) -> Imported:
        """``diffcov import``: a published model becomes the run's mean.

        Args:
            source: a file or a folder.
            options: those of the command.
        """
        self.__dict__.pop("checkpoint", None)
        more = {"run": self.folder.path, "device": self._running["device"], "source": source, **options}
        return import_mean(asked(ImportRequest, more), self.listener)

    def export(self, out: str | Path, **options: Any) -> Exported:
        """``diffcov export``: a folder that diffusers loads."""
        return export_model(asked(ExportRequest, {**self._place, "out": out, **options}), self.listener)

    def train(self, **options: Any) -> Trained:
        """``diffcov train-mean``."""
        self.__dict__.pop("checkpoint", None)
        more = {"run": self.folder.path, "device": self._running["device"], **options}
        return train_mean(asked(TrainRequest, more), self.listener)

    def estimate(self, **options: Any) -> Estimated:
        """``diffcov estimate-var``."""
        return estimate_var(self._asked(EstimateRequest, options), self.listener)

    def fit(self, **options: Any) -> Fit:
        """``diffcov fit-var-head``."""
        more = {**self._place, "device": self._running["device"], **options}
        return fit_var_head(asked(FitRequest, more), self.listener)

    def sample(self, count: int = 64, *, first: int = 0, batch_size: int = 64, **options: Any) -> Tensor:
        """Images in memory, as a person expects them; :meth:`draw` writes them to disk.

        Args:
            count: number of images.
            first: number of the first image; image i depends on (seed, i) alone.
            batch_size: images a network call.
            options: those of :meth:`sampler`.

        Returns:
            (count, C, H, W) uint8 on the CPU, 0..255 whatever the number of grey levels.

        Raises:
            TypeError: an option of files.
            UsageError, InputError, NonFiniteError: as for :meth:`sampler`.
        """
        of_files = options.keys() & {"out", "formats", "force", "of"}
        if of_files:
            raise TypeError(f"{', '.join(sorted(of_files))} is of files, and sample() writes none; take draw()")
        sampler = self.sampler(**options)
        pixels = draw(sampler, count, batch_size=batch_size, first=first)
        return stretch(pixels, sampler.denoiser.data.levels)

    def draw(self, **options: Any) -> SampleSet:
        """``diffcov sample``: images on disk."""
        return draw_samples(self._asked(SampleRequest, options), self.listener)

    def evaluate(self, **options: Any) -> Evaluation:
        """``diffcov evaluate``."""
        return evaluate(self._asked(EvaluateRequest, options), self.listener)

    def search(self, **options: Any) -> Search:
        """``diffcov trajectory``."""
        return search_grids(self._asked(SearchRequest, options), self.listener)

    def compare(self, **options: Any) -> Comparison:
        """``diffcov compare``, without the tables and the report: ``present.comparison`` writes those."""
        return compare(self._asked(CompareRequest, options), self.listener)

    def tune(self, **options: Any) -> Tuned:
        """``diffcov tune``."""
        return tune(self._asked(TuneRequest, options), self.listener)

    def _asked(self, request: type[Any], options: Mapping[str, Any]) -> Any:
        return asked(request, {**self._place, **self._running, **options})
