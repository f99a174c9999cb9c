"""The repository's Python files as syntax trees, for tests about the code itself."""

import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

PACKAGES = ("api", "workers", "shared", "infra")
SOURCES = sorted(path for package in PACKAGES for path in Path(package).rglob("*.py"))
TESTS = sorted(Path("tests").rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def walk(tree: ast.Module) -> list[ast.AST]:
    """Every node of a tree: to walk it again takes several times as long as to read this list again."""
    return list(ast.walk(tree))


def nodes(paths: list[Path]) -> Iterator[tuple[Path, ast.AST]]:
    """Every syntax node of these files."""
    return ((path, node) for path in paths for node in walk(parse(path)))


def module_imports(paths: list[Path]) -> dict[str, set[str]]:
    """Which of ``paths`` each module imports, in functions and under ``TYPE_CHECKING`` too."""
    modules = {".".join(path.with_suffix("").parts): path for path in paths}
    return {
        module: {name for name in imported_names(parse(path)) if name in modules and name != module}
        for module, path in modules.items()
    }


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Full names of all that is imported: ``from a import b`` gives ``a`` and ``a.b``."""
    for node in walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def cycles(graph: Mapping[str, Set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other: Tarjan's strongly connected components of two and more."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for neighbour in sorted(graph.get(node, ())):
            if neighbour not in index:
                visit(neighbour)
                lowest[node] = min(lowest[node], lowest[neighbour])
            elif neighbour in stack:
                lowest[node] = min(lowest[node], index[neighbour])
        if lowest[node] == index[node]:
            at = stack.index(node)
            group = sorted(stack[at:])
            del stack[at:]
            if len(group) > 1:
                groups.append(group)

    for node in graph:
        if node not in index:
            visit(node)
    return groups


def constructor_parameters(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Each class with an ``__init__`` or dataclass fields, and how many parameters it takes."""
    for node in walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                yield node.name, len(member.args.args) - 1 + len(member.args.kwonlyargs)
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            fields = [member for member in node.body if isinstance(member, ast.AnnAssign)]
            yield node.name, sum("init=False" not in ast.unparse(field) for field in fields)


def foreign_private_attributes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each ``x._y`` whose ``_y`` this module does not define."""
    own = set(defined_names(tree))
    for node in walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        is_own_object = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        if not is_own_object and node.attr not in own:
            yield node.lineno, node.attr


def defined_names(tree: ast.Module) -> Iterator[str]:
    """Functions, classes, variables and attributes of ``self`` that a module defines."""
    for node in walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
