"""The wrong versions are wrong in code, never in words."""

from __future__ import annotations

import ast
from pathlib import Path

import diffcov.diffusion.schedule
from mutation.operators import mutants

SMALL = '''"""Words with a - b and 1."""

__all__ = ["f"]

def f(a: "int | 3", b=2):
    """More: a < b."""
    if a < b:
        raise ValueError(f"{a - 1} is less")
    a += 1
    return -(a - b).clamp(min=b).sum() if a and b else not True
'''


def test_each_operator_changes_its_place() -> None:
    found = {mutant.what for mutant in mutants(SMALL)}
    assert {
        "a < b -> a <= b", "2 -> 3", "1 -> 2", "a += 1 -> a -= 1", "a and b -> ((a) or (b))", "True -> False",
        'raise ValueError(f"{a - 1} is less") -> pass', "not True -> (True)", "(a - b).clamp(min=b) -> (a - b)",
        "a - b -> (a) + (b)", "(a - b).clamp(min=b).sum() -> (a - b).clamp(min=b).mean()",
    } <= found  # fmt: skip
    assert not any("Words" in what or "More" in what or "int" in what for what in found)


def test_each_can_be_compiled_and_differs() -> None:
    source = Path(diffcov.diffusion.schedule.__file__).read_text(encoding="utf-8")
    found = mutants(source)
    assert len(found) > 30
    for mutant in found:
        assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(source)), mutant.what
