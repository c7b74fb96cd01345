"""The house: who may import whom, how long a file may be, and what is left to one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import diffcov
from diffcov.covariance import registry as covariances
from diffcov.covariance.head_based import HeadCovariance
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.solver import registry as solvers
from diffcov.statistics import registry as statistics

HOUSE = Path(diffcov.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
NAMES = [str(path.relative_to(HOUSE)) for path in FILES]
LONGEST = 250

FLOORS: dict[str, int] = {
    "errors": 0, "version": 0, "runtime": 0, "named": 0, "philox": 0, "transfer": 0,
    "noise": 1, "data": 1, "basis": 1, "digest": 1, "processes": 1,
    "diffusion": 2,
    "gaussian": 3, "nets": 3,
    "denoiser": 4,
    "solver": 5, "statistics": 5,
    "covariance": 6, "exported": 6,
    "engines": 7,
    "store": 8,
    "study": 9,
    "present": 10,
    "cli": 11,
}  # fmt: skip
"""Top-level part of the package -> its floor."""
FRONT_DOOR = {"__init__.py", "__main__.py"}
"""The package itself names everything; `python -m diffcov` starts the program."""


def part_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module inside diffcov without that prefix, line); "" is the package itself."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} relative import"
            module = node.module or ""
            found = [f"diffcov.{alias.name}" for alias in node.names] if module == "diffcov" else [module]
        else:
            continue
        for name in found:
            if name.split(".")[0] == "diffcov":
                yield name.removeprefix("diffcov").removeprefix("."), node.lineno


def test_every_part_has_a_floor() -> None:
    parts = {part_of(path) for path in FILES if path.name not in FRONT_DOOR or path.parent != HOUSE}
    assert parts <= FLOORS.keys(), "say on which floor it lives"


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_downwards(name: str) -> None:
    path = HOUSE / name
    if name in FRONT_DOOR:
        return
    own = part_of(path)
    for module, line in imports(path):
        if not module:
            pytest.fail(f"{name}:{line} imports the package itself, which names everything")
        other = module.split(".")[0]
        if other == own:
            continue
        where = f"{name}:{line} imports diffcov.{module}"
        assert FLOORS[other] < FLOORS[own], f"{where}: not downward"


def test_the_lowest_floors_have_no_circles() -> None:
    """Files of one floor may import each other, in one direction."""
    graph = {
        str(path.relative_to(HOUSE).with_suffix("")).replace("/", "."): {module for module, _ in imports(path)}
        for path in FILES
        if path.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            for below in graph.get(module, set()):
                visit(below, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("name", NAMES)
def test_length(name: str) -> None:
    assert len((HOUSE / name).read_text(encoding="utf-8").splitlines()) <= LONGEST, "look for the second idea in it"


def calls(path: Path) -> Iterator[tuple[str, int]]:
    """(name of the function or method that is called, line)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, node.lineno
            elif isinstance(node.func, ast.Attribute):
                yield f".{node.func.attr}", node.lineno


@pytest.mark.parametrize("name", NAMES)
def test_nothing_prints(name: str) -> None:
    """Output goes through cli/console.py."""
    assert [line for called, line in calls(HOUSE / name) if called == "print"] == []


TOUCHES_DISK = {"open", ".open", ".read_text", ".write_text", ".read_bytes", ".write_bytes", ".mkdir", ".unlink"}
TOUCHES_DISK |= {".rename", ".rmtree", ".touch", ".savez", ".savez_compressed", "save_file", "load_file", "safe_open"}


READS_PACKAGE_DATA = {"present/report/html.py"}
"""The style sheet is a file of the package."""
OPENS_NOWHERE = {"runtime.py"}
"""/dev/null, where a standard descriptor is closed."""


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("store/")])
def test_only_the_store_touches_disk(name: str) -> None:
    if name not in READS_PACKAGE_DATA | OPENS_NOWHERE:
        assert [f"{called}:{line}" for called, line in calls(HOUSE / name) if called in TOUCHES_DISK] == []


