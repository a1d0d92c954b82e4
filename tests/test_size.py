"""The ratchet: lines, files and circles of imports may fall. They rise only by a budget, the reason in the commit."""

from __future__ import annotations

import pytest

from tests.sizes import COUNTED, PACKAGES, circles, figures, imports_within, longest_chain, size_of

# Name in COUNTED: (lines, files). Lower a figure here whenever the folder has become smaller.
BUDGET = {
    "engine": (20_000, 54),
    "precompute": (20_900, 128),
    "dashboard": (16_300, 116),
    "dashboard JS and CSS": (2_900, 30),
    "tests": (40_350, 247),
}
# Groups of modules that import each other, and modules in the longest chain of imports; aims are 0 and 8.
CIRCLES = {"engine": 0, "precompute": 0, "dashboard": 0}
LAYERS = {"engine": 11, "precompute": 14, "dashboard": 18}
RULE = (
    "tests/test_size.py holds a budget of {} for {}, and there are {}. Make two things one, or delete what no feature "
    "needs; only then raise the budget, with the reason in the commit."
)


@pytest.mark.parametrize("name", COUNTED)
def test_no_folder_grows(name: str) -> None:
    size, (lines, files) = size_of(name), BUDGET[name]
    assert size.lines <= lines, RULE.format(f"{lines:,} lines", name, f"{size.lines:,}")
    assert size.files <= files, RULE.format(f"{files} files", name, size.files)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_no_deeper_and_not_in_circles(package: str) -> None:
    graph = imports_within(package)
    found, chain = circles(graph), longest_chain(graph)
    assert len(found) <= CIRCLES[package], RULE.format(f"{CIRCLES[package]} circles", package, found)
    assert len(chain) <= LAYERS[package], RULE.format(f"{LAYERS[package]} layers", package, chain)


def test_circles_and_layers_are_found() -> None:
    """Built by hand: b and c import each other, a stands above them, d below."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"d"}}
    assert circles(graph) == [["b", "c"]] and longest_chain(graph) == ["a", "b", "d"]
    assert circles({"a": {"b"}, "b": set()}) == [] and longest_chain({"a": {"b"}, "b": set()}) == ["a", "b"]


def test_what_is_printed_names_every_folder() -> None:
    said = "\n".join(figures())
    assert all(name in said for name in (*COUNTED, "longest:", "layers", "circles", "assets", "README.md"))
