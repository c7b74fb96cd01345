"""Help that can be believed: every example is run, every command says how long it takes, every sentence is whole."""

from __future__ import annotations

import functools
import inspect
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffcov.study.demo
from conftest import Cli
from diffcov.cli.app import COMMANDS
from diffcov.engines.training.preset_values import HEAD_VALUES, VALUES, preset_values
from diffcov.engines.training.presets import HEAD, PRESETS
from diffcov.engines.tuning.halving import Plan
from diffcov.errors import Interrupted
from diffcov.study import tuning_bench
from diffcov.study.options import leaves, told_of
from oracles.foreign import tiny_pipeline

REQUESTS: dict[str, type] = {name: command.request for name, command in COMMANDS.items()}  # type: ignore[attr-defined]
EXAMPLES = {
    name: re.findall(r"^- `diffcov (.+?)`: ", inspect.getdoc(command) or "", flags=re.M)
    for name, command in COMMANDS.items()
}
ALL = [(name, example) for name, examples in EXAMPLES.items() for example in examples]
ADVANCED = {"compare", "tune", "demo"}
"""Commands whose examples are run in the slow tier alone: each is a second or ten of others' work."""
SMALL: dict[str, tuple[str, ...]] = {
    "train-mean": ("--iterations", "1", "--channels", "8", "--blocks", "1", "--batch-size", "4"),
    "estimate-var": ("--calls", "64",),
    "fit-var-head": ("--iterations", "1", "--batch-size", "8", "--force"),
    "sample": ("--count", "2"),
    "evaluate": ("--images", "2", "--count", "66", "--covariance", "small,analytic"),
    "import": ("--no-check",),
    "trajectory": ("--images", "1", "--candidates", "20"),
    "compare": ("--images", "2", "--count", "66", "--steps", "2", "--covariance", "small,analytic"),
    "tune": ("--few", "16", "--count", "66", "--minutes", "0.01", "--no-starts"),
    "demo": ("--count", "66"),
}  # fmt: skip
"""What makes each a matter of seconds."""
TRAINED = ("--iterations", "2", "--head-iterations", "2", "--samples", "1", "--knot-samples", "4")
"""The same for a demonstration that trains."""


def place(folder: Path, finished: Path, size: tuple[int, ...]) -> None:
    """What the examples find where they are typed: a run, a zip of pictures, a folder of somebody's model."""
    shutil.copytree(finished, folder / "runs" / "default")
    pictures = folder / "pictures"
    for label in ("a", "b"):
        (pictures / label).mkdir(parents=True)
        for k in range(6):
            noise = np.random.default_rng(k).integers(0, 256, size, dtype=np.uint8)
            Image.fromarray(noise).save(pictures / label / f"{k}.png")
    shutil.make_archive(str(folder / "photos"), "zip", pictures)
    tiny_pipeline().save_pretrained(folder / "theirs")


def run_example(cli: Cli, folder: Path, name: str, example: str) -> None:
    words = shlex.split(example)
    smaller = SMALL.get(words[0], ())
    if name == "train-mean" and "--run" not in words:
        smaller = (*smaller, "--force")
    if words == ["estimate-var"]:
        smaller = (*smaller, "--force")
    if "--train" in words:
        smaller = (*smaller, *TRAINED)
    if "--add" in words:  # to what the example before it measured
        assert cli("estimate-var", *smaller, "--force").exit_code == 0
        smaller = ("--calls", "128")
    result = cli(*words, *smaller)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_two_examples_and_says_how_long_it_takes(name: str) -> None:
    told = inspect.getdoc(COMMANDS[name]) or ""
    assert len(EXAMPLES[name]) == 2
    assert all(example.split()[0] == name for example in EXAMPLES[name])
    assert re.search(r"^It takes .*(second|minute|hour)", told, flags=re.M), told


@pytest.mark.parametrize(
    ("name", "example"),
    [pytest.param(*one, marks=[pytest.mark.slow] if one[0] in ADVANCED else []) for one in ALL],
    ids=lambda text: text if " " in text else "",
)
def test_every_example_works(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, example: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diffcov.study.demo, "STEPS", (2, 3))
    monkeypatch.setattr(diffcov.study.demo, "TUNED_STEPS", 3)
    plan = functools.partial(Plan, parents=(1,), steps=(0.25,), rungs=((2, 2),), sheets=30)
    monkeypatch.setattr(tuning_bench, "Plan", plan)
    place(tmp_path, finished, (8, 8) if name == "import" else (40, 40, 3))
    run_example(cli, tmp_path, name, example)


