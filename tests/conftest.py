"""What every test shares: no network, no telemetry, repeatable examples, a word when Chromium is missing.

`--jaxtyping-packages` in pyproject.toml switches the shape and type checks of engine/ on, in tests only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jaxtyping
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

ROOT = Path(__file__).resolve().parent.parent
BROWSER_TESTS = ROOT / "tests" / "e2e"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_MISSING = (
    "no Chromium on the PATH: the browser tests need it, on Debian `apt-get install chromium`, then run again"
)

# The machine's load is no fault of the code, and a failure must come back on the next run.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def pytest_report_header() -> str:
    return f"chromium: {find_chromium() or CHROMIUM_MISSING}"


class FolderScheduling(LoadScopeScheduling):
    """With `-n 2`, a folder's tests stay in one process: they share the page, a cluster, models that load long."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.split("::")[0])
        return str(file if file.parent.name == "tests" else file.parent)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FolderScheduling:
    """Hand out the tests by folder, in the order in which they stand: the browser's take longest and come first."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies below tests/e2e; without Chromium skip it, each with the reason."""
    has_chromium = find_chromium() is not None
    for item in items:
        if BROWSER_TESTS not in item.path.parents:
            continue
        item.add_marker(pytest.mark.e2e)
        if not has_chromium:
            item.add_marker(pytest.mark.skip(reason=CHROMIUM_MISSING))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the installed Chromium; a test that asks for it is skipped where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip(CHROMIUM_MISSING)
    return path


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], chromium: str) -> dict[str, Any]:
    """Make pytest-playwright take the installed Chromium instead of one that it would download."""
    flags = ["--no-sandbox", "--disable-gpu"]
    return {**browser_type_launch_args, "executable_path": chromium, "args": flags}


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """Let a test hand over a wrong type on purpose, to see the sentence that a user would see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