HEAVY = {"typer": ("cli",), "rich": ("cli", "present"), "matplotlib": ("present",), "PIL": ("present", "store")}
"""Package of others -> the floors that may import it; engines and experiments talk to a listener instead."""


@pytest.mark.parametrize("name", NAMES)
def test_each_library_is_known_to_its_own_floors(name: str) -> None:
    floor = part_of(HOUSE / name)
    for node in ast.walk(tree(HOUSE / name)):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in found:
            assert floor in HEAVY.get(module.split(".")[0], (floor,)), f"{name}:{node.lineno} imports {module}"


EXPERIMENTS = sorted(Path(__file__).parent.parent.glob("benchmarks/*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_benchmarks_do_not_import_the_command_line(path: Path) -> None:
    assert [f"{module}:{line}" for module, line in imports(path) if module.split(".")[0] == "cli"] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_unpickles(name: str) -> None:
    """torch.load without weights_only, pickle.load and numpy's allow_pickle=True run foreign code."""
    for node in ast.walk(tree(HOUSE / name)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        allowed = keywords.get("allow_pickle")
        assert not (isinstance(allowed, ast.Constant) and allowed.value is True), f"{name}:{node.lineno}"
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        assert (owner, node.func.attr) not in {("pickle", "load"), ("pickle", "loads")}, f"{name}:{node.lineno}"
        if (owner, node.func.attr) == ("torch", "load"):
            only = keywords.get("weights_only")
            assert isinstance(only, ast.Constant), f"{name}:{node.lineno}"
            assert only.value is True, f"{name}:{node.lineno}"


FAMILIES = {
    "covariance": {name: entry.home for name, entry in covariances.COVARIANCES.items()},
    "solver": solvers.SOLVERS,
    "statistics": statistics.STATISTICS,
}
"""Package -> name -> "module:Class"."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_of_a_family_is_one_file(family: str) -> None:
    homes = [home.partition(":")[0] for home in FAMILIES[family].values()]
    assert len(set(homes)) == len(homes)
    for name, home in FAMILIES[family].items():
        module, _, attribute = home.partition(":")
        assert module.startswith(f"diffcov.{family}.")
        assert getattr(import_module(module), attribute).name == name


def test_every_covariance_s_file_has_its_name() -> None:
    for name, entry in covariances.COVARIANCES.items():
        assert entry.home.startswith(f"diffcov.covariance.{name.replace('-', '_')}:")
        assert entry.reads_head == issubclass(covariances.load(name), HeadCovariance)
        assert entry.reads_range == covariances.load(name).reads_range
    assert set(covariances.PREFERENCE) <= covariances.COVARIANCES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_branches_on_a_registered_name(name: str) -> None:
    """Comparing with a member's name is the string switch that a registry replaces."""
    known = {member for family in FAMILIES.values() for member in family} | PARAMETRISATIONS.keys()
    for node in ast.walk(tree(HOUSE / name)):
        if isinstance(node, ast.Compare):
            compared = [n.value for n in (node.left, *node.comparators) if isinstance(n, ast.Constant)]
            assert not known & {value for value in compared if isinstance(value, str)}, f"{name}:{node.lineno}"


def docstrings(path: Path) -> Iterator[tuple[str, int]]:
    """(first word, line) of every docstring of a class or a function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text.split()[0].strip(".,:;"), node.lineno


FRAGMENTS = {"Of", "Itself", "As", "Nothing", "None", "From", "By", "With"}
"""Words that begin what only makes sense after the name it hangs on."""


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_say_what_a_thing_is(name: str) -> None:
    assert [f"{word}:{line}" for word, line in docstrings(HOUSE / name) if word in FRAGMENTS] == []


def test_no_drawer_for_everything() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "misc", "common"}
    found = [path for path in HOUSE.rglob("*") if path.stem.lower() in forbidden]
    assert found == []
