"""Fences of a public page: no links as inputs, only files that were uploaded, no secrets in the log.

`app.py` calls `close_doors` before the page is built. Nothing here knows what the page does.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import traceback
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import gradio as gr
from gradio import processing_utils, utils

from engine.errors import ClipError, EngineError

NO_LINKS = "Links are not accepted; upload the sound file itself."
_SECRETS = re.compile(r"hf_[A-Za-z0-9]{8,}|AIza[\w-]{16,}|(?<=key=)[^&\s'\"]+|(?<=token=)[^&\s'\"]+")

RUNS_AT_ONCE = 60
RUNS_PER_SECOND = 1.0
OWN_MACHINE = ("127.0.0.1", "::1")  # a person's own scripts may run as much as the queue takes
_MOST_CLIENTS = 2_000


def close_doors() -> None:
    """Refuse links in file inputs and keep secrets out of logs and tracebacks; call once, before building."""
    # Gradio would fetch a link into memory whatever max_file_size says. A private name: a test holds it.
    processing_utils.async_ssrf_protected_download = _refuse_link
    formatter = RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.excepthook = _print_redacted


async def _refuse_link(*_args: Any, **_kwargs: Any) -> str:
    raise gr.Error(NO_LINKS, print_exception=False)


def redact(text: str) -> str:
    """Return the text with tokens and keys replaced by "[secret]"."""
    return _SECRETS.sub("[secret]", text)


class RedactingFormatter(logging.Formatter):
    """A log line, traceback included, without tokens or keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted record after `redact`."""
        return redact(super().format(record))


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def uploaded_path(audio: Any) -> Path:
    """Return where an uploaded file lies on the server.

    Args:
        audio: what a client sends for a file: FileData as a dictionary, or its path alone.

    Raises:
        ClipError: it is a link, no file, or a file that nobody uploaded.
    """
    given = audio.get("path") if isinstance(audio, dict) else audio
    if not isinstance(given, str) or not given or "\0" in given:
        raise ClipError("There is no sound; upload a file (in Python: gradio_client.handle_file).")
    if re.match(r"\s*[a-z][a-z0-9+.-]*://", given, re.IGNORECASE):
        raise ClipError(NO_LINKS)
    path = Path(given).resolve()
    folder = Path(utils.get_upload_folder()).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise ClipError("This file was not uploaded here; upload it (in Python: gradio_client.handle_file).")
    return path


class TooManyRunsError(EngineError):
    """One client asks for more than the machine can share out."""


@dataclass
class _Bucket:
    left: float
    seen_s: float


class RunLimiter:
    """A token bucket per outside client: RUNS_AT_ONCE in a burst, then RUNS_PER_SECOND; best effort only.

    Clients behind one proxy share a bucket, and the address can be forged where no proxy sets it.
    """

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Count one run of this client.

        Raises:
            TooManyRunsError: the bucket is empty; the message says how long to wait.
        """
        if client in OWN_MACHINE:
            return
        now = time.monotonic()
        with self._lock:
            bucket = self._buckets.pop(client, None) or _Bucket(RUNS_AT_ONCE, now)
            bucket.left = min(RUNS_AT_ONCE, bucket.left + (now - bucket.seen_s) * RUNS_PER_SECOND)
            bucket.seen_s = now
            self._buckets[client] = bucket
            while len(self._buckets) > _MOST_CLIENTS:
                self._buckets.popitem(last=False)
            if bucket.left < 1:
                raise TooManyRunsError(
                    "That were many runs in a short time; wait a few seconds and try again."
                )
            bucket.left -= 1


def client_of(request: gr.Request | None) -> str:
    """Return the address that asked: the last hop of X-Forwarded-For, else the peer, else "unknown"."""
    if request is None:
        return "unknown"
    hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    if hops:
        return hops[-1]
    return request.client.host if request.client else "unknown"
