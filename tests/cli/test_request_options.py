"""Options are the fields of requests: their help and defaults, what they read, what they refuse, what they advise."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from conftest import TINY, Cli
from diffcov import errors
from diffcov.cli.app import ErrorBoundary, app
from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import DiffcovError, InputError, Interrupted, UsageError
from diffcov.solver.registry import SOLVERS
from diffcov.store.datasets import SPLITS
from diffcov.study.asked import asked
from diffcov.study.asked import typed as words_for
from diffcov.study.options import Option, leaves, one_of, option, whole_numbers
from diffcov.study.requests.bring import ImportRequest
from diffcov.study.requests.demo import DemoRequest
from diffcov.study.requests.describe import DescribeRequest
from diffcov.study.requests.draw import SampleRequest
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.judge import CompareRequest, EvaluateRequest
from diffcov.study.requests.measure import EstimateRequest, SearchRequest
from diffcov.study.requests.shared import ChosenSampler, Place, Running, RunPlace, ViewChoice
from diffcov.study.requests.train import (
    BudgetChoice,
    FitRequest,
    HeadChoice,
    NetworkChoice,
    ResumeChoice,
    TrainingChoice,
    TrainRequest,
    given,
)
from diffcov.study.requests.tune import TuneRequest
from diffcov.study.run import Run

REQUESTS: dict[str, type[Any]] = {
    "train-mean": TrainRequest,
    "estimate-var": EstimateRequest,
    "fit-var-head": FitRequest,
    "sample": SampleRequest,
    "evaluate": EvaluateRequest,
    "trajectory": SearchRequest,
    "compare": CompareRequest,
    "tune": TuneRequest,
    "inspect": DescribeRequest,
    "import": ImportRequest,
    "export": ExportRequest,
    "demo": DemoRequest,
}
STUDIES: dict[str, str] = {
    "train-mean": "train.train_mean",
    "estimate-var": "estimate.estimate_var",
    "fit-var-head": "fit.fit_var_head",
    "sample": "draw.draw_samples",
    "evaluate": "evaluate.evaluate",
    "trajectory": "search.search_grids",
    "compare": "compare.compare",
    "tune": "tune.tune",
    "import": "bring.import_mean",
    "export": "export.export_model",
    "demo": "first_picture.first_picture",
}
"""The function of the study package that a command hands its request to; inspect takes two values out of its own."""
FIELDS = [(name, one.name) for name, request in REQUESTS.items() for one, _ in leaves(request)]
MODULE = "mine_for_a_test"


def field_of(name: str, field: str) -> Field[Any]:
    return next(one for one, _ in leaves(REQUESTS[name]) if one.name == field)


def parameters(name: str) -> dict[str, Any]:
    """What the program's parser knows of a command, by the name of the field."""
    group: Any = get_command(app)
    return {one.name: one for one in group.commands[name].params}


def parts(request: Any) -> list[Any]:
    """A request and the requests that it is made of."""
    inside = [getattr(request, one.name) for one in fields(request)]
    return [request, *(deep for one in inside if is_dataclass(one) for deep in parts(one))]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Callable[..., Any]:
    """``typed("sample", "--steps", 5)``: the request that reaches the study, which then does nothing."""
    reached: list[Any] = []

    def stop(request: Any, listener: Any) -> None:
        reached.append(request)
        raise Interrupted("that was all")

    for study in STUDIES.values():
        monkeypatch.setattr(f"diffcov.study.{study}", stop)

    def run(name: str, *words: object, **environment: Any) -> Any:
        result = cli(name, *words, **environment)
        assert (result.exit_code, result.stdout) == (130, ""), result.stderr
        assert len(reached) == 1
        return reached.pop()

    return run


