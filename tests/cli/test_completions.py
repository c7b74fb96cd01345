"""The completion scripts in the repository are those that the program prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from typer.main import get_command

from diffcov.cli.app import COMMANDS, app
from diffcov.cli.completion import offer
from diffcov.study.options import leaves, told_of

FOLDER = Path(__file__).parents[2] / "completions"


def ask(**variables: str) -> bytes:
    command = [sys.executable, "-c", "import sys; sys.argv = ['diffcov']; from diffcov.cli.app import main; main()"]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, check=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_current(shell: str) -> None:
    """Renew with: _DIFFCOV_COMPLETE=source_bash diffcov > completions/diffcov.bash"""
    assert ask(_DIFFCOV_COMPLETE=f"source_{shell}") == (FOLDER / f"diffcov.{shell}").read_bytes()


BASH = """
source {script}
COMP_LINE=$1 COMP_POINT=${{#1}}
COMP_WORDS=("${{@:2}}")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_diffcov_completion {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def in_bash(folder: Path, *words: str) -> list[str]:
    """What bash's own completion function answers for these words, cut as bash cuts them."""
    program = folder / "diffcov"
    if not program.exists():  # the program of this tree, whatever is installed
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'diffcov'\nfrom diffcov.cli.app import main\nmain()\n"
        )
        program.chmod(0o755)
    script = BASH.format(script=FOLDER / "diffcov.bash", program=program)
    command = ["bash", "--norc", "-c", script, "bash", " ".join(words), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("diffcov", "fit"), ["fit-var-head"]),
        (("diffcov", "--ver"), ["--version"]),
        (("diffcov", "sample", "--cov"), ["--covariance"]),
        (("diffcov", "sample", "--no-c"), ["--no-clip-x0"]),
        (("diffcov", "sample", "--covariance", "learn"), ["learned-range"]),
        (("diffcov", "sample", "--covariance", "=", "learn"), ["learned-range"]),
        (("diffcov", "sample", "--covariance=learn"), ["--covariance=learned-range"]),
        (("diffcov", "train-mean", "--schedule", "="), ["linear", "cosine", "vp"]),
        (("diffcov", "train-mean", "--resume", "--predict", ""), ["eps", "v", "x0"]),
        (("diffcov", "fit-var-head", "--kind", "npr,s"), ["npr,sn"]),
        (("diffcov", "sample", "--recipe", "=", "./mine"), []),
        (("diffcov", "inspect", "runs/"), []),
        (("diffcov", "sample", "--run", "ru"), []),
    ],
    ids=" ".join,
)
def test_bash_itself(tmp_path: Path, words: tuple[str, ...], expected: list[str]) -> None:
    """Where nothing is offered, the script lets bash offer files (``complete -o default``)."""
    assert in_bash(tmp_path, *words) == expected


def test_where_nothing_is_offered_bash_offers_files() -> None:
    assert "complete -o default -F _diffcov_completion diffcov" in (FOLDER / "diffcov.bash").read_text()


REQUESTS: dict[str, type] = {name: command.request for name, command in COMMANDS.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", REQUESTS)
def test_every_option_is_known(name: str) -> None:
    """What the parser takes, ``--help`` included."""
    group: Any = get_command(app)
    command = group.commands[name]
    program = group.make_context("diffcov", [name], resilient_parsing=True)
    context = command.make_context(name, [], parent=program, resilient_parsing=True)
    options = [one for one in command.get_params(context) if one.param_type_name == "option"]
    assert set(offer(REQUESTS, [name, "-"]).words) == {
        word for one in options for word in (*one.opts, *one.secondary_opts)
    }


def test_every_command_and_every_option_of_the_program_is_known() -> None:
    group: Any = get_command(app)
    assert offer(REQUESTS, [""]).words == tuple(group.commands)
    context = group.make_context("diffcov", ["sample"], resilient_parsing=True)
    options = {word for one in group.get_params(context) for word in one.opts}
    assert set(offer(REQUESTS, ["--"]).words) == {word for word in options if word.startswith("--")}


@pytest.mark.parametrize("name", REQUESTS)
def test_values_of_choices_in_one_word_and_in_two(name: str) -> None:
    for one, kind in leaves(REQUESTS[name]):
        told = told_of(one)
        choices = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
        words = list(told.words()) if told.words else choices
        if not words or told.argument:
            continue
        for option in told.names:
            assert set(offer(REQUESTS, [name, option, ""]).words) >= set(words)
            found = offer(REQUESTS, [name, f"{option}={words[-1][:1]}"])
            assert f"{option}={words[-1]}" in found.words
            assert found.before == f"{option}="


def test_of_several_values_the_last_is_completed_and_none_twice() -> None:
    assert offer(REQUESTS, ["compare", "--solver", "ddpm,ddi"]).words == ("ddpm,ddim",)
    assert "ddpm,ddpm" not in offer(REQUESTS, ["compare", "--solver=ddpm,"]).words
    assert "none" in offer(REQUESTS, ["compare", "--samplers", ""]).words


def test_a_word_after_a_flag_or_a_value_is_an_option() -> None:
    assert "--steps" in offer(REQUESTS, ["sample", ""]).words
    assert "--steps" in offer(REQUESTS, ["sample", "--force", "--"]).words
    assert "--steps" in offer(REQUESTS, ["sample", "--covariance=npr", "--"]).words
    assert offer(REQUESTS, ["inspect", ""]).words == (), "a file"
    assert offer(REQUESTS, ["nothing", ""]).words == ()
    assert offer(REQUESTS, []).words == tuple(REQUESTS)


def test_zsh_and_fish_get_whole_words() -> None:
    def zsh(line: str) -> str:
        return ask(_DIFFCOV_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line).decode().strip()

    assert zsh("diffcov train-mean --predict ") == """_arguments '*: :(("eps" "v" "x0"))'"""
    assert zsh("diffcov train-mean --predict=x") == """_arguments '*: :(("--predict=x0"))'"""
    assert zsh("diffcov sample --run=ru") == "compset -P '*='; _files"
    assert zsh("diffcov inspect ") == "_files"

    def fish(line: str) -> list[str]:
        told = {"_DIFFCOV_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        return ask(**told, _TYPER_COMPLETE_ARGS=line).decode().split()

    assert fish("diffcov train-mean --predict=") == ["--predict=eps", "--predict=v", "--predict=x0"]
    assert fish("diffcov sample --gri") == ["--grid"]


@pytest.mark.parametrize(("line", "code"), [("diffcov sample --gri", 0), ("diffcov sample --run ru", 1)])
def test_fish_is_told_whether_to_offer_files(line: str, code: int) -> None:
    command = [sys.executable, "-c", "import sys; sys.argv = ['diffcov']; from diffcov.cli.app import main; main()"]
    told = {
        "_DIFFCOV_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "is-args", "_TYPER_COMPLETE_ARGS": line
    }  # fmt: skip
    assert subprocess.run(command, env={**os.environ, **told}, check=False, timeout=60).returncode == code
