"""A page on published systems: without network it works on the minis; with weights it runs them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from engine.systems.profiles import PAPER_SYSTEMS
from engine.systems.weights import CHECKPOINTS, HOME_VARIABLE
from tests.e2e.conftest import ROOT, Site, choose_example, run_and_wait, wait_until_up
from tests.engine.tiny_models_folder import write_small_profile

OWN_PAIR = "Ultravox v0.5 1B and its cascade"


@contextmanager
def started(folder: Path, profile: str) -> Iterator[Site]:
    """The app with this profile, no network and no weights but those that ship."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = Site(f"http://127.0.0.1:{port}", folder / "log.txt")
    services = ("GEMINI", "GOOGLE", "CASCADE_LENS", "HF_TOKEN")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(services)}
    environment |= {
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        HOME_VARIABLE: str(folder / "weights"),
    }
    command = [sys.executable, str(ROOT / "app.py"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--profile", profile]
    with site.log_file.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            wait_until_up(site, process)
            yield site
        finally:
            process.terminate()
            process.wait(timeout=20)


def opened(browser: Browser, site: Site) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(site.url, wait_until="domcontentloaded")
    expect(page.locator("#run")).to_be_visible()
    page.wait_for_function("window.cascadeLens !== undefined")
    return page


def test_the_paper_without_network_is_one_sentence_a_system_on_a_page_that_works(
    browser: Browser, tmp_path: Path
) -> None:
    with started(tmp_path, "paper") as site:
        page = opened(browser, site)
        note = page.locator("#profile-note details")
        expect(note.locator("summary")).to_have_text("Profile paper: 0 of 9 systems ready")
        expect(page.locator("#app-header p")).to_contain_text(
            "Profile paper: none of its systems is on this page"
        )
        lines = note.locator("li").all_text_contents()
        assert len(lines) == len(PAPER_SYSTEMS) and all(" cannot run yet: " in line for line in lines)
        choose_example(page)
        run_and_wait(page)
        page.close()
        said = site.log().split("free on the disk.\n")[1]
        sentences = [line for line in said.splitlines() if "cannot run yet" in line]
        assert len(sentences) == 9 and "Traceback" not in site.log()
        assert sum("the hub does not answer" in line for line in sentences) >= 5
        assert str(tmp_path) not in "".join(sentences)


@pytest.fixture
def own_profile(tmp_path: Path) -> Path:
    names = write_small_profile(tmp_path / "models")
    assert set(names) <= set(CHECKPOINTS)
    places = "".join(f"  {name}: models/{name}\n" for name in names)
    systems = "[ultravox-v0.5-1b, whisper-small-llama-3.2-1b, llama-3.2-1b-instruct]"
    file = tmp_path / "lab.yaml"
    file.write_text(f"systems: {systems}\nfolders:\n{places}", encoding="utf-8")
    return file


def test_a_profile_of_ones_own_offers_its_pair_and_runs_it(
    browser: Browser, tmp_path: Path, own_profile: Path
) -> None:
    with started(tmp_path, str(own_profile)) as site:
        page = opened(browser, site)
        summary = page.locator("#profile-note summary")
        expect(summary).to_have_text("Profile lab: 3 of 3 systems ready")
        expect(page.locator("#app-header p")).to_contain_text(
            "Profile lab, live: Ultravox v0.5 1B; Whisper small"
        )
        expect(page.locator("#pair input").first).to_have_value(OWN_PAIR)
        choose_example(page)
        run_and_wait(page)
        expect(page.locator("body")).to_contain_text("the queen scored three goals")
        page.close()
        assert "Traceback" not in site.log()
