"""What the repository weighs: lines, files, longest files, layers and circles of imports. `make figures` prints it.

Lines are all lines of a file, blank ones and docstrings too: anyone can count them again.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("engine", "precompute", "dashboard")
# What is counted: a name, the folder, and the endings of its files.
COUNTED = {
    "engine": ("engine", (".py",)),
    "precompute": ("precompute", (".py",)),
    "dashboard": ("dashboard", (".py",)),
    "dashboard JS and CSS": ("dashboard", (".js", ".css", ".html")),
    "tests": ("tests", (".py",)),
}
N_LONGEST = 5


@dataclass(frozen=True)
class Size:
    """Lines and files of a folder, and its longest files with their lines."""

    lines: int
    files: int
    longest: tuple[tuple[str, int], ...]


@cache
def size_of(name: str) -> Size:
    """Return the size of an entry of COUNTED; empty files (a package's mark) count as none."""
    folder, endings = COUNTED[name]
    lines = {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8").count("\n")
        for file in sorted((ROOT / folder).rglob("*"))
        if file.suffix in endings and "__pycache__" not in file.parts
    }
    by_length = sorted(lines.items(), key=lambda pair: -pair[1])
    return Size(sum(lines.values()), sum(map(bool, lines.values())), tuple(by_length[:N_LONGEST]))


def imports_within(package: str) -> dict[str, set[str]]:
    """Return each module of a package with those of the package that it imports, inside functions too.

    What is imported for type checking alone does not count: it is not there when the program runs.
    """
    files = {_module_of(file): file for file in (ROOT / package).rglob("*.py")}
    return {
        module: {_known(name, files) for name in _imported(file)} & files.keys() - {module, package}
        for module, file in files.items()
    }


def _module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _known(name: str, modules: Mapping[str, object]) -> str:
    """Return the module that an imported name is, or lies in."""
    return name if name in modules else name.rpartition(".")[0]


def _imported(file: Path) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle, each sorted."""
    reached = {module: _reached_from(module, graph) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def _reached_from(module: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[module])
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += graph[one]
    return seen


def longest_chain(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the longest chain of imports, the first importing the second: its length is the number of layers.

    A circle counts as one module.
    """
    circle_of = {module: set(circle) for circle in circles(graph) for module in circle}

    @cache
    def below(module: str) -> tuple[str, ...]:
        alike = circle_of.get(module, {module})
        wanted = sorted(set().union(*(graph[one] for one in alike)) - alike)
        return (module, *max((below(one) for one in wanted), key=len, default=()))

    return list(max((below(module) for module in sorted(graph)), key=len))


def figures() -> list[str]:
    """Return the figures as lines to read."""
    said = [f"{'':24}{'lines':>8}{'files':>8}"]
    sizes = {name: size_of(name) for name in COUNTED}
    said += [f"{name:24}{size.lines:8,}{size.files:8,}" for name, size in sizes.items()]
    longest = sorted((one for size in sizes.values() for one in size.longest), key=lambda pair: -pair[1])
    said.append("longest: " + ", ".join(f"{file} {lines:,}" for file, lines in longest[:N_LONGEST]))
    for package in PACKAGES:
        graph = imports_within(package)
        chain, found = longest_chain(graph), circles(graph)
        told = "; ".join(", ".join(circle) for circle in found) or "none"
        said.append(f"{package}: {len(chain)} layers of imports ({' > '.join(chain)}); circles: {told}")
    assets = sum(file.stat().st_size for file in (ROOT / "assets").rglob("*") if file.is_file())
    readme = (ROOT / "README.md").read_text(encoding="utf-8").count("\n")
    return [*said, f"assets: {assets / 1e6:.1f} MB; README.md: {readme} lines"]


if __name__ == "__main__":
    sys.stdout.write("\n".join(figures()) + "\n")