# --- a field is an option


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=str)
def test_a_field_is_an_option(name: str, field: str) -> None:
    """With its names, help, panel, metavar, variable and smallest value; only of what is many there may be several."""
    found, told = parameters(name)[field], field_of(name, field).metadata["option"]
    dashed = field if told.argument else "--" + field.replace("_", "-")
    names = [half for each in told.names or (dashed,) for half in each.split("/")]
    assert [*found.opts, *found.secondary_opts] == names
    assert found.help.startswith(told.help)
    kind = next(kind for one, kind in leaves(REQUESTS[name]) if one.name == field)
    metavar = "" if told.metavar is None and bool in (kind, *get_args(kind)) else told.metavar
    assert (found.rich_help_panel, found.metavar, found.envvar) == (told.panel, metavar, told.environment)
    if hasattr(found, "multiple"):
        assert found.multiple == (told.many or told.joined)
    assert (
        getattr(found, "min", getattr(getattr(found, "type", None), "min", None)) == told.least
    )  # its place depends on typer


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=str)
def test_help_says_what_is_done_unasked(name: str, field: str) -> None:
    """The default itself, or the words for it where the default is to decide later."""
    found, one = parameters(name)[field], field_of(name, field)
    told, default = one.metadata["option"], one.default
    shown = "" if default not in (None, ()) or told.shown is None else f" [default: {told.shown}]"
    assert found.help == told.help + shown
    if told.joined:
        assert found.default == (None if default is None else [default])
    elif told.parse is None:
        assert found.default == default
        assert found.show_default == (default is not None and default is not False)
    elif default is None or default == ():
        assert found.default is None
    else:
        text = found.default[0] if told.many else found.default
        read = tuple(map(told.parse, text.split(","))) if told.many else told.parse(text)
        assert (read, found.show_default) == (default, True)


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=str)
def test_what_we_read_ourselves_says_what_it_takes(name: str, field: str) -> None:
    """To the parser it is a text, which would be all that help could say."""
    told = field_of(name, field).metadata["option"]
    assert told.parse is None or told.metavar


@pytest.mark.parametrize("name", REQUESTS)
def test_no_two_fields_of_a_command_are_called_the_same(name: str) -> None:
    fields = [one.name for one, _ in leaves(REQUESTS[name])]
    assert len(set(fields)) == len(fields)
    names = [word for one in parameters(name).values() for word in [*one.opts, *one.secondary_opts]]
    assert len(set(names)) == len(names)
    assert parameters(name).keys() == {*fields, "as_json"}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_field_has_a_default(name: str) -> None:
    """So a request can be made of nothing, and a command typed without options."""
    assert all(one.default is not MISSING for one, _ in leaves(REQUESTS[name]))
    assert asked(REQUESTS[name], {}) == REQUESTS[name]()


@pytest.mark.parametrize("name", STUDIES)
def test_nothing_typed_is_the_request_s_own_defaults(typed: Callable[..., Any], name: str) -> None:
    assert typed(name) == REQUESTS[name]()


@pytest.mark.parametrize("name", REQUESTS)
def test_what_says_how_to_run_is_listed_last(name: str) -> None:
    panels = [one.rich_help_panel for one in parameters(name).values() if one.name != "as_json"]
    assert sorted(panels, key=lambda panel: panel == "Running") == panels


def test_the_docstring_is_the_help(cli: Cli) -> None:
    said = " ".join(cli("sample", "--help", env={"COLUMNS": "200"}).stdout.split())
    assert "Draw images in K steps." in said
    assert "--first says where to go on" in said


def test_older_names_are_the_same_option(typed: Callable[..., Any]) -> None:
    new = typed("sample", "--solver", "ddim", "--grid", "quad", "--steps", 5)
    assert typed("sample", "--process", "ddim", "--trajectory", "quad", "--steps", 5) == new
    assert new == SampleRequest(steps=5, sampler=ChosenSampler("ddim", grid="quad"))
    assert typed("compare", "--process", "ddim").solvers == typed("compare", "--solver", "ddim").solvers == ("ddim",)
    assert typed("estimate-var", "--trajectory", "1,9").grid == typed("estimate-var", "--grid", "1,9").grid == "1,9"


