"""The shape of the code, held by reading it: which room may import which, sizes, what has no place in the package."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cerebro_nas"

_MAX_FILE_LINES = 600
_MAX_BODY_LINES = 75

# Room -> the rooms it may import, `errors` apart, which is everybody's.
# None: anything (`testing` holds the parts of a cluster, `__init__` the public names).
_SEARCH_MAY = {"search_space", "tuners", "hopper", "backend", "worker", "storage", "data", "tracking"}
_SEARCH_MAY |= {"journal", "stoppers"}
_ARROWS: dict[str, set[str] | None] = {
    "__init__": None,
    "testing": None,
    "hypermodel": _SEARCH_MAY | {"search", "results"},
    "tasks": {"hypermodel", "search", "results", "tuners", "backend", "storage", "tracking"},
    "keras": {"hypermodel", "search", "search_space", "worker", "data", "tuners", "tracking"},
    "tune": {"keras", "search", "tracking"},
    "ml": {"hypermodel", "backend", "results", "storage", "tracking", "worker"},
    "search": _SEARCH_MAY | {"results"},
    "results": {"tracking", "storage", "worker", "data", "hopper"},
    "backend": {"hopper", "worker"},
    "worker": {"storage", "hopper"},
    "data": {"storage", "worker"},
    "search_space": {"data", "worker"},
    "tuners": set(),
    "stoppers": set(),
    "tracking": {"hopper"},
    "storage": set(),
    "hopper": set(),
    "journal": set(),
    "errors": set(),
}
# The package itself, for its folder or its version.
_EVERYBODYS = {"cerebro_nas", "cerebro_nas.__version__"}

# Reading the schema of a Petastorm data set means reading a pickle; the file named here does it with an allow-list of
# inert stand-ins, and is the only one that may.
_MAY_UNPICKLE = {"cerebro_nas/data/_unischema.py"}
_PICKLERS = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}

# Folders of tests that stand for no room.
_TESTS_ACROSS_ROOMS = {"benchmarks", "chaos", "examples"}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


_SOURCES = _files(PACKAGE)
_PYTHON = [
    *_SOURCES,
    *(path for folder in ("tests", "examples", "benchmarks", "tools") for path in _files(ROOT / folder)),
    ROOT / "setup.py",
]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _modules() -> dict[str, Path]:
    """Dotted name -> file, for every module of the package."""
    found = {}
    for path in _SOURCES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


class _Imports(ast.NodeVisitor):
    """Every module that a file imports, inside functions too; what only the type checker reads does not count."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []

    def visit_If(self, node: ast.If) -> None:
        name = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", "")
        for child in node.orelse if name == "TYPE_CHECKING" else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found.extend((alias.name, node.lineno) for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            raise SyntaxError(f"a relative import at line {node.lineno}; this project writes absolute ones")
        module = node.module or ""
        for alias in node.names:
            deeper = f"{module}.{alias.name}"
            named = deeper in _modules() or module == "cerebro_nas"
            self.found.append((deeper if named else module, node.lineno))


def _imports(path: Path) -> list[tuple[str, int]]:
    visitor = _Imports()
    visitor.visit(_tree(path))
    return visitor.found


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _own_imports(module: str) -> list[tuple[str, int]]:
    return [(name, line) for name, line in _imports(_modules()[module]) if name.split(".")[0] == "cerebro_nas"]


def test_every_room_is_known() -> None:
    unknown = {_room(module) for module in _modules()} - _ARROWS.keys()
    assert not unknown, f"say in _ARROWS what they may import: {sorted(unknown)}"


def test_arrows_between_rooms() -> None:
    wrong = []
    for module, path in _modules().items():
        room = _room(module)
        allowed = _ARROWS.get(room, set())
        if allowed is None:
            continue
        allowed = allowed | {room, "errors"}
        wrong += [
            f"{_name(path)}:{line}: {room} imports {name}"
            for name, line in _own_imports(module)
            if name not in _EVERYBODYS and _room(name) not in allowed
        ]
    assert not wrong, "\n".join(wrong)


def test_rooms_use_the_public_face_of_other_rooms() -> None:
    wrong = [
        f"{_name(path)}:{line}: {name} is private to its room"
        for module, path in _modules().items()
        for name, line in _own_imports(module)
        if _room(name) != _room(module) and any(part.startswith("_") for part in name.split(".")[1:])
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cyclic_imports() -> None:
    graph = {module: {name for name, _ in _own_imports(module)} - {module} for module in _modules()}
    cycle = _find_cycle(graph)
    assert not cycle, " -> ".join(cycle)


def _find_cycle(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if cycle := walk(target, [*path, module]):
                return cycle
        done.add(module)
        return []

    for module in sorted(graph):
        if cycle := walk(module, []):
            return cycle
    return []


def test_a_cycle_would_be_found() -> None:
    assert _find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_files_are_short() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _PYTHON}
    assert not {name: length for name, length in lengths.items() if length > _MAX_FILE_LINES}


def test_functions_are_short() -> None:
    wrong = [
        f"{_name(path)}:{node.lineno}: {node.name} has {length} lines"
        for path in _PYTHON
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := _body_lines(node)) > _MAX_BODY_LINES
    ]
    assert not wrong, "\n".join(wrong)


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _banned(node: ast.AST) -> str | None:
    if isinstance(node, ast.Assert):
        return "assert"
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        return "bare except"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "eval", "exec"}:
        return node.func.id
    return None


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_nothing_banned(path: Path) -> None:
    found = [f"{what} at line {node.lineno}" for node in ast.walk(_tree(path)) if (what := _banned(node))]  # type: ignore[attr-defined]
    if _name(path) not in _MAY_UNPICKLE:
        found += [f"{name} at line {line}" for name, line in _imports(path) if name.split(".")[0] in _PICKLERS]
    assert not found


