"""One self-contained program made of several files of this package: what leaves the house has one truth, here.

A file of ``diffcov.exported`` imports what it needs from lower floors. Where it is written beside an exported model,
these imports are replaced by the files themselves, each below those that it imports, so that it runs where diffcov is
not. Nothing is rewritten but the imports; those that type checkers alone see are left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Self

from diffcov.version import __version__

__all__ = ["bundled"]

PACKAGE = "diffcov"


@dataclass(frozen=True)
class Source:
    """A file of the package, taken apart.

    Attributes:
        module: its name, with the package's.
        title: its docstring as it stands in the file.
        inner: modules of the package that it imports from, in order.
        outer: its other imports.
        names: what it defines.
        body: the rest.
    """

    module: str
    title: str
    inner: tuple[str, ...]
    outer: tuple[ast.Import | ast.ImportFrom, ...]
    names: frozenset[str]
    body: str

    @classmethod
    @cache  # the programs of one folder share most of their files
    def of(cls, module: str, root: bool) -> Self:
        """Read a module's file; ``__all__`` of the root alone stays.

        Raises:
            ValueError: a way to import that cannot be replaced by the file.
        """
        place = files(PACKAGE).joinpath(*module.split(".")[1:-1], f"{module.rpartition('.')[2]}.py")
        text = place.read_text(encoding="utf-8")
        tree, lines = ast.parse(text), text.splitlines()
        inner, names, dropped = list[str](), set[str](), set[int]()
        outer = list[ast.Import | ast.ImportFrom]()
        first = tree.body[0]
        assert isinstance(first, ast.Expr), f"{module} begins with its docstring"
        for node in tree.body:
            own = isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE
            listing = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            if own:
                assert isinstance(node, ast.ImportFrom)
                inner.append(str(node.module))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                outer.append(node)
            elif not listing:
                names |= set(_defined(node))
            imports = isinstance(node, ast.Import | ast.ImportFrom) or _for_types_alone(node)
            if node is first or imports or (listing and not root):
                dropped |= set(range(node.lineno - 1, node.end_lineno or node.lineno))
        _check_imports(module, tree)
        body = "\n".join(line for number, line in enumerate(lines) if number not in dropped).strip("\n")
        title = "\n".join(lines[first.lineno - 1 : first.end_lineno])
        return cls(module, title, tuple(dict.fromkeys(inner)), tuple(outer), frozenset(names), body)


def bundled(module: str) -> str:
    """The source of a module and of all that it imports from this package, in one file.

    Args:
        module: "diffcov.exported.name".

    Raises:
        ValueError: two of the files define one name, one defines what another imports, or imports what cannot be
            replaced.
    """
    sources = list(_below(module, {}, root=True))
    taken: dict[str, str] = {}
    for source in sources:
        for name in source.names:
            if name in taken:
                raise ValueError(f"{name} stands in {taken[name]} and in {source.module}: one file cannot hold both")
            taken[name] = source.module
    outer = [node for source in sources for node in source.outer]
    for name in (alias.asname or alias.name for node in outer for alias in node.names):
        if name in taken:
            raise ValueError(f"{name} stands in {taken[name]} and is imported beside it: one file cannot hold both")
    root = sources[-1]
    written = f"# Written by `diffcov export`, version {__version__}: its own files, one below the other."
    parts = [root.title, f"{written}\n\nfrom __future__ import annotations"]
    parts.append("\n".join(_together(outer)))
    text = "\n\n".join(parts)
    for source in sources:
        spoken = source.title.strip('"').splitlines()[0]
        text += f"\n\n\n# {source.module}: {spoken}\n\n\n{source.body}"
    return text + "\n"


def _below(module: str, seen: dict[str, None], root: bool) -> Iterator[Source]:
    """The modules that one needs and it itself, each after those that it imports."""
    if module in seen:
        return
    seen[module] = None
    source = Source.of(module, root)
    for other in source.inner:
        yield from _below(other, seen, root=False)
    yield source


def _together(nodes: Iterable[ast.Import | ast.ImportFrom]) -> list[str]:
    """Imports as lines, one a module, those of whole modules first."""
    whole, named = set[str](), dict[str, set[str]]()
    for node in nodes:
        if isinstance(node, ast.Import):
            whole.add(ast.unparse(node))
        elif node.module != "__future__":
            named.setdefault(str(node.module), set()).update(ast.unparse(alias) for alias in node.names)
    return sorted(whole) + [f"from {module} import {', '.join(sorted(named[module]))}" for module in sorted(named)]


def _for_types_alone(node: ast.stmt) -> bool:
    """Whether it is ``if TYPE_CHECKING:``, which no program runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))


def _check_imports(module: str, tree: ast.Module) -> None:
    """Refuse (ValueError) imports of this package that are hidden in functions, of a whole module, or renamed."""
    executed = [part for node in tree.body if not _for_types_alone(node) for part in ast.walk(node)]
    for node in executed:
        if isinstance(node, ast.Import) and any(one.name.partition(".")[0] == PACKAGE for one in node.names):
            raise ValueError(f"{module}:{node.lineno} imports a whole module of diffcov; import names from it")
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE:
            if node not in tree.body:
                raise ValueError(f"{module}:{node.lineno} imports from diffcov inside of a function; do so at the top")
            if any(one.asname for one in node.names):
                raise ValueError(f"{module}:{node.lineno} renames what it imports from diffcov; use its own name")