def test_a_variable_sets_the_run_and_the_option_overrules_it(typed: Callable[..., Any]) -> None:
    here = {"DIFFCOV_RUN": "here"}
    assert typed("sample", env=here).place.run == Path("here")
    assert typed("sample", "--run", "there", env=here).place.run == Path("there")
    assert typed("demo", env=here).run is None, "a demonstration has a run of its own"


def test_typed_values_arrive_at_their_places(typed: Callable[..., Any]) -> None:
    """Flat on the command line, nested in the request."""
    found = typed(
        "sample", "--run", "r", "--module", "m:f", "--steps", 7, "--eta", 0.5, "--solver", "ddim", "--no-clip-x0",
        "--eps-scale", "fitted", "--guidance", 3, "--last-noise", 1.5, "--device", "cpu", "--precision", "bf16",
        "--seed", 4, "--class", "2,0", "--format", "npz",
    )  # fmt: skip
    assert found == SampleRequest(
        place=Place(Path("r"), "m:f"),
        steps=7,
        classes=("2", "0"),
        formats=("npz",),
        sampler=ChosenSampler("ddim", 0.5),
        last_noise=1.5,
        view=ViewChoice(False, "fitted", 3.0),
        seed=4,
        running=Running("cpu", "bf16"),
    )


# --- many values


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--steps", "5,10"], (5, 10)),
        (["--steps", "5", "--steps", "10"], (5, 10)),
        (["--steps", "5, 10", "--steps", "25"], (5, 10, 25)),
        (["--steps", "7"], (7,)),
        ([], (5, 10, 25, 50)),
    ],
    ids=str,
)
def test_commas_and_repeats_are_the_same(
    typed: Callable[..., Any], words: list[str], expected: tuple[int, ...]
) -> None:
    """What is given takes the place of the default; it is not added to it."""
    assert typed("compare", *words).steps == expected


LISTS = [
    (name, one.name)
    for name, request in REQUESTS.items()
    for one, _ in leaves(request)
    if (one.metadata["option"].many or one.metadata["option"].joined) and name in STUDIES
]
VALUES = {
    "multipliers": ("1", "2"), "attention": ("8", "4"), "override": ("lr", "seed"), "kind": ("npr", "sn"),
    "classes": ("3", "1"), "formats": ("npz", "folder"), "metrics": ("nll", "exposure"),
    "covariances": ("small", "npr"), "steps": ("5", "10"), "solvers": ("ddim", "ddpm"),
    "samplers": ("ddim", "tuned"), "eta": ("1", "0.5"), "grid": ("3", "40"), "size": ("8", "16"), "range": ("0", "1"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "field"), LISTS, ids=str)
def test_each_list_is_given_with_commas_and_by_repetition(typed: Callable[..., Any], name: str, field: str) -> None:
    word, (first, second), told = (
        parameters(name)[field].opts[0], VALUES[field], field_of(name, field).metadata["option"]
    )  # fmt: skip
    read = told.parse or str
    expected = (read(first), read(second)) if told.many else read(f"{first},{second}")
    for words in ([word, f"{first},{second}"], [word, first, word, second], [f"{word}={first}", f"{word}={second}"]):
        holder = next(part for part in parts(typed(name, *words)) if hasattr(part, field))
        assert getattr(holder, field) == expected


def test_whatever_help_shows_as_a_list_is_one() -> None:
    """A metavar with a comma and dots, and no other; ``--range LOW,HIGH`` and ``--size H,W`` are two of them."""
    for name, request in REQUESTS.items():
        for one, _ in leaves(request):
            told = one.metadata["option"]
            assert ("," in (told.metavar or "")) == (told.many or told.joined), (name, one.name)


def test_a_list_that_is_one_value_is_typed_as_it_was_read() -> None:
    found = asked(SampleRequest, {"eta": ["1", "0.5"], "grid": ["3", "40"]})
    assert found.sampler == ChosenSampler(eta=(1.0, 0.5), grid="3,40")
    assert asked(SampleRequest, {"eta": (1.0, 0.5), "grid": "3,40"}) == found
    assert words_for("sample", found) == ["diffcov", "sample", "--eta", "1.0,0.5", "--grid", "3,40"]