# --- sentences


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_options_is_whole_sentences(name: str) -> None:
    """Each begins large and ends with a full stop, and none is the rest of the option's name."""
    for one, _ in leaves(REQUESTS[name]):
        text = told_of(one).help
        assert re.match(r"[A-Z]", text) or text.startswith("What "), (one.name, text)
        assert text.endswith((".", "...")), (one.name, text)
        assert len(text.split()) >= 4, (one.name, text)
        assert text.split()[0] not in {"Of", "As", "By", "From", "With:"}, (one.name, text)


@pytest.mark.parametrize("name", [None, *COMMANDS])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_help_fits_and_flags_are_their_name_alone(cli: Cli, name: str | None, width: int) -> None:
    said = cli(*([] if name is None else [name]), "--help", env={"COLUMNS": str(width)})
    assert said.exit_code == 0
    assert "<bool>" not in said.stdout
    assert "BOOLEAN" not in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= width


def test_terms_are_explained_where_they_are_met_first(cli: Cli) -> None:
    """In the help of the command that brings each."""
    for command, words in {
        "fit-var-head": ("variance heads: small networks that say how uncertain", "trunk that heads stand on"),
        "estimate-var": ("knots: times at which the spectrum", "the table", "the spectrum"),
        "train-mean": ("a network (a U-Net)", "Width factor of each level, from the image's own size down"),
        "sample": ("eps_hat, the noise that the mean predicts", "the predicted image x0_hat"),
    }.items():
        said = " ".join(cli(command, "--help", env={"COLUMNS": "200"}).stdout.replace("│", " ").split())
        for word in words:
            assert word in said, (command, word)


# --- defaults of presets


def test_help_shows_what_the_presets_have(cli: Cli) -> None:
    said = " ".join(cli("train-mean", "--help", env={"COLUMNS": "250"}).stdout.replace("│", " ").split())
    assert "[default: 32 in small, digits, mnist; 128 in cifar10]" in said
    assert "[default: 6000 in small, mnist; 900 in digits; 500000 in cifar10]" in said
    assert "[default: yes in small, cifar10; no in digits, mnist]" in said
    heads = " ".join(cli("fit-var-head", "--help", env={"COLUMNS": "250"}).stdout.replace("│", " ").split())
    assert f"[default: {HEAD.lr:g}]" in heads
    assert "in small" not in heads


@pytest.mark.parametrize("name", VALUES)
def test_the_shown_values_are_the_presets_own(name: str) -> None:
    preset, values = PRESETS[name], VALUES[name]
    training = {key: value for key, value in preset.training.as_dict().items() if key in values}
    network = {"attention_levels": preset.attention_levels, "iterations": preset.iterations, **preset.network}
    assert {**training, **network} == values
    assert {key: HEAD.as_dict()[key] for key in HEAD_VALUES} == HEAD_VALUES


def test_one_value_of_all_presets_is_said_once() -> None:
    assert preset_values("heads") == "4"


# --- a wish to stop


@pytest.mark.parametrize("wish", [KeyboardInterrupt(), Interrupted("stopped; go on with --resume")], ids=repr)
@pytest.mark.parametrize(
    ("name", "study"),
    {
        "train-mean": "train.train_mean", "estimate-var": "estimate.estimate_var", "fit-var-head": "fit.fit_var_head",
        "sample": "draw.draw_samples", "evaluate": "evaluate.evaluate", "trajectory": "search.search_grids",
        "compare": "compare.compare", "tune": "tune.tune", "demo": "first_picture.first_picture",
        "import": "bring.import_mean",
        "export": "export.export_model", "inspect": "describe_images.images_at",
    }.items(),
)  # fmt: skip
def test_a_wish_to_stop_is_no_error(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, study: str, wish: BaseException
) -> None:
    def stop(*_: Any) -> None:
        raise wish

    monkeypatch.setattr(f"diffcov.study.{study}", stop)
    result = cli(name)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "error" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_minutes_are_the_total(done: Callable[..., Any], cli: Cli, tmp_path: Path) -> None:
    """Help says so, and so it is: a training that goes on with the minutes that it has had is finished."""
    for command in ("train-mean", "fit-var-head"):
        said = " ".join(cli(command, "--help", env={"COLUMNS": "250"}).stdout.replace("│", " ").split())
        assert "in all, those of earlier calls included: the total, not what is added." in said
    run = ("train-mean", "--run", tmp_path / "run", "--channels", 8, "--blocks", 1, "--batch-size", 4)
    first = done(*run, "--minutes", 0.003)
    again = cli("train-mean", "--run", tmp_path / "run", "--resume", "--minutes", 0.003)
    assert again.exit_code == 0
    assert f"already finished: {first['iterations']} iterations are done and the budget is spent" in again.stderr
