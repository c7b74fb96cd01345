"""What ``auto`` takes: the winner of the run's comparison as long as it still speaks of what is here, else an order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from diffcov.covariance import registry
from diffcov.errors import InputError, UsageError
from diffcov.solver.ddim import DDIM
from diffcov.solver.registry import make_solver
from diffcov.store.checkpoint import load_mean
from diffcov.store.run import RunFolder
from diffcov.study.choice import Choice, Use
from diffcov.study.choice import choose as choose_for
from diffcov.study.requests.shared import ViewChoice
from diffcov.study.requests.words import AUTO

WINNERS = {("ddpm", 2): "npr", ("ddpm", 8): "spectral", ("ddim", 2): "small"}
"""Who has the lowest distance in which cell."""


@pytest.fixture(scope="module")
def crowned(finished: Path, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real comparison; its distances are then set so that every cell has a clear winner. Read only."""
    full_run = shutil.copytree(finished, tmp_path_factory.mktemp("crowned") / "run")
    result = cli(
        "compare", "--run", full_run, "--covariance", "small,spectral,npr", "--steps", "2,8",
        "--count", 64, "--images", 2, "--features", "pixels",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr

    def crown(found: dict[str, Any]) -> None:
        for cell in found["cells"]:
            cell["fid"] = 1.0 if WINNERS.get((cell["solver"], cell["steps"])) == cell["covariance"] else 9.0

    change(RunFolder(full_run), crown)
    return full_run


@pytest.fixture
def compared(crowned: Path, tmp_path: Path) -> RunFolder:
    """A copy of it, to change."""
    return RunFolder(shutil.copytree(crowned, tmp_path / "run"))


def change(run: RunFolder, edit: Any) -> None:
    path = run.comparison / "compare.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    edit(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def choose(run: RunFolder, name: str, use: Use | None = None) -> Choice:
    """For the run's own mean."""
    return choose_for(run, name, load_mean(run.mean), use)


def use(steps: int, solver: str = "ddpm", **other: Any) -> Use:
    return Use(make_solver(solver), steps, **other)


def in_order(run: RunFolder) -> str:
    """The first of the documented order that can be built."""
    lacking = run.available()
    return next(name for name in registry.PREFERENCE if lacking[name] is None)


@pytest.mark.parametrize(
    ("solver", "steps", "expected"),
    [("ddpm", 2, "npr"), ("ddpm", 3, "npr"), ("ddpm", 5, "spectral"), ("ddpm", 8, "spectral"), ("ddpm", 50, "spectral"),
     ("ddim", 2, "small")],
)  # fmt: skip
def test_the_lowest_distance_at_the_nearest_number_of_steps(
    compared: RunFolder, solver: str, steps: int, expected: str
) -> None:
    """Near means near in ratio: 5 is nearer to 8 than to 2."""
    choice = choose(compared, AUTO, use(steps, solver))
    assert choice.name == expected
    assert "lowest fid@64 pixels of 3" in choice.why
    assert f"{solver} steps in this run's comparison: 1" in choice.why


def test_without_a_comparison_an_order(full_run: Path) -> None:
    choice = choose(RunFolder(full_run), AUTO, use(10))
    assert choice.name == in_order(RunFolder(full_run)) == registry.PREFERENCE[0]
    assert "usually the best" in choice.why


def test_where_no_number_of_steps_is_meant_the_order_holds(compared: RunFolder) -> None:
    assert choose(compared, AUTO).name == in_order(compared)


def test_a_name_is_a_name(compared: RunFolder) -> None:
    assert choose(compared, "large", use(2)).name == "large"
    assert choose(compared, "large", use(2)).why == ""
    with pytest.raises(UsageError, match="unknown covariance 'best'; choose auto or one of small, large"):
        choose(compared, "best", use(2))
    with pytest.raises(UsageError, match=r"unknown covariance 'spectal' \(did you mean spectral\?\); choose auto or"):
        choose(compared, "spectal", use(2))


@pytest.mark.parametrize(
    "other",
    [{"view": ViewChoice(eps_scale="fitted")}, {"view": ViewChoice(eps_scale=1.1)}, {"view": ViewChoice(clip_x0=False)},
     {"view": ViewChoice(guidance=2.0)}, {"grid": "quad"}, {"solver": DDIM(0.5)}],
    ids=["fitted", "scaled", "unclipped", "guided", "quad", "eta"],
)  # fmt: skip
def test_another_use_was_not_compared(compared: RunFolder, other: dict[str, Any]) -> None:
    """And no use is the best one for ever: with no steps at all the order holds as well."""
    wanted = Use(**{"solver": DDIM(), "steps": 2, **other})
    assert choose(compared, AUTO, use(2, "ddim")).name == "small"
    assert choose(compared, AUTO, wanted).name == in_order(compared)
    assert choose(compared, AUTO, use(0)).name == choose(compared, AUTO, use(-3)).name == in_order(compared)


def test_another_mean_makes_the_comparison_void(compared: RunFolder) -> None:
    change(compared, lambda found: found["mean"].update(digest="0" * 64))
    assert choose(compared, AUTO, use(2)).name == in_order(compared)


def test_a_head_that_was_fitted_again_is_out_of_the_running(compared: RunFolder, cli: Cli) -> None:
    again = cli("fit-var-head", "--run", compared.path, "--kind", "npr", "--iterations", 1, "--seed", 5, "--force")
    assert again.exit_code == 0, again.stderr
    choice = choose(compared, AUTO, use(2))
    assert choice.name in {"small", "spectral"}
    assert "of 2 at 2 ddpm steps" in choice.why


def test_a_head_that_is_gone_is_out_of_the_running(compared: RunFolder) -> None:
    compared.head("npr").unlink()
    assert choose(compared, AUTO, use(2)).name in {"small", "spectral"}


def test_the_best_of_one_is_no_winner(compared: RunFolder) -> None:
    def alone(found: dict[str, Any]) -> None:
        found["cells"] = [cell for cell in found["cells"] if cell["covariance"] == "small"]

    change(compared, alone)
    assert choose(compared, AUTO, use(2)).name == in_order(compared) != "small"


def test_cells_without_distances_do_not_count(compared: RunFolder) -> None:
    def forget(found: dict[str, Any]) -> None:
        for cell in found["cells"]:
            cell["fid"] = None

    change(compared, forget)
    assert choose(compared, AUTO, use(2)).name == in_order(compared)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mean": 3}', "not JSON"])
def test_a_comparison_that_cannot_be_read_is_named(compared: RunFolder, text: str) -> None:
    path = compared.comparison / "compare.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"{path} cannot be understood .*compare again with: diffcov compare"):
        choose(compared, AUTO, use(2))


def test_sample_says_what_it_took_and_why(compared: RunFolder, cli: Cli) -> None:
    result = cli("sample", "--run", compared.path, "--steps", 2, "--count", 1)
    assert result.exit_code == 0, result.stderr
    assert "covariance: npr (lowest fid@64 pixels of 3 at 2 ddpm steps" in result.stderr