def test_none_is_no_value_and_not_the_default(typed: Callable[..., Any]) -> None:
    assert typed("train-mean", "--attention", "none").network.attention == ()
    assert typed("train-mean").network.attention is None
    assert given(NetworkChoice(attention=())) == {"attention": []}
    assert given(NetworkChoice()) == {}


@pytest.mark.parametrize("words", [["none,8"], ["8,none"], ["none", "--attention", "8"], ["none,none"]], ids=str)
def test_none_stands_alone(refused: Callable[..., str], tmp_path: Path, words: list[str]) -> None:
    """Nothing and something cannot both be meant."""
    message = refused(2, "train-mean", "--run", tmp_path / "run", "--attention", *words)
    assert message.startswith("--attention none means no value at all and stands alone; found ")


def test_none_reaches_the_network(done: Callable[..., Any], tmp_path: Path) -> None:
    run = ["train-mean", "--run", tmp_path / "run", "--dry-run"]
    assert done(*run, "--attention", "none")["settings"]["attention"] == []
    assert done(*run, "--multipliers", "1", "--multipliers", "2,2")["settings"]["multipliers"] == [1, 2, 2]
    assert done(*run)["settings"]["attention"] == [4]


# --- refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train-mean", "--multipliers", "1,x"], "--multipliers takes whole numbers .* such as 1,2,2; found 'x'"),
        (["train-mean", "--multipliers", "1,,2"], "--multipliers takes whole numbers .*; found ''"),
        (["train-mean", "--multipliers", "none"], "--multipliers takes whole numbers .*; found 'none'"),
        (["train-mean", "--attention", "8.5"], "--attention takes whole numbers .*; found '8.5'"),
        (["fit-var-head", "--kind", "npr,small"], "--kind takes npr, sn, ocm, banded with commas .*; found 'small'"),
        (["sample", "--class", "0,one"], "--class takes class numbers .* such as 0,1,2, or all; found 'one'"),
        (["sample", "--class", "-1"], "--class takes class numbers .*; found '-1'"),
        (["sample", "--format", "npz,gif"], "--format takes grid, folder, npz with commas between; found 'gif'"),
        (["sample", "--last-noise", "soft"], "--last-noise must be auto, off or a number .*, found 'soft'"),
        (["sample", "--eps-scale", "big"], "--eps-scale must be a positive number or fitted, found 'big'"),
        (["sample", "--eps-scale", "0"], "--eps-scale must be a positive number or fitted, found '0'"),
        (["sample", "--eps-scale", "nan"], "--eps-scale must be a positive number or fitted, found 'nan'"),
        (["evaluate", "--eps-scale", "inf"], "--eps-scale must be a positive number or fitted, found 'inf'"),
        (["evaluate", "--metrics", "nll,beauty"], "--metrics takes nll, ode-nll, distances, .*; found 'beauty'"),
        (["compare", "--steps", "5,ten"], "--steps takes whole numbers .* such as 5,10,25; found 'ten'"),
        (
            ["compare", "--solver", "ddpm,euler"],
            f"--solver takes {', '.join(SOLVERS)} with commas between; found 'euler'",
        ),
        (
            ["compare", "--process", "euler"],
            f"--solver takes {', '.join(SOLVERS)} with commas between; found 'euler'",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_that_cannot_be_read_is_one_sentence(
    refused: Callable[..., str], tmp_path: Path, words: list[str], message: str
) -> None:
    """Before anything is opened: there is no such run."""
    assert re.fullmatch(message, refused(2, *words, "--run", tmp_path / "absent"))


@pytest.mark.parametrize(
    "words",
    [
        ["train-mean", "--limit", "0"], ["train-mean", "--schedule", "sigmoid"], ["train-mean", "--precision", "fp8"],
        ["estimate-var", "--samples", "0"], ["estimate-var", "--knots", "1"], ["fit-var-head", "--loss", "huber"],
        ["sample", "--count", "0"], ["sample", "--first", "-1"], ["sample", "--steps", "many"],
        ["evaluate", "--split", "half"], ["compare", "--count", "-1"], ["demo", "--samples", "0"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_the_type_or_the_smallest_value_says_is_refused_by_the_parser(
    unusable: Callable[..., str], tmp_path: Path, words: list[str]
) -> None:
    assert words[1] in unusable(*words, "--run", tmp_path / "absent")


def test_the_splits_are_those_of_data_sets() -> None:
    assert SPLITS == ("train", "val", "test")


@pytest.mark.parametrize("text", ["1", "-3", " 4 "])
def test_whole_numbers(text: str) -> None:
    assert whole_numbers("--n", "1,2")(text) == int(text)


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "x", "1 2"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        whole_numbers("--n", "1,2")(text)
    assert str(caught.value) == f"--n takes whole numbers with commas between, such as 1,2; found {text!r}"


def test_one_of_some_words() -> None:
    """Those that are known when they are read."""
    known = ["a", "b"]
    parse = one_of("--w", lambda: known)
    assert parse("a") == "a"
    with pytest.raises(UsageError, match=r"^--w takes a, b with commas between; found 'c'$"):
        parse("c")
    known.append("c")
    assert parse("c") == "c"


# --- asked


def test_flat_names_build_nested_requests() -> None:
    found = asked(SampleRequest, {"run": Path("r"), "steps": 5, "solver": "ddim", "guidance": 2.0, "device": "cpu"})
    assert found == SampleRequest(
        place=Place(Path("r")), steps=5, sampler=ChosenSampler("ddim"), view=ViewChoice(guidance=2.0),
        running=Running("cpu"),
    )  # fmt: skip
    train = asked(TrainRequest, {"run": Path("r"), "classes": True, "lr": 0.1, "iterations": 3, "resume": True})
    assert train == TrainRequest(
        place=RunPlace(Path("r")), network=NetworkChoice(classes=True), training=TrainingChoice(lr=0.1),
        budget=BudgetChoice(3), resume=ResumeChoice(True),
    )  # fmt: skip
    assert asked(FitRequest, {"kind": ("sn",)}) == FitRequest(heads=HeadChoice(kind=("sn",)))
    assert asked(Place, {"run": Path("r"), "module": "m:f"}) == Place(Path("r"), "m:f")


def test_what_is_not_given_is_as_by_default() -> None:
    """A value that is the default, or None, is given all the same."""
    assert asked(SampleRequest, {"steps": None, "clip_x0": True}) == SampleRequest()
    assert asked(EstimateRequest, {"samples": 3}) == EstimateRequest(samples=3)


@pytest.mark.parametrize(
    ("request_type", "values", "names"),
    [
        (SampleRequest, {"step": 5}, "step"),
        (SampleRequest, {"steps": 5, "sampler": ChosenSampler()}, "sampler"),
        (TrainRequest, {"module": "m:f"}, "module"),
        (EstimateRequest, {"speed": 1, "colour": 2}, "colour, speed"),
        (DescribeRequest, {"as_json": True}, "as_json"),
    ],
)
def test_unknown_names_are_refused(request_type: type[Any], values: dict[str, Any], names: str) -> None:
    """All of them, and a part of a request by its own name is one of them."""
    with pytest.raises(TypeError, match=rf"^{request_type.__name__} has no option {names}$"):
        asked(request_type, values)


def test_a_request_does_not_change() -> None:
    for part in (part for request in REQUESTS.values() for part in parts(request())):
        for field in fields(part):
            with pytest.raises(FrozenInstanceError):
                setattr(part, field.name, None)


def test_requests_need_neither_torch_nor_typer() -> None:
    names = ["demo", "describe", "draw", "judge", "measure", "shared", "train", "tune"]
    program = "import sys\n" + "".join(f"import diffcov.study.requests.{name}\n" for name in names)
    program += "print([name for name in ('torch', 'numpy', 'typer', 'rich') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[]\n"


# --- a request of our own


COLOURS = ("red", "blue", "green")


def half_or_number(text: str) -> float:
    return 0.5 if text == "half" else float(text)


@dataclass(frozen=True)
class Inner:
    """Shapes."""

    size: int = option(3, "How large.", metavar="N", least=1, panel="Shape")
    sides: tuple[int, ...] | None = option(
        None, "Sides.", many=True, none="nothing", parse=whole_numbers("--sides", "1,2"), shown="as many as fit"
    )
    round: bool | None = option(None, "Round or not.", "--round/--square")


@dataclass(frozen=True)
class Middle:
    """What holds the shapes."""

    inner: Inner = Inner()
    share: float = option(0.5, "A share.", parse=half_or_number, shown="half")


@dataclass(frozen=True)
class Outer:
    """A request three deep."""

    where: Path | None = option(None, "A place.", metavar="[PLACE]", argument=True)
    place: Place = Place()
    middle: Middle = Middle()
    colours: tuple[str, ...] = option(
        ("red", "blue"), "Colours.", "--colour", "--color", many=True, parse=one_of("--colour", lambda: COLOURS)
    )
    tags: tuple[str, ...] = option((), "Tags.", "--tag", many=True, parse=str)


Told = tuple[Outer, Console, bool]


@pytest.fixture
def probe() -> Callable[..., tuple[Result, list[Told]]]:
    """``probe(error, *words)``: a command of this request in a program of its own, which ends in the error if any."""

    def run(error: DiffcovError | None, *words: object) -> tuple[Result, list[Told]]:
        told: list[Told] = []
        program = typer.Typer(cls=ErrorBoundary, rich_markup_mode="markdown", pretty_exceptions_enable=False)

        @command(Outer)
        def look(request: Outer, console: Console, as_json: bool) -> None:
            """Look around."""
            told.append((request, console, as_json))
            if error is not None:
                raise error

        @program.callback()
        def root() -> None:
            """A program."""

        program.command("look")(look)
        result = CliRunner().invoke(program, ["look", *map(str, words)], env={"DIFFCOV_RUN": None, "COLUMNS": "160"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result, told

    return run


Probe = Callable[..., tuple[Result, list[Told]]]


def test_a_request_of_requests_becomes_a_command(probe: Probe) -> None:
    result, told = probe(None)
    assert result.exit_code == 0, result.stderr
    assert told == [(Outer(), Console(Path("runs/default"), None), False)]
    words = ["here", "--run", "r", "--size", 4, "--sides", "1,2", "--square", "--share", "half", "--color", "green"]
    result, told = probe(None, *words, "--tag", "a", "--tag", "b,c", "--json")
    assert result.exit_code == 0, result.stderr
    assert told[0][0] == Outer(
        Path("here"), Place(Path("r")), Middle(Inner(4, (1, 2), False), 0.5), ("green",), ("a", "b", "c")
    )
    assert told[0][1:] == (Console(Path("r"), None), True)
    assert probe(None, "--sides", "nothing")[1][0][0].middle.inner.sides == ()


def test_its_help_has_all_of_it(probe: Probe) -> None:
    said = " ".join(probe(None, "--help")[0].stdout.replace("│", " ").split())
    for part in (
        "Look around.", "[PLACE]", "A place.", "--size N [x>=1] How large. [default: 3]", "─ Shape ─", "─ Running ─",
        "Sides. [default: as many as fit]", "--round --square", "A share. [default: half]", "--colour,--color",
        "Colours. [default: red,blue]", "--json",
    ):  # fmt: skip
        assert part in said, part
    assert "Tags. [default" not in said
    assert said.index("─ Shape ─") < said.index("─ Running ─")


@pytest.mark.parametrize("kind", [found for found in vars(errors).values() if isinstance(found, type)])
def test_an_error_keeps_its_exit_code_and_is_one_line(probe: Probe, kind: type[DiffcovError]) -> None:
    result, _ = probe(kind("no"))
    wished = issubclass(kind, errors.Interrupted)
    assert (result.exit_code, result.stdout, result.stderr) == (kind.exit_code, "", "no\n" if wished else "error: no\n")


def test_what_cannot_be_read_never_reaches_the_command(probe: Probe) -> None:
    for words in (["--sides", "x"], ["--colour", "pink"], ["--sides", "nothing,1"]):
        result, told = probe(None, *words)
        assert (result.exit_code, told) == (2, [])
        assert result.stderr.startswith(f"error: {words[0]} ")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "run: diffcov estimate-var --add"),
        (["--run", "r"], "run: diffcov estimate-var --run r --add"),
        (["--module", "m:f"], "run: diffcov estimate-var --module m:f --add"),
        (["--run", "r", "--module", "m:f"], "run: diffcov estimate-var --run r --module m:f --add"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_s_advice_carries_run_and_module(
    probe: Probe, words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    result, _ = probe(InputError("run: diffcov estimate-var --add"), *words)
    assert result.stderr == f"error: {expected}\n"


# --- a network of one's own


@pytest.fixture
def own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose network is a program in the folder where one stands."""
    (tmp_path / f"{MODULE}.py").write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(1, 1, 3, padding=1)\n\n"
        "    def forward(self, x, times):\n"
        "        return self.conv(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    torch.manual_seed(0)
    network = import_module(MODULE).Net()
    data, schedule = DataDescription(1, 8, 8, levels=17), NoiseSchedule.linear(50)
    mean = MeanModel.of(network, predicts="eps", schedule=schedule, data=data)
    Run.create(tmp_path / "own", mean, f"{MODULE}:Net", data="digits")
    monkeypatch.delitem(sys.modules, MODULE)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    return tmp_path / "own"


def test_the_next_step_carries_run_and_module(cli: Cli, own_run: Path) -> None:
    """And the program is found where one stands, as by python -m."""
    words = ["--run", own_run, "--module", f"{MODULE}:Net"]
    result = cli("estimate-var", *words, "--samples", 1, "--knot-samples", 0)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.endswith(f"next: diffcov fit-var-head --run {own_run} --module {MODULE}:Net\n")


def test_a_remedy_carries_run_and_module(refused: Callable[..., str], own_run: Path) -> None:
    words = ["--run", own_run, "--module", f"{MODULE}:Net"]
    remedy = f"run: diffcov estimate-var --run {own_run} --module {MODULE}:Net"
    assert refused(3, "sample", *words, "--covariance", "corrected").endswith(remedy)


def test_a_program_is_not_run_unasked(refused: Callable[..., str], own_run: Path) -> None:
    message = refused(3, "sample", "--run", own_run)
    assert message.endswith(f"is built by {MODULE}:Net, which is a program; if you trust it, say --module {MODULE}:Net")
    assert MODULE not in sys.modules
    other = refused(3, "sample", "--run", own_run, "--module", "os:abort")
    assert other.startswith("--module os:abort was given, and the mean in ")


def test_a_mean_that_is_missing_is_trained_without_a_module(refused: Callable[..., str], tmp_path: Path) -> None:
    """train-mean has no such option, so the advice would not work with it."""
    run = tmp_path / "absent"
    message = refused(3, "sample", "--run", run, "--module", f"{MODULE}:Net")
    assert message.endswith(f"run: diffcov train-mean --run {run}")


def test_a_suggested_training_can_be_typed(cli: Cli, tmp_path: Path) -> None:
    """The words after "run:" as they stand."""
    run = tmp_path / "my runs" / "a"
    said = cli("sample", "--run", run, "--module", "m:f").stderr.split("run: diffcov ")[1]
    assert cli(*shlex.split(said), *TINY, "--dry-run").exit_code == 0


def test_an_option_says_all_that_it_is() -> None:
    """The attributes by their names, as a new field would be declared."""
    made = option(1, "Help.", "--x", metavar="X", panel="P", least=0, environment="V")
    assert made.default == 1
    assert made.metadata["option"] == Option("Help.", ("--x",), "X", "P", 0, environment="V")
