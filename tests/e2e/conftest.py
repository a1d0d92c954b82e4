"""The app as a person starts it, and pages that tolerate no script error and no outside request."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from engine.audio import SAMPLE_RATE_HZ, load_clip
from engine.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
START_UP_S = 180
RUN_MS = 240_000  # the first run waits for the models
MICROPHONE_RATE_HZ = 48_000
# The example that a test takes where any would do: a question and a voice such as the shipped models were taught.
TAUGHT = next(index for index, one in enumerate(EXAMPLES) if one.task == "topic" and one.words)
# "file:" never leaves the machine: Chromium plays playlists and then refuses what they name.
LOCAL = ("http://127.0.0.1", "data:", "blob:", "about:", "file:")

# Generous: a busy machine is no fault of the page, and a passing test does not wait.
expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Site:
    """The running app: its address and what it logs."""

    url: str
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of the benchmark by the models that ship."""
    out = tmp_path_factory.mktemp("results") / "run"
    few = [
        "--quick",
        "--limit",
        "6",
        "--tasks",
        "topic,trivia",
        "--systems",
        "mini-ultravox,mini-cascade,mini-llama",
    ]
    for job in (["run", "--profile", "mini", *few], ["summarize"]):
        command = [sys.executable, "-m", "precompute", *job, "--out", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, results: Path) -> Iterator[Site]:
    # A fresh virtual environment compiles its libraries at first import, for minutes: that is not the page's speed.
    subprocess.run(
        [sys.executable, "-m", "engine.checks", "--all"], cwd=ROOT, check=True, capture_output=True
    )
    with running_app(tmp_path_factory.mktemp("app"), ["--results", str(results)]) as found:
        yield found


@contextmanager
def running_app(
    folder: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """Run the app as a person starts it, in a folder of its own.

    Args:
        folder: for its log and its files.
        arguments: of app.py, beside host and port.
        environment: variables beside those of this process.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Site(f"http://127.0.0.1:{port}", folder / "log.txt")
    arguments = arguments if "--profile" in arguments else ("--profile", "mini", *arguments)
    own = {"GRADIO_TEMP_DIR": str(folder / "gradio"), "HF_HUB_OFFLINE": "1", **(environment or {})}
    command = [sys.executable, str(ROOT / "app.py"), "--host", "127.0.0.1", "--port", str(port), *arguments]
    with found.log_file.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **own}, cwd=folder)
        try:
            wait_until_up(found, process)
            yield found
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_until_up(site: Site, process: subprocess.Popen[bytes]) -> None:
    """Wait until the app answers; fail with its log when it ends before."""
    last = time.monotonic() + START_UP_S
    while time.monotonic() < last:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(site.url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the app did not start:\n{site.log()[-3000:]}")


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake microphone hears: an example, as the 48 kHz WAV that Chromium wants."""
    clip = load_clip(EXAMPLES[TAUGHT].file)
    loud = soxr.resample(clip.samples, SAMPLE_RATE_HZ, MICROPHONE_RATE_HZ)
    path = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    write_wav(path, loud, MICROPHONE_RATE_HZ)
    return path


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], microphone: Path) -> dict[str, Any]:
    flags = [
        *browser_type_launch_args.get("args", []),
        "--headless",
        "--disable-background-networking",
        "--no-first-run",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    return {**browser_type_launch_args, "args": flags}


@dataclass
class Complaints:
    """What a page did that it must not do."""

    script_errors: list[str] = field(default_factory=list)
    outside_requests: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.script_errors.append(str(error)))
        page.on("console", self._on_console)
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser's word, not the page's: a file is no sound, or a playlist names a file of the machine.
        of_the_browser = ("Failed to load resource", "Not allowed to load local resource")
        if message.type == "error" and not any(text in message.text for text in of_the_browser):
            self.script_errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(LOCAL):
            self.outside_requests.append(request.url)


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[OpenPage]:
    """Open pages, each a person of its own, that fail the test on a script error or an outside request."""
    complaints = Complaints()
    contexts = []

    def open_one(query: str = "", *, theme: str = "light", width: int = 1440, clip_page: bool = True) -> Page:
        context = browser.new_context(
            permissions=["microphone"],
            color_scheme="dark" if theme == "dark" else "light",
            viewport={"width": width, "height": 1000},
            accept_downloads=True,
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        complaints.watch(page)
        page.goto(site.url + "/" + query)
        if clip_page:
            expect(page.locator("#run")).to_be_visible(timeout=60_000)
            page.wait_for_function("window.cascadeLens !== undefined")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints.outside_requests == []
    assert complaints.script_errors == []


@pytest.fixture
def page_strict(open_page: OpenPage) -> Page:
    return open_page()


def write_wav(path: Path, samples: np.ndarray, rate_hz: int) -> Path:
    """Write 16-bit mono samples, -1..1."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def choose_example(page: Page, index: int = TAUGHT) -> None:
    """Click an example and wait until its clip and words are on the rail."""
    page.locator("#examples button.gallery-item").nth(index).click()
    expect(page.locator("#reference textarea")).to_have_value(EXAMPLES[index].reference)
    expect(page.locator("#clip-note")).to_contain_text(" s.")


def run_and_wait(page: Page) -> None:
    """Press Run and wait for the result."""
    page.locator("#run").click()
    wait_for_result(page)


def wait_for_result(page: Page) -> None:
    """Wait until a run that was just started has ended with a result."""
    expect(page.locator("#stop")).to_be_hidden(timeout=RUN_MS)
    page.wait_for_function("window.cascadeLens.status === 'ready'", timeout=RUN_MS)


def toasts(page: Page) -> str:
    """Text of the toasts on screen, after the first one came."""
    expect(page.get_by_test_id("toast-body").first).to_be_visible(timeout=RUN_MS)
    return " ".join(page.get_by_test_id("toast-body").all_inner_texts())


def upload(page: Page, path: Path) -> None:
    """Put a file into the clip box, in place of what is there."""
    clear = page.locator("#audio").get_by_role("button", name="Clear")
    if clear.count():
        clear.first.click()
        expect(page.locator("#clip-note p")).to_have_count(0)
        expect(page.locator("#audio input[type=file]")).to_be_attached()
    page.locator("#audio input[type=file]").set_input_files(str(path))
