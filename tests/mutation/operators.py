"""Small wrong versions of a file: a sign, a comparison, a number, a clamp that is gone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutant", "mutants"]

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*", ast.Pow: "*",
    ast.LShift: ">>", ast.RShift: "<<", ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "&",
}  # fmt: skip
GONE = {
    *("clamp", "clamp_", "clamp_min", "clamp_max", "abs", "sqrt", "square", "exp", "log", "flip", "cumsum", "cumprod"),
    *("reciprocal", "neg", "round", "floor", "ceil", "sort", "expm1", "log1p", "rsqrt"),
}
"""Methods whose object can stand for their result."""
SWAPPED = {"sum": "mean", "mean": "sum", "min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax"}
SKIPPED = (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Raise, ast.Assert)
"""Words for people, and what no test could tell from nothing; a raise is taken away whole."""
FLAGS = ("repr", "compare")
"""What a dataclass shows of a field, which no number depends on."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        line: where, 1-based.
        what: before and after.
        source: the whole file with it.
    """

    line: int
    what: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every small wrong version of a file, in the order of its lines."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    content = source.encode()

    def place(line: int, column: int) -> int:
        return starts[line - 1] + column

    found = []
    for node, old, new in _changes(ast.parse(source), source):
        begin, end = place(old.lineno, old.col_offset), place(old.end_lineno or 0, old.end_col_offset or 0)
        changed = (content[:begin] + new.encode() + content[end:]).decode()
        try:
            ast.parse(changed)
        except SyntaxError:
            continue
        before = " ".join(content[begin:end].decode().split())
        found.append(Mutant(node.lineno, f"{before[:60]} -> {new[:60]}", changed))
    return found


def _changes(tree: ast.Module, source: str) -> Iterator[tuple[ast.expr | ast.stmt, ast.expr | ast.stmt, str]]:
    for node in _code(tree):
        for new in _of_expression(node, source) if isinstance(node, ast.expr) else _of_statement(node, source):
            yield node, node, new


def _code(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Nodes that compute: no annotations, docstrings, decorators, messages, public names or dataclass flags."""
    if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets):
        return
    if isinstance(node, ast.Raise):
        yield node
    if isinstance(node, ast.keyword) and node.arg in FLAGS:
        return
    if isinstance(node, SKIPPED) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)


def _text(node: ast.AST, source: str) -> str:
    return ast.get_source_segment(source, node) or ""


def _of_statement(node: ast.AST, source: str) -> Iterator[str]:
    if isinstance(node, ast.Raise):
        yield "pass"
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield f"{_text(node.target, source)} {ARITHMETIC[type(node.op)]}= {_text(node.value, source)}"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass"


def _of_expression(node: ast.expr, source: str) -> Iterator[str]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        left, right = _text(node.left, source), _text(node.comparators[0], source)
        yield f"{left} {COMPARISONS[type(node.ops[0])]} {right}"
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield f"({_text(node.left, source)}) {ARITHMETIC[type(node.op)]} ({_text(node.right, source)})"
    elif isinstance(node, ast.BoolOp):
        word = " or " if isinstance(node.op, ast.And) else " and "
        yield "(" + word.join(f"({_text(value, source)})" for value in node.values) + ")"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"({_text(node.operand, source)})"
    elif isinstance(node, ast.IfExp):
        body, test, other = (_text(part, source) for part in (node.body, node.test, node.orelse))
        yield f"({other}) if ({test}) else ({body})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield repr(node.value + 1)
    elif isinstance(node, ast.Call):
        yield from _of_call(node, source)


def _of_call(node: ast.Call, source: str) -> Iterator[str]:
    function = node.func
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    called = _text(function, source)
    if name in SWAPPED:
        yield called.removesuffix(name) + SWAPPED[name] + _text(node, source)[len(called) :]
    if name in GONE and isinstance(function, ast.Attribute) and not _is_module(function.value):
        yield f"({_text(function.value, source)})"


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "math", "np", "F")