@pytest.mark.parametrize("code", ["assert x", "try:\n x\nexcept:\n pass", "print(x)", "eval(x)"])
def test_what_is_banned_would_be_found(code: str) -> None:
    assert [node for node in ast.walk(ast.parse(code)) if _banned(node)]


def test_the_product_does_not_speak_of_where_it_was_made() -> None:
    folders = ["cerebro_nas", "tests", "examples", "benchmarks", "tools", "docs", "profiles", ".ci"]
    texts = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts += [path for path in ROOT.iterdir() if path.is_file()]
    foreign = re.compile(r"\.\./shared\b|(?<![\w.])/work/|(?<![\w/])shared/reference")
    wrong = []
    for path in texts:
        if "__pycache__" in path.parts or path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        wrong += [f"{_name(path)}: {match.group()}" for match in foreign.finditer(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "path", [path for path in _SOURCES if path.name == "__init__.py"], ids=lambda path: path.parent.name
)
def test_a_room_lists_its_public_names(path: Path) -> None:
    assigned = {
        target.id: node.value
        for node in _tree(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in assigned
    names = ast.literal_eval(assigned["__all__"])
    assert names == sorted(set(names))


def test_every_package_folder_has_a_face() -> None:
    assert [_name(path) for path in _SOURCES if not (path.parent / "__init__.py").exists()] == []


def test_folders_of_tests_mirror_rooms() -> None:
    tests = ROOT / "tests"
    folders = {path.parent.relative_to(tests) for path in _files(tests)} - {Path()}
    foreign = {
        folder.as_posix()
        for folder in folders
        if folder.parts[0] not in _TESTS_ACROSS_ROOMS
        and not (PACKAGE / folder / "__init__.py").exists()
        and not (PACKAGE / folder).with_suffix(".py").exists()
    }
    assert not foreign


def test_every_room_has_tests() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"testing"}
    tested = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")}
    assert not rooms - tested
