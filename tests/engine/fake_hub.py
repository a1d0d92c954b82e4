"""A hub on this machine: repositories of a few bytes, asked as huggingface_hub 2.4 asks, and what was asked is kept."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest

BRANCH_LEADS_TO = "c" * 40
TOKEN = "hf_SentinelOfNoOne7Q"


@dataclass
class FakeHub:
    """What the hub holds, and what it was asked.

    Attributes:
        url: where it listens.
        files: repository -> path -> content.
        gated: repositories that `TOKEN` alone does not open.
        refuses: (status, code of the hub's error header) for everything but its front page; None where it serves.
        breaks: path of the file that breaks off half way, once; afterwards the hub is down for that file.
        asked: method, path and Range header of every request, in order.
    """

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    refuses: tuple[int, str] | None = None
    breaks: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    n_broken: int = 0

    def got(self) -> list[str]:
        """Paths of the files whose content was asked for."""
        served = (path for how, path, _ in self.asked if how == "GET" and "/resolve/" in path)
        return [path.split("/resolve/")[1].partition("/")[2] for path in served]


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """Serve an empty hub."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def stand_in(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put this hub in the place of the real one, with an empty cache below `folder` and no token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if path == "/":
            return self._send(200, b"")
        if self.hub.refuses is not None:
            status, code = self.hub.refuses
            return self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "no"})
        if path.startswith("/api/models/"):
            return self._describe(path.removeprefix("/api/models/"))
        repository, _, rest = path[1:].partition("/resolve/")
        commit, _, name = rest.partition("/")
        return self._send_file(repository, commit, name)

    def _describe(self, path: str) -> None:
        repository, _, rest = path.partition("/revision/")
        if rest:
            return self._send(200, json.dumps({"id": repository, "sha": BRANCH_LEADS_TO}).encode())
        repository = path.partition("/tree/")[0]
        if repository in self.hub.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask its owner"})
        listed = [
            {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
            for name, content in self.hub.files[repository].items()
        ]
        return self._send(200, json.dumps(listed).encode())

    def _send_file(self, repository: str, commit: str, name: str) -> None:
        content = self.hub.files[repository][name]
        headers = {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if self.command == "GET" and name == self.hub.breaks:
            self.hub.n_broken += 1
            if self.hub.n_broken > 1:
                return self._send(503, b"")
            return self._send(200, content, headers, cut_at=len(content) // 2)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(206 if start else 200, content[start:], headers)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, cut_at: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut_at])
        if cut_at is not None:
            self.close_connection = True


def _etag(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
