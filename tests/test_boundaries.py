"""The arrows and rules, held by parsing the source: who imports whom, who calls what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "dashboard", "precompute")
PRODUCT = [
    ROOT / "app.py",
    *(file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))),
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# The only allowed arrows: app -> dashboard -> engine <- precompute.
MAY_IMPORT = {
    "app": {"dashboard"},
    "dashboard": {"dashboard", "engine"},
    "engine": {"engine"},
    "precompute": {"precompute", "engine"},
}
SCREEN_LIBRARIES = {"gradio", "plotly"}
MODEL_LIBRARIES = {"torch", "transformers", "ctranslate2", "faster_whisper", "concept_erasure"}
# What adapters stand on: the protocol, the rows, weights and how they are read, the profile, the text backbone that a
# cascade, the oracle and a speech LLM share, Whisper's encoder, and how a service is asked.
SHARED_BY_ADAPTERS = {
    "base",
    "catalogue",
    "checkpoint",
    "profiles",
    "remote",
    "text_llm",
    "weights",
    "whisper",
}
# The file that knows the adapters. None of them knows it.
LOADS_ADAPTERS = {"loading"}
UNSAFE_LOADERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
HOOKS = {
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    return imports_in(parsed(file), package=file.relative_to(ROOT).parent.parts)


def imports_in(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the line and the full dotted name of everything imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def offences(files: list[Path], forbidden: set[str]) -> list[str]:
    """Lines that import one of the forbidden top-level packages."""
    return [
        f"{name_of(file)}:{line} imports {name}"
        for file in files
        for line, name in imports(file)
        if name.split(".")[0] in forbidden
    ]


def of(package: str) -> list[Path]:
    return [file for file in PRODUCT if module_of(file).split(".")[0] == package]


def called(node: ast.Call) -> str:
    """Return the dotted text of what is called, such as "torch.load"."""
    return ast.unparse(node.func)


def calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_point_the_allowed_way(package: str) -> None:
    assert not offences(of(package), {*MAY_IMPORT, "tests"} - MAY_IMPORT[package])


def test_only_the_dashboard_and_the_app_know_the_screen_libraries() -> None:
    assert not offences(of("engine") + of("precompute"), SCREEN_LIBRARIES)


def test_the_dashboard_and_the_app_never_touch_models() -> None:
    assert not offences(of("dashboard") + of("app"), MODEL_LIBRARIES)


def test_the_arithmetic_of_stats_knows_nothing_of_the_project() -> None:
    stats = [file for file in of("engine") if module_of(file).startswith("engine.stats")]
    found = [
        f"{name_of(file)}:{line} imports {name}"
        for file in stats
        for line, name in imports(file)
        if name.split(".")[0] in MAY_IMPORT and not name.startswith("engine.stats")
    ]
    assert not found


def test_adapters_do_not_import_each_other() -> None:
    adapters = {
        file.stem: file for file in (ROOT / "engine" / "systems").glob("*.py") if file.stem != "__init__"
    }
    found = [
        f"{name_of(file)}:{line} imports {name}"
        for stem, file in adapters.items()
        if stem not in LOADS_ADAPTERS
        for line, name in imports(file)
        for other in adapters.keys() - SHARED_BY_ADAPTERS - {stem}
        if f"{name}.".startswith(f"engine.systems.{other}.")
    ]
    assert not found


def test_hooks_are_registered_in_one_file_only() -> None:
    found = [
        f"{name_of(file)}:{node.lineno} names {node.attr}"
        for file in PRODUCT
        if module_of(file) != "engine.hooks"
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Attribute) and node.attr in HOOKS
    ]
    assert not found


def test_nothing_runs_code_that_a_file_brings_along() -> None:
    found = offences(PRODUCT, UNSAFE_LOADERS)
    for file in PRODUCT:
        for call in calls(file):
            trusts = any(
                keyword.arg in {"trust_remote_code", "allow_pickle"} and ast.unparse(keyword.value) != "False"
                for keyword in call.keywords
            )
            if trusts or called(call) in {"torch.load", "eval", "exec"}:
                found.append(f"{name_of(file)}:{call.lineno} calls {called(call)}")
    assert not found


def test_importing_the_engine_is_cheap() -> None:
    script = "import sys, engine; print(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = MODEL_LIBRARIES | SCREEN_LIBRARIES | {"librosa", "sklearn", "scipy"}
    assert not heavy & set(done.stdout.split())


def test_every_form_of_import_is_seen() -> None:
    lines = [
        "import torch.nn as nn",
        "from . import base",
        "from ..lens import x",
        "def f():",
        "    from gradio import Blocks",
    ]
    seen = {name for _, name in imports_in(ast.parse("\n".join(lines)), package=("engine", "systems"))}
    assert seen == {"torch.nn", "engine.systems.base", "engine.lens.x", "gradio.Blocks"}
