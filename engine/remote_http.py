"""HTTP for remote systems: a client that is bounded in time and size, and what each failure means.

Adapters turn what went wrong into an `engine.remote.Failure` here. The words of a library's error are never
used: they may hold the request, and with it the key.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx2

from engine.errors import ServiceError
from engine.remote import Failure
from engine.secret import Secret

MAX_REPLY_BYTES = 2_000_000  # an answer is a line; more is no answer
MAX_MESSAGE_CHARACTERS = 160
# What may pass by itself: timed out, too many requests, and faults of the server or of a proxy before it.
PASSING_CODES = (408, 429, 500, 502, 503, 504, 529)
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,119}")
# Filters of a logger do not reach those below it, thus each is named.
_LOGGERS = ("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.proxy")
_OWN_MACHINE = ("all://localhost", "all://127.0.0.1", "all://[::1]")  # no proxy reaches these
_BAD_PROXY = (
    "The proxy that the environment names cannot be used (one with http:// can); "
    "mend or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
)
_DEADLINE = "deadline_s"  # of a request, on the clock of time.monotonic


def http_client(timeout_s: float, key: Secret) -> httpx2.Client:
    """Return a client for one service; the environment's proxies and certificates count, but not on this machine.

    The libraries' logs of this process hide the key from then on: a service may send it back in a header.

    A redirect is not followed, since the key would go along. A reply must be whole within the timeout: the
    library's own starts anew with each byte. It is asked for and read uncompressed, so that few bytes cannot
    become many.

    Raises:
        ServiceError: the environment names a proxy that cannot be used.
    """

    def start(request: httpx2.Request) -> None:
        request.extensions[_DEADLINE] = time.monotonic() + timeout_s

    def bound(response: httpx2.Response) -> None:
        response.headers.pop("content-encoding", None)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _BoundedStream(response.stream, response.request)

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_Hiding(key))
    try:
        return httpx2.Client(
            timeout=timeout_s,
            follow_redirects=False,
            headers={"accept-encoding": "identity"},
            event_hooks={"request": [start], "response": [bound]},
            mounts=dict.fromkeys(_OWN_MACHINE),
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise ServiceError(_BAD_PROXY) from error


def check_address(service: str, model: str, base_url: str | None) -> None:
    """Raise ServiceError when a model id or a base URL cannot be one; a key in the URL would be shown with it."""
    if not _MODEL_ID.fullmatch(model) or ".." in model:
        raise ServiceError(f"{service} has no usable model id; write it as the service lists it.")
    if base_url is None:
        return
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ServiceError(f"{service} has no usable base URL; write it as http://host:port/v1.")
    if url.userinfo or url.query or url.fragment:
        raise ServiceError(
            f"The base URL of {service} holds more than an address; put the key into its variable."
        )


def failure_of_code(code: int, *, message: str = "", wait_s: float | None = None) -> Failure:
    """Return what an HTTP status other than 200 means.

    Args:
        code: the status.
        message: the service's own words on the request, the key hidden in them; shown for 400 and 422 only.
        wait_s: what the service asks to wait.
    """
    if code in (401, 403):
        return Failure(f"refuses the key (HTTP {code}); check the key and what it is allowed")
    if code == 404:
        return Failure("knows no such model or address (HTTP 404); check the model id and the base URL")
    if code == 413:
        return Failure("finds the request too large (HTTP 413); use a shorter clip")
    if code == 429:
        asked = f" and asks to wait {wait_s:,.0f} s" if wait_s else ""
        return Failure(f"limits requests (HTTP 429){asked}; ask less often or later", True, wait_s)
    if code in PASSING_CODES:
        return Failure(f"is too busy or has a fault (HTTP {code}); try again later", True, wait_s)
    if 300 <= code < 400:
        return Failure(f"sends elsewhere (HTTP {code}), where no key is sent; correct the base URL")
    words = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    said = f': "{words[:MAX_MESSAGE_CHARACTERS]}"' if words and code in (400, 422) else ""
    return Failure(f"rejects the request (HTTP {code}){said}; check the model id and the settings")


def failure_of_transport(error: httpx2.HTTPError, timeout_s: float) -> Failure:
    """Return what a request that got no whole reply means; the error's own words are not used."""
    if isinstance(error, _TooLong):
        return malformed("is far longer than any answer")
    if isinstance(error, httpx2.TimeoutException):
        return Failure(f"did not answer within {timeout_s:g} s; try again later or allow more time", True)
    if isinstance(error, httpx2.ConnectError):
        return Failure("cannot be reached; check the network and the base URL", True)
    return Failure("broke off the connection; try again later", True)


def malformed(why: str) -> Failure:
    """Return a reply that came whole and cannot be understood; asking again would pay for the same again."""
    return Failure(f"sent a reply that {why}; check that it speaks this interface")


def wait_asked(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or as a date; None where it says nothing."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(header)).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True)
class _Hiding:
    """A filter that takes a key out of what is logged and lets everything pass; one key makes equal filters."""

    key: Secret

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.key.hide_in(record.getMessage()), None
        return True


class _TooLong(httpx2.HTTPError):
    """A reply beyond `MAX_REPLY_BYTES`."""


class _BoundedStream(httpx2.SyncByteStream):
    """A reply's bytes until its time or its size is used up."""

    def __init__(self, stream: httpx2.SyncByteStream, request: httpx2.Request) -> None:
        self._stream, self._request = stream, request

    def __iter__(self) -> Iterator[bytes]:
        n_bytes = 0
        for chunk in self._stream:
            n_bytes += len(chunk)
            if n_bytes > MAX_REPLY_BYTES:
                raise _TooLong("too long")
            if time.monotonic() > self._request.extensions[_DEADLINE]:
                raise httpx2.ReadTimeout("late", request=self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()
