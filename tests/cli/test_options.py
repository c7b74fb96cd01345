"""Options: the choices typed into the command line are those of the registries, and advice names the run."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from diffcov.cli.console import Console
from diffcov.covariance import registry
from diffcov.covariance.head_based import HeadCovariance
from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.diffusion.grids import GRIDS
from diffcov.diffusion.schedule import FAMILIES
from diffcov.engines.recipe import LITERATURE
from diffcov.engines.training.losses import LOSSES
from diffcov.engines.training.presets import PRESETS
from diffcov.solver.registry import SOLVERS
from diffcov.solver.through import THROUGH
from diffcov.store.datasets import SPLITS
from diffcov.store.datasets.resize import CROPS
from diffcov.study.options import leaves
from diffcov.study.requests.demo import DemoRequest
from diffcov.study.requests.describe import DescribeRequest
from diffcov.study.requests.draw import FORMATS, SampleRequest
from diffcov.study.requests.judge import METRICS, TUNED, CompareRequest, EvaluateRequest
from diffcov.study.requests.measure import EstimateRequest, SearchRequest
from diffcov.study.requests.shared import DEFAULT_RUN
from diffcov.study.requests.train import FitRequest, TrainRequest
from diffcov.study.requests.tune import TuneRequest

COMMANDS: dict[str, type] = {
    "train-mean": TrainRequest,
    "estimate-var": EstimateRequest,
    "fit-var-head": FitRequest,
    "sample": SampleRequest,
    "evaluate": EvaluateRequest,
    "trajectory": SearchRequest,
    "compare": CompareRequest,
    "tune": TuneRequest,
    "inspect": DescribeRequest,
    "demo": DemoRequest,
}
CALLING = [command for command in COMMANDS if command not in ("inspect", "demo")]
"""Commands that call the network, in a way that can be chosen."""
COVARIANCES = tuple(registry.COVARIANCES)
REGISTRIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("train-mean", "preset"): tuple(PRESETS),
    ("train-mean", "schedule"): tuple(name for name in FAMILIES if name not in ("betas", "custom", "edm")),
    ("fit-var-head", "head"): HeadCovariance.architectures,
    ("fit-var-head", "loss"): tuple(LOSSES),
    ("evaluate", "split"): SPLITS,
    ("compare", "split"): SPLITS,
    **{
        (command, "crop"): tuple(CROPS)
        for command in (
            *("train-mean", "estimate-var", "fit-var-head", "evaluate", "trajectory", "compare", "tune", "inspect"),
        )
    },
    **{(command, "precision"): ("auto", *PRECISIONS) for command in CALLING},
    **{(command, "compile"): ("auto", "on", "off") for command in CALLING},
}
"""What the option parser accepts, and nothing else."""
FEATURES = ("auto", "pixels", "spectrum", "classifier", "inception")
OFFERED: dict[tuple[str, str], tuple[str, ...]] = {
    ("train-mean", "predict"): tuple(PARAMETRISATIONS),
    ("fit-var-head", "kind"): registry.heads(),
    ("sample", "covariance"): ("auto", *COVARIANCES),
    ("sample", "recipe"): ("auto", "none", *LITERATURE),
    ("sample", "formats"): FORMATS,
    ("sample", "solver"): tuple(SOLVERS),
    ("sample", "grid"): (*GRIDS, "optimal"),
    ("sample", "through"): tuple(THROUGH),
    ("sample", "last_noise"): ("auto", "off"),
    ("sample", "eps_scale"): ("1", "fitted"),
    ("evaluate", "covariances"): ("auto", "all", *COVARIANCES),
    ("evaluate", "metrics"): METRICS,
    ("evaluate", "recipe"): tuple(LITERATURE),
    ("evaluate", "solver"): tuple(SOLVERS),
    ("evaluate", "grid"): (*GRIDS, "optimal"),
    ("evaluate", "through"): tuple(THROUGH),
    ("evaluate", "eps_scale"): ("1", "fitted"),
    ("evaluate", "features"): FEATURES,
    ("trajectory", "covariance"): ("auto", *COVARIANCES),
    ("compare", "covariances"): ("auto", "all", *COVARIANCES),
    ("compare", "solvers"): tuple(SOLVERS),
    ("compare", "samplers"): (*LITERATURE, TUNED),
    ("compare", "grid"): tuple(GRIDS),
    ("tune", "covariances"): COVARIANCES,
    ("compare", "eps_scale"): ("1", "fitted"),
    ("compare", "features"): FEATURES,
    ("tune", "features"): FEATURES,
}
"""What completion offers where the parser takes any text, and the command says what it cannot take."""


def choices(hint: Any) -> tuple[str, ...]:
    """The words that a Literal or an Enum allows, also inside a list or beside None; () for anything else."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(member.value for member in hint)
    if get_origin(hint) in (Union, UnionType, list):
        return tuple(word for part in get_args(hint) if part is not NoneType for word in choices(part))
    return ()


