"""A service on this machine that answers what a test wrote down, and keeps what it was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from engine.systems.remote import Caller, RetryPolicy

# Long and odd enough that no other text holds a part of it.
SENTINEL = "AIzaSentinel-q7Zw3xV9kP2mT8rB5nL1"
QUICK = RetryPolicy(timeout_s=30.0, attempts=3, requests_per_minute=6000.0)


@dataclass(frozen=True)
class Sent:
    """One reply of the script.

    Attributes:
        body: JSON, or bytes as they are.
        delay_s: before the status line.
        drip_s: between the body's bytes.
        breaks_off: whether the connection closes in the middle of the body.
    """

    body: Any
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0
    breaks_off: bool = False


_ECHO = {"error": {"code": 400, "message": f"bad key {SENTINEL}", "status": "INVALID", "details": []}}
_BUSY = "is too busy or has a fault (HTTP {}); try again later (3 attempts)."
_ODD = "sent a reply that "
# What a service may do wrong -> its reply, the sentence (or its beginning), the requests it gets; each echoes the key.
FAULTS: dict[str, tuple[Sent, str, int]] = {
    "wrong key": (Sent(_ECHO, 401), "refuses the key (HTTP 401); check the key and what it is allowed.", 1),
    "not allowed": (Sent(_ECHO, 403), "refuses the key (HTTP 403); check the key and what it is allowed.", 1),
    "no such model": (Sent(_ECHO, 404), "knows no such model or address (HTTP 404); check", 1),
    "too large": (Sent(_ECHO, 413), "finds the request too large (HTTP 413); use a shorter clip.", 1),
    "rejected": (Sent(_ECHO, 400), 'rejects the request (HTTP 400): "bad key ***"; check', 1),
    "not processed": (Sent(_ECHO, 422), 'rejects the request (HTTP 422): "bad key ***"; check', 1),
    "a teapot": (Sent(_ECHO, 418), "rejects the request (HTTP 418); check the model id and the settings.", 1),
    "limit": (Sent(_ECHO, 429), "limits requests (HTTP 429); ask less often or later (3 attempts).", 3),
    "long limit": (
        Sent(_ECHO, 429, {"retry-after": "86400"}),
        "limits requests (HTTP 429) and asks to wait 86,400 s; ask less often or later.",
        1,
    ),
    "fault": (Sent(_ECHO, 500), _BUSY.format(500), 3),
    "a proxy's page": (Sent(f"<h1>{SENTINEL}</h1>".encode(), 502), _BUSY.format(502), 3),
    "busy": (Sent(_ECHO, 503), _BUSY.format(503), 3),
    "no JSON": (Sent(f"<h1>{SENTINEL}</h1>".encode()), _ODD, 1),
    "nothing": (Sent(b""), _ODD, 1),
    "a list": (Sent([SENTINEL]), _ODD, 1),
    "a word": (Sent(SENTINEL), _ODD, 1),
    "no bottom": (Sent(b"[" * 200_000), _ODD, 1),
    "no answer": (Sent({"about": SENTINEL}), _ODD, 1),
    "wrong shape": (Sent({"candidates": SENTINEL, "choices": SENTINEL}), _ODD, 1),
    "compressed": (Sent(b"\x1f\x8b" + b"\x00" * 20, headers={"content-encoding": "gzip"}), _ODD, 1),
    "endless": (Sent(b" " * 2_000_001), "sent a reply that is far longer than any answer", 1),
    "breaks off": (
        Sent(_ECHO, breaks_off=True),
        "broke off the connection; try again later (3 attempts).",
        3,
    ),
}


@dataclass(frozen=True)
class Asked:
    """One request as it came; `at_s` on a clock that only tells how far apart two came."""

    path: str
    headers: dict[str, str]
    body: Any
    at_s: float


@dataclass
class FakeService:
    """Answers with `script` in turn, and with its last reply from then on."""

    script: list[Sent]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def next_reply(self) -> Sent:
        return self.script[min(len(self.asked), len(self.script)) - 1]


@contextmanager
def serving(*script: Sent) -> Iterator[FakeService]:
    """Run a service for the time of a test."""
    service = FakeService(list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            at_s = time.monotonic()
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            service.asked.append(Asked(self.path, headers, json.loads(content), at_s))
            self.send(service.next_reply())

        do_GET = do_POST  # noqa: N815 - the name that the library calls

        def send(self, reply: Sent) -> None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            time.sleep(reply.delay_s)
            try:
                self.send_response(reply.code)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                body = body[: len(body) // 2] if reply.breaks_off else body
                for piece in (bytes([byte]) for byte in body) if reply.drip_s else (body,):
                    time.sleep(reply.drip_s)
                    self.wfile.write(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who asked has gone

        def log_message(self, *given: object) -> None:
            """Say nothing on the test's screen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """Return a port of this machine where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Waits:
    """A clock that sleeping moves, so that no test waits."""

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s


def caller(name: str = "Fake", retry: RetryPolicy = QUICK, waits: Waits | None = None) -> Caller:
    """Return a caller that does not really wait."""
    time_of = waits or Waits()
    return Caller(name, retry, sleep=time_of.sleep, clock=time_of.clock, jitter=Random(0))
