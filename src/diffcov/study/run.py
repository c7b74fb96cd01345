"""A run for scripts: the commands as methods, and what they work with as objects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from diffcov.covariance.base import Covariance
from diffcov.data import ExampleSet
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.engines.sampler import Sampler
from diffcov.errors import InputError
from diffcov.nets.built_by import BuiltBy
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import MeanCheckpoint, save_mean
from diffcov.store.datasets import load_images
from diffcov.store.paths import expanded
from diffcov.store.run import RunFolder
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
        refuse_existing(run.folder.mean, force, "use force=True to replace it, or another path")
        spec = MeanSpec.of(mean, builder, dict(arguments or {}))
        _check_builds(spec.network, mean)
        training = {}
        if data is not None:
            images = load_images(data)
            if not images.description.same_pixels(mean.data):
                raise InputError(f"{data} holds images of {images.description}, but the mean's are {mean.data}")
            training["data"] = images.provenance(None, labelled=bool(mean.classes))
        save_mean(run.folder.mean, mean.network, spec, training)
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

    def sample(self, **options: Any) -> SampleSet:
        """``diffcov sample``: images on disk; :meth:`sampler` gives them to you instead."""
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


def _check_builds(network: Any, mean: MeanModel) -> None:
    """Refuse (InputError) a builder that does not build the mean's network, before a later command finds out."""
    assert isinstance(network, BuiltBy)
    if network.builder.startswith("__main__"):
        raise InputError(
            f"{network.builder} is in the script that is running, which other programs cannot import; move the "
            "function into a module of its own"
        )
    built = network.build()
    told = f"{network.builder} with the arguments {dict(network.arguments)}"
    try:
        built.load_state_dict(mean.network.state_dict())
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise InputError(f"{told} builds a network that these weights do not fit: {detail}") from error
    other = MeanModel(built, mean.reading, mean.tapped_at, mean.autocast).freeze()
    other.to(mean.device)
    x_t = torch.randn(1, *mean.data.shape, generator=torch.Generator().manual_seed(0)).to(mean.device)
    label = torch.zeros(1, dtype=torch.int64, device=mean.device) if mean.classes else None
    with torch.inference_mode():
        same = torch.equal(other.output(x_t, 1, label), mean.output(x_t, 1, label))
    if not same:
        raise InputError(
            f"{told} builds a network that predicts something else from the same weights; give the arguments that this "
            "one was built with"
        )
