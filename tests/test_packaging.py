"""What a fresh machine relies on: pins, the README's commands and Space header, sizes of assets."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT_FOLDERS = ("engine", "dashboard", "precompute")
MAX_ASSET_BYTES = 99 * 10**5  # Spaces refuse 10 MB without large-file storage
MAX_ASSETS_BYTES = 150 * 10**6  # the minis and the laptop pair side by side
MAX_SHORT_DESCRIPTION = 60  # Hugging Face refuses the push beyond it
MAX_README_LINES = 150
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def normal(name: str) -> str:
    """Return the name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    """Return distribution -> version requirement of a requirements file, includes not followed."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    split = [re.match(r"([A-Za-z0-9_.-]+)(.*)", line) for line in lines if line and not line.startswith("-")]
    return {normal(match[1]): match[2].strip() for match in split if match}


@cache
def imported(folders: tuple[str, ...]) -> frozenset[str]:
    """Distributions that the Python files below the folders import, without the standard library and ours.

    `spaces` is left out: the app takes it where a Space brings it, and does without elsewhere. So is
    `edge_tts`: a person installs it on purpose, for it sends texts to a service.
    """
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    names -= set(sys.stdlib_module_names) | {*PRODUCT_FOLDERS, "app", "tests", "spaces", "edge_tts"}
    owners = packages_distributions()
    return frozenset(normal(owners[name][0]) if name in owners else name for name in names)


def header() -> dict[str, str]:
    """Return the Space's front matter of the README."""
    found = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL)
    assert found
    pairs = (line.split(":", 1) for line in found[1].splitlines())
    return {key.strip(): value.strip().strip('"') for key, value in pairs}


def commands() -> dict[str, str]:
    """Return the README's marked commands by mark."""
    return dict(re.findall(r"<!-- command: (\w+) -->\n```bash\n(.+)\n```\n", README))


def test_every_import_of_the_product_is_pinned() -> None:
    pinned = pins("requirements.txt").keys() | pins("requirements-cluster.txt").keys()
    unpinned = imported(PRODUCT_FOLDERS) - pinned
    assert not unpinned


def test_every_pin_of_the_product_is_imported() -> None:
    unused = pins("requirements.txt").keys() - imported(PRODUCT_FOLDERS)
    assert not unused


def test_every_import_of_the_tests_is_pinned() -> None:
    files = ("requirements.txt", "requirements-dev.txt", "requirements-cluster.txt")
    unpinned = imported(("tests",)).difference(*(pins(file).keys() for file in files))
    assert not unpinned


@pytest.mark.parametrize(
    "file", ["requirements.txt", "requirements-dev.txt", "requirements-cluster.txt", "pre-requirements.txt"]
)
def test_pins_are_exact_but_for_torch(file: str) -> None:
    loose = {name for name, version in pins(file).items() if not version.startswith("==")}
    assert loose <= {"torch"}


def test_the_space_header_fits_the_pins() -> None:
    fields = header()
    assert fields["sdk"] == "gradio"
    assert f"=={fields['sdk_version']}" == pins("requirements.txt")["gradio"]
    assert fields["python_version"] == "3.12"
    assert (ROOT / fields["app_file"]).is_file()
    assert 0 < len(fields["short_description"]) <= MAX_SHORT_DESCRIPTION
    assert "suggested_hardware" not in fields


def test_the_readme_has_both_commands_each_on_one_line() -> None:
    found = commands()
    assert found.keys() == {"app", "test"}
    assert found["app"].endswith("app.py") and "requirements.txt" in found["app"]
    assert found["test"].endswith("pytest -n 2") and "requirements-dev.txt" in found["test"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_what_a_document_points_to_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert not [link for link in links if not (document.parent / link).exists()]
    files = re.findall(r"`((?:engine|dashboard|precompute|tests|examples)/[\w/.-]+)`", text)
    assert not [file for file in files if not (ROOT / file).exists() and "NAME" not in file]


def test_the_types_of_the_walks_are_where_the_architecture_says() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `([\w/]+\.py)` \|", text, re.MULTILINE)
    named = [(name, file) for names, file in rows for name in re.findall(r"\w+", names)]
    assert len(named) > 20
    for name, file in named:
        assert re.search(rf"^class {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), name


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= MAX_README_LINES


def test_assets_fit_into_a_space() -> None:
    sizes = {
        file.relative_to(ROOT): file.stat().st_size
        for file in (ROOT / "assets").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert not {file: size for file, size in sizes.items() if size > MAX_ASSET_BYTES}
    assert sum(sizes.values()) < MAX_ASSETS_BYTES
