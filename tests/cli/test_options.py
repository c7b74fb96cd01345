"""Options: the choices typed into the command line are those of the registries, and advice names the run."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from diffcov.cli import demo, estimate_var, fit_var_head, inspect, sample, train_mean
from diffcov.cli.options import DEFAULT_RUN, with_run
from diffcov.covariance.head import HeadCovariance
from diffcov.denoiser.network import PRECISIONS
from diffcov.diffusion.process import PROCESSES
from diffcov.diffusion.schedule import FAMILIES
from diffcov.engines.training.losses import LOSSES
from diffcov.engines.training.presets import PRESETS
from diffcov.store.sample_set import FORMATS

COMMANDS: dict[str, Callable[..., None]] = {
    "train-mean": train_mean.command,
    "estimate-var": estimate_var.command,
    "fit-var-head": fit_var_head.command,
    "sample": sample.command,
    "inspect": inspect.command,
    "demo": demo.command,
}
REGISTRIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("train-mean", "preset"): tuple(PRESETS),
    ("train-mean", "schedule"): tuple(name for name in FAMILIES if name != "custom"),
    ("train-mean", "precision"): tuple(PRECISIONS),
    ("estimate-var", "precision"): tuple(PRECISIONS),
    ("fit-var-head", "head"): HeadCovariance.architectures,
    ("fit-var-head", "loss"): tuple(LOSSES),
    ("fit-var-head", "precision"): tuple(PRECISIONS),
    ("sample", "process"): tuple(PROCESSES),
    ("sample", "formats"): tuple(FORMATS),
    ("sample", "precision"): tuple(PRECISIONS),
}


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
    """(command, option) -> choices, for every option that has some."""
    return {
        (command, option): words
        for command, function in COMMANDS.items()
        for option, hint in get_type_hints(function).items()
        if (words := choices(hint))
    }


@pytest.mark.parametrize(("command", "option"), REGISTRIES, ids=" ".join)
def test_choices_are_the_registry_s(command: str, option: str) -> None:
    assert declared()[command, option] == REGISTRIES[command, option]


def test_no_other_option_has_choices() -> None:
    """Whoever adds one says above which registry it mirrors."""
    assert declared().keys() == REGISTRIES.keys()


# --- advice


RUN = Path("runs/mine")


@pytest.mark.parametrize("command", ["train-mean", "estimate-var", "fit-var-head", "sample"])
def test_advice_names_the_run(command: str) -> None:
    found = with_run(f"no table; make one with: diffcov {command} --force", RUN)
    assert found == f"no table; make one with: diffcov {command} --run runs/mine --force"
    assert with_run(f"diffcov {command}", RUN) == f"diffcov {command} --run runs/mine"


def test_every_command_in_a_text_is_given_the_run() -> None:
    found = with_run("run diffcov train-mean, then diffcov sample --steps 5", RUN)
    assert found == "run diffcov train-mean --run runs/mine, then diffcov sample --run runs/mine --steps 5"


@pytest.mark.parametrize("run", [DEFAULT_RUN, None])
def test_the_default_run_needs_no_name(run: Path | None) -> None:
    assert with_run("next: diffcov sample --steps 50", run) == "next: diffcov sample --steps 50"


def test_other_words_are_left_alone() -> None:
    text = "diffcov inspect, a diffcov file, diffcov samples, train-mean"
    assert with_run(text, RUN) == text
