"""``import diffcov`` is light, and offers every public name."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import diffcov


def test_import_loads_no_torch() -> None:
    code = "import sys, diffcov; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name in dir(diffcov) if name != "__version__"])
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(diffcov, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(diffcov.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert declared.keys() == set(dir(diffcov)) - {"__version__"}
    for name, module in declared.items():
        assert getattr(import_module(str(module)), str(name)) is getattr(diffcov, str(name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diffcov.nothing