def declared() -> dict[tuple[str, str], tuple[str, ...]]:
    """(command, option) -> choices, for every option whose type has some and that the parser reads."""
    return {
        (command, one.name): words
        for command, request in COMMANDS.items()
        for one, hint in leaves(request)
        if one.metadata["option"].parse is None and (words := choices(hint))
    }


def offered() -> dict[tuple[str, str], tuple[str, ...]]:
    """(command, option) -> words that completion offers."""
    return {
        (command, one.name): tuple(words())
        for command, request in COMMANDS.items()
        for one, _ in leaves(request)
        if (words := one.metadata["option"].words) is not None
    }


@pytest.mark.parametrize(("command", "option"), REGISTRIES, ids=str)
def test_choices_are_the_registry_s(command: str, option: str) -> None:
    assert declared()[command, option] == REGISTRIES[command, option]


def test_no_other_option_has_choices() -> None:
    """Whoever adds one says above which registry it mirrors."""
    assert declared().keys() == REGISTRIES.keys()


@pytest.mark.parametrize(("command", "option"), OFFERED, ids=str)
def test_completion_offers_the_registry_s(command: str, option: str) -> None:
    assert offered()[command, option] == OFFERED[command, option]


def test_no_other_option_offers_words() -> None:
    assert offered().keys() == OFFERED.keys()


# --- advice


RUN = Path("runs/mine")


@pytest.mark.parametrize(
    "command", ["train-mean", "estimate-var", "fit-var-head", "sample", "evaluate", "trajectory", "compare", "tune"]
)
def test_advice_names_the_run(command: str) -> None:
    found = Console(RUN).placed(f"no table; make one with: diffcov {command} --force")
    assert found == f"no table; make one with: diffcov {command} --run runs/mine --force"
    assert Console(RUN).placed(f"diffcov {command}") == f"diffcov {command} --run runs/mine"


def test_every_command_in_a_text_is_given_the_run() -> None:
    found = Console(RUN).placed("run diffcov train-mean, then diffcov sample --steps 5")
    assert found == "run diffcov train-mean --run runs/mine, then diffcov sample --run runs/mine --steps 5"


@pytest.mark.parametrize("run", [DEFAULT_RUN, None])
def test_the_default_run_needs_no_name(run: Path | None) -> None:
    assert Console(run).placed("next: diffcov sample --steps 50") == "next: diffcov sample --steps 50"


def test_other_words_are_left_alone() -> None:
    text = "diffcov inspect, a diffcov file, diffcov samples, train-mean"
    assert Console(RUN).placed(text) == text


def test_a_run_with_a_blank_in_its_name_is_quoted() -> None:
    assert Console(Path("my runs/a")).placed("diffcov sample") == "diffcov sample --run 'my runs/a'"


@pytest.mark.parametrize(
    "command", ["estimate-var", "fit-var-head", "sample", "evaluate", "trajectory", "compare", "tune"]
)
def test_advice_names_the_module_too(command: str) -> None:
    """What needs a program to build its network needs it in the next command as well."""
    placed = Console(RUN, "mine:net").placed(f"run: diffcov {command} --force")
    assert placed == f"run: diffcov {command} --run runs/mine --module mine:net --force"
    assert Console(DEFAULT_RUN, "mine:net").placed(f"diffcov {command}") == f"diffcov {command} --module mine:net"


def test_training_knows_no_module() -> None:
    """train-mean trains our own networks: advice with an option that it does not have would be useless."""
    assert Console(RUN, "mine:net").placed("run: diffcov train-mean") == "run: diffcov train-mean --run runs/mine"
