"""A recipe's file: read as it was written, plain JSON by the standard, and refused where it is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import listing, strict_json
from diffcov.engines.recipe import Recipe
from diffcov.errors import InputError, OutputError
from diffcov.store.recipes import RecipeFile, load_recipe, save_recipe
from diffcov.store.run import RunFolder

FOUND = RecipeFile(
    Recipe("dpmpp", "spectral", (1, 9, 50), (1.0, 0.5, 0.0), 2, 0.75, "eps_hat", 0.25, 1.01, False),
    3,
    "ab" * 32,
    {"spectrum.safetensors": "cd" * 32},
    1.5,
    {
        "features": "pixels", "tried": 2, "samples_drawn": 192, "network_calls": 576, "settings": {"seed": 4},
        "finalists": [
            {"recipe": Recipe().as_dict(), "distance": 2.0, "stderr": 0.2},
            {"recipe": Recipe("dpmpp", "spectral", (1, 9, 50), (1.0, 0.5, 0.0), 2, 0.75, "eps_hat", 0.25, 1.01, False
                              ).as_dict(), "distance": 1.0, "stderr": 0.1},
        ],
    },
)  # fmt: skip


def test_there_and_back(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).recipe(3)
    save_recipe(path, FOUND)
    assert load_recipe(path) == FOUND
    assert RunFolder(tmp_path).all_recipes() == [path]
    save_recipe(tmp_path / "again.json", load_recipe(path))
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_it_says_what_it_is(tmp_path: Path) -> None:
    """To whoever opens it: words first, and nothing but JSON."""
    save_recipe(tmp_path / "one.json", FOUND)
    written = strict_json((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert (written["format"], written["steps"]) == ("diffcov-recipe", 3)
    assert written["summary"] == FOUND.recipe.label
    assert FOUND.told() == {
        "steps": 3, "sampler": FOUND.recipe.label, "guidance": 1.5, "features": "pixels", "distance": 1.0,
        "stderr": 0.1, "tried": 2, "samples_drawn": 192, "network_calls": 576,
    }  # fmt: skip


def test_of_no_evidence_little_is_told() -> None:
    bare = RecipeFile(Recipe(), 5, "ab" * 32, {}, 1.0, {})
    assert bare.told() == {"steps": 5, "sampler": "ddpm", "guidance": 1.0}


def test_numbers_of_steps_come_in_their_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for K in (10, 5, 100):
        save_recipe(run.recipe(K), FOUND)
    assert [path.stem for path in run.all_recipes()] == ["5", "10", "100"]


def changed(**values: Any) -> str:
    return json.dumps({**FOUND.as_dict(), **values})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no recipe (no JSON: Expecting property name"),
        ("\x00\x01", "is no recipe (no JSON: "),
        ("[]", "is no recipe of this version of diffcov"),
        (changed(format="other"), "is no recipe of this version of diffcov"),
        (changed(version=2), "is no recipe of this version of diffcov"),
        (json.dumps({"format": "diffcov-recipe", "version": 1}), "is a damaged recipe (KeyError: 'recipe')"),
        (changed(steps="many"), "is a damaged recipe (ValueError: invalid literal"),
        (changed(recipe={"solver": "euler"}), "is a damaged recipe (UsageError: a recipe names 'euler'"),
        (changed(recipe={"share": "half"}), "is a damaged recipe (TypeError: "),
        (changed(recipe={"speed": 2}), "is a damaged recipe (InputError: a recipe has no speed"),
        (changed(recipe=[]), "is a damaged recipe (AttributeError: "),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "10.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path} {words}")
    assert message.endswith("diffcov tune --force")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot be read \(No such file or directory\); find a recipe with: diffcov tune$"
    ):
        load_recipe(tmp_path / "10.json")


def test_nothing_half_written_remains(tmp_path: Path, full_disk: Any) -> None:
    with full_disk(200), pytest.raises(OutputError, match="could not write"):
        save_recipe(tmp_path / "10.json", FOUND)
    assert listing(tmp_path) == {}
