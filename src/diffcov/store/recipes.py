"""A tuned recipe as a file: readable JSON, bound to the mean and to the tables that it was found with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.digest import digest_of_values
from diffcov.engines.recipe import Recipe
from diffcov.errors import DiffcovError, InputError
from diffcov.store.atomic import write_bytes

__all__ = ["RecipeFile", "has_its_digest", "load_recipe", "save_recipe"]

FORMAT, VERSION = "diffcov-recipe", 1


@dataclass(frozen=True)
class RecipeFile:
    """One recipe for one number of steps.

    Attributes:
        recipe: what was found.
        steps: K.
        mean: digest of the mean that it was found with.
        made_of: digests of the statistics and heads that it is made of, by the names of their files.
        guidance: W of the guided mean.
        evidence: how it was found: settings, every candidate and its distance, the finalists on fresh noise, and which
            noise of which seeds that was.
    """

    recipe: Recipe
    steps: int
    mean: str
    made_of: Mapping[str, str]
    guidance: float
    evidence: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "format": FORMAT, "version": VERSION, "steps": self.steps, "summary": self.recipe.label,
            "recipe": self.recipe.as_dict(), "mean": self.mean, "made_of": dict(self.made_of),
            "guidance": self.guidance, "evidence": dict(self.evidence),
        }  # fmt: skip

    def told(self) -> dict[str, Any]:
        """What it is and how well it did, in few values; what the evidence does not say is left out."""
        seen = self.evidence
        judged = [one for one in seen.get("finalists", []) if Recipe.from_dict(one["recipe"]) == self.recipe]
        return {
            "steps": self.steps, "sampler": self.recipe.label, "guidance": self.guidance,
            **({"features": seen["features"]} if judged else {}),
            **{key: one[key] for one in judged[:1] for key in ("distance", "stderr")},
            **{key: seen[key] for key in ("tried", "samples_drawn", "network_calls") if key in seen},
        }  # fmt: skip


def save_recipe(path: Path, found: RecipeFile) -> None:
    """Write a recipe. OutputError if the file system refuses."""
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    text = json.dumps({**values, "digest": digest_of_values(values)}, indent=1)
    write_bytes(path, (text + "\n").encode())


def has_its_digest(path: Path) -> bool | None:
    """Whether a recipe that can be read has the digest that it says; None if it says none, as those of before."""
    values = json.loads(path.read_text(encoding="utf-8"))
    said = values.pop("digest", None)
    return None if said is None else bool(said == digest_of_values(values))


def load_recipe(path: Path) -> RecipeFile:
    """Read a recipe.

    Raises:
        InputError: no file, or no recipe.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); find a recipe with: diffcov tune") from error
    except ValueError as error:
        raise InputError(f"{path} is no recipe (no JSON: {error}); find one with: diffcov tune --force") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != VERSION:
        raise InputError(f"{path} is no recipe of this version of diffcov; find one with: diffcov tune --force")
    try:
        return RecipeFile(
            Recipe.from_dict(values["recipe"]), int(values["steps"]), str(values["mean"]), dict(values["made_of"]),
            float(values["guidance"]), dict(values["evidence"]),
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError, DiffcovError) as error:
        raise InputError(
            f"{path} is a damaged recipe ({type(error).__name__}: {error}); find it again with: diffcov tune --force"
        ) from error
