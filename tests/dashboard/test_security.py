"""Links are refused, only uploads are read, secrets stay out of the log, nobody takes the machine."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
from gradio import processing_utils

from dashboard.security import (
    NO_LINKS,
    RUNS_AT_ONCE,
    RedactingFormatter,
    RunLimiter,
    TooManyRunsError,
    client_of,
    close_doors,
    redact,
    uploaded_path,
)
from engine.errors import ClipError


def test_gradio_still_has_the_private_name_that_fetches_links(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.iscoroutinefunction(processing_utils.async_ssrf_protected_download)
    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", None)
    monkeypatch.setattr("sys.excepthook", None)
    close_doors()
    with pytest.raises(gr.Error, match="Links are not accepted"):
        ThreadPoolExecutor().submit(
            asyncio.run,
            processing_utils.async_ssrf_protected_download("https://example.org/a.wav", "somewhere"),
        ).result()


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def test_an_upload_is_found_as_path_and_as_file_data(uploads: Path) -> None:
    clip = uploads / "clip.wav"
    clip.touch()
    assert uploaded_path(str(clip)) == clip
    assert uploaded_path({"path": str(clip), "meta": {"_type": "gradio.FileData"}}) == clip


@pytest.mark.parametrize(
    "audio",
    [
        "/etc/passwd",
        "../outside.wav",
        "missing.wav",
        "",
        None,
        7,
        {"path": None},
        "a\0b",
        {"url": "https://x.org"},
    ],
)
def test_what_was_not_uploaded_is_refused_without_a_path_in_the_message(uploads: Path, audio: Any) -> None:
    (uploads.parent / "outside.wav").touch()
    if isinstance(audio, str) and audio.startswith(".."):
        audio = str(uploads / audio)
    with pytest.raises(ClipError) as refusal:
        uploaded_path(audio)
    assert "/" not in str(refusal.value)


def test_a_symlink_out_of_the_uploads_is_refused(uploads: Path) -> None:
    (uploads / "link.wav").symlink_to("/etc/passwd")
    with pytest.raises(ClipError):
        uploaded_path(str(uploads / "link.wav"))


@pytest.mark.parametrize("link", ["https://example.org/a.wav", "file:///etc/passwd", " HTTP://x.org/a.wav"])
def test_links_get_their_own_sentence(link: str) -> None:
    with pytest.raises(ClipError, match=NO_LINKS):
        uploaded_path({"path": link})


def test_secrets_are_blotted_out_in_lines_and_tracebacks() -> None:
    text = "hf_abcdefghijklmnop AIzaSyA1234567890abcdef ?key=topsecret&x=1"
    assert redact(text) == "[secret] [secret] ?key=[secret]&x=1"
    try:
        raise RuntimeError("token=abc hf_abcdefghijklmnop")
    except RuntimeError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), (type(error), error, None))
    assert "hf_" not in RedactingFormatter().format(record)


def test_a_client_runs_out_of_runs_and_gets_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dashboard.security.time", SimpleNamespace(monotonic=lambda: now[0]))
    limiter = RunLimiter()
    for _ in range(RUNS_AT_ONCE):
        limiter.take("a")
    with pytest.raises(TooManyRunsError):
        limiter.take("a")
    limiter.take("b")
    now[0] += 2
    limiter.take("a")


def test_the_own_machine_never_runs_out() -> None:
    limiter = RunLimiter()
    for _ in range(RUNS_AT_ONCE + 5):
        limiter.take("127.0.0.1")


def test_the_last_hop_counts_as_the_client() -> None:
    def asked(headers: dict[str, str]) -> str:
        request = SimpleNamespace(headers=headers, client=SimpleNamespace(host="10.0.0.9"))
        return client_of(cast(gr.Request, request))

    assert asked({"x-forwarded-for": "1.2.3.4, 5.6.7.8"}) == "5.6.7.8"
    assert asked({}) == "10.0.0.9"
    assert client_of(None) == "unknown"
