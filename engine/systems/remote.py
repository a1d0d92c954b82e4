"""Asking a model behind a network: one patient way for every service, OpenAI-compatible endpoints and Gemini.

Here lie the rate limit and the waits between attempts, the key, which nothing writes to a log, an error, a page or a
table, and the HTTP client, bounded in time and size. The words of a library's error are never used: they may hold the
request, and with it the key. Behaviour only: text comes back, and nothing inside a model can be read.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import random
import re
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, field, replace
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Any, ClassVar, Generic, Literal, NoReturn, TypeVar

import httpx2
import numpy as np

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ServiceError
from engine.systems.catalogue import GEMINI_HOST, SystemSpec

HIDDEN = "***"
# A run of so many of a key's characters, found in foreign text, is taken for the key; shorter keys ("EMPTY",
# which vLLM's own examples send) are no secrets.
TELLING_RUN = 8


class Secret:
    """A key that hides itself from repr, str, format, vars, copying and pickling."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, for the header of a request and for nothing else."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Return foreign text with every part of the key in it, of 8 characters or more, as "***"."""
        runs = {self._value[i : i + TELLING_RUN] for i in range(len(self._value) - TELLING_RUN + 1)}
        starts = (i for i in range(len(text)) if text[i : i + TELLING_RUN] in runs)
        covered = {start + step for start in starts for step in range(TELLING_RUN)}
        stretches = groupby(range(len(text)), key=covered.__contains__)
        return "".join(HIDDEN if hidden else "".join(text[i] for i in at) for hidden, at in stretches)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not copied or written; each process reads it from its own environment.")


NO_SECRET = Secret("")


def secret_from(names: tuple[str, ...], service: str, environment: Mapping[str, str] = os.environ) -> Secret:
    """Return the key in the first of these variables that is set.

    Args:
        names: environment variables, the preferred one first.
        service: its name, for the sentence.
        environment: where to look.

    Raises:
        ServiceError: none is set, or the key holds what no header can carry.
    """
    name = next((name for name in names if environment.get(name, "").strip()), None)
    if name is None:
        raise ServiceError(f"{service} needs a key; set {' or '.join(names)} in the environment.")
    value = environment[name].strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ServiceError(f"The key in {name} holds characters that no key has; copy it there again.")
    return Secret(value)


MAX_REQUEST_MB = 20.0  # of 10^6 bytes; what Gemini takes inline, the Files API beyond is not used here
_REST_BYTES = 2_000  # of a request: what stands around the clip and the words


def wav_of(clip: AudioClip) -> bytes:
    """Return the clip as a WAV file: mono, 16 kHz, 16 bits, which is finer than any speech model needs."""
    samples = np.clip(np.round(clip.samples * 32768.0), -32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE_HZ)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def check_request_size(service: str, wav: bytes, words: str) -> None:
    """Raise ServiceError when a clip, in base64, and the words beside it are more than a request may hold."""
    size_mb = (4 * -(-len(wav) // 3) + len(words.encode()) + _REST_BYTES) / 1e6
    if size_mb > MAX_REQUEST_MB:
        raise ServiceError(
            f"The clip makes a request of {size_mb:.1f} MB and {service} takes {MAX_REQUEST_MB:g} MB; "
            "cut out the part you need."
        )


logger = logging.getLogger(__name__)
Value = TypeVar("Value")
# Told what is waited for; what it raises ends the waiting.
Tell = Callable[[str], None]
TELL_EVERY_S = 0.4
# Takes the next turn at a service, by its name and the requests per minute: how many seconds away it is.
TakeTurn = Callable[[str, float], float]


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a service is asked.

    Attributes:
        timeout_s: of one attempt; a reply that trickles in beyond it counts as late.
        attempts: at most, the first one included.
        first_wait_s: before the second attempt; doubles from attempt to attempt.
        longest_wait_s: cap of a wait; a service that asks for more is not asked again.
        requests_per_minute: of all who take turns at one place, attempts evenly spaced.
    """

    timeout_s: float = 60.0
    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    requests_per_minute: float = 60.0

    def __post_init__(self) -> None:
        times = (self.timeout_s, self.first_wait_s, self.longest_wait_s, self.requests_per_minute)
        if self.attempts < 1 or not all(0 < value < float("inf") for value in times):
            raise ServiceError(
                "Timeout, waits and requests per minute must be above 0, and attempts 1 or more; change them."
            )


@dataclass(frozen=True)
class Failure:
    """Why one attempt gave nothing.

    Attributes:
        what: follows the service's name in the sentence; found and what to do.
        may_pass: whether another attempt may succeed.
        wait_s: what the service asks to wait before it, if it says.
    """

    what: str
    may_pass: bool = False
    wait_s: float | None = None


@dataclass(frozen=True)
class Reply:
    """What a service sent back for one prompt.

    Attributes:
        text: the generated text; "" where there was none.
        refusal: why the service blocked the prompt or would not answer, in its own word; "" where it answered.
        model_version: which model answered, as the service says; "" where it does not say.
        note: what a reader of the answer should know (cut off at its limit), else "".
        seconds: wall time of the attempt that answered; waits and failed attempts are not in it.
        attempts: requests that it took.
        prompt_tokens, answer_tokens: as the service counts them, thoughts included; None where it does not say.
    """

    text: str
    refusal: str
    model_version: str
    note: str
    seconds: float
    attempts: int
    prompt_tokens: int | None
    answer_tokens: int | None


@dataclass(frozen=True)
class Called(Generic[Value]):
    """A value that a service gave, the seconds of the attempt that gave it, and the number of attempts."""

    value: Value
    seconds: float
    attempts: int


class RateLimiter:
    """The place where turns at services are taken, evenly spaced for each. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_start: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, name: str, requests_per_minute: float) -> float:
        """Take the next turn at this service and return how many seconds away it is."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next_start.get(name, now))
            self._next_start[name] = start + 60.0 / requests_per_minute
            return start - now


class Caller:
    """Calls one service: spaces its requests and tries again what may pass. Safe for several threads.

    Args:
        name: of the service, for sentences.
        retry: how long and how often.
        take_turn: takes the next turn at the service, where several callers share its rate; by default its own.
        sleep, clock: of the process; a test hands in its own.
        jitter: draws the part of each wait, so that many processes do not come back at the same moment; it
            plays no part in any answer.
    """

    def __init__(
        self,
        name: str,
        retry: RetryPolicy,
        *,
        take_turn: TakeTurn | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        self.name = name
        self.retry = retry
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter or random.Random()
        self._take_turn = take_turn or RateLimiter(clock).take

    def call(self, attempt: Callable[[], Value | Failure], tell: Tell | None = None) -> Called[Value]:
        """Return the value of the first attempt that gives one.

        Args:
            attempt: asks once.
            tell: called every `TELL_EVERY_S` seconds with what is waited for. When it raises, an attempt under
                way is left to its own time limit and its reply is dropped.

        Raises:
            ServiceError: no attempt did. Its sentence is ours; no error of a library is chained to it, since
                such an error may hold the request, and with it the key.
        """
        for n_attempts in range(1, self.retry.attempts + 1):
            self._wait_for_turn(tell)
            began = self._clock()
            found = attempt() if tell is None else _told(attempt, tell, f"waiting for {self.name} to answer")
            if not isinstance(found, Failure):
                return Called(found, self._clock() - began, n_attempts)
            failure = found
            wait_s = self._wait_after(failure, n_attempts)
            if wait_s is None:
                break
            logger.info("%s: attempt %d gave nothing, waiting %.1f s", self.name, n_attempts, wait_s)
            self._pause(
                wait_s, tell, f"{self.name} {failure.what.split(';')[0]}: asking again in {wait_s:.0f} s"
            )
        times = f" ({n_attempts} attempts)" if n_attempts > 1 else ""
        raise ServiceError(f"{self.name} {failure.what}{times}.")

    def _wait_for_turn(self, tell: Tell | None) -> None:
        away_s = self._take_turn(self.name, self.retry.requests_per_minute)
        if away_s > 0:
            self._pause(away_s, tell, f"waiting for a turn: {self.name} is asked so many times a minute")

    def _pause(self, seconds: float, tell: Tell | None, what: str) -> None:
        while tell is not None and seconds > TELL_EVERY_S:
            tell(what)
            self._sleep(TELL_EVERY_S)
            seconds -= TELL_EVERY_S
        self._sleep(seconds)

    def _wait_after(self, failure: Failure, n_attempts: int) -> float | None:
        """Return seconds until the next attempt, None when there shall be none."""
        longest_s = self.retry.longest_wait_s
        if not failure.may_pass or n_attempts == self.retry.attempts:
            return None
        if failure.wait_s is not None and failure.wait_s > longest_s:
            return None
        backoff_s = min(longest_s, self.retry.first_wait_s * 2 ** (n_attempts - 1))
        return max(failure.wait_s or 0.0, backoff_s * self._jitter.uniform(0.5, 1.0))


def _told(attempt: Callable[[], Value], tell: Tell, what: str) -> Value:
    """Return what an attempt gives, made on a thread of its own so that `tell` may end the waiting."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(attempt())
        except Exception as error:  # carried to the thread that waits
            future.set_exception(error)

    tell(what)
    threading.Thread(target=work, name="request", daemon=True).start()
    while not wait([future], TELL_EVERY_S).done:
        tell(what)
    return future.result()


def fingerprint_of(service: str, kind: str, settings: Mapping[str, Any]) -> str:
    """Return a sha256 over everything that shapes a service's answers: its settings, but for `retry`.

    A cascade and an oracle ask alike, so that a prompt of both is answered once.
    """
    shape = {name: value for name, value in settings.items() if name != "retry"}
    shape |= {"service": service, "given": "clip" if kind == "speech_llm" else "text"}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


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


RATE_VARIABLE = "CASCADE_LENS_REQUESTS_PER_MINUTE"
DEFAULT_RATE = 60.0


def retry_policy_here(environment: Mapping[str, str] = os.environ) -> RetryPolicy:
    """Return how patiently services are asked; the rate holds for all processes of a run together.

    Raises:
        ServiceError: the variable holds no number above 0.
    """
    try:
        return RetryPolicy(
            requests_per_minute=float(environment.get(RATE_VARIABLE, "").strip() or DEFAULT_RATE)
        )
    except (ValueError, ServiceError) as error:
        raise ServiceError(f"{RATE_VARIABLE} must be a number above 0; correct it.") from error


@dataclass(frozen=True)
class _Read:
    """What a service's reply says; the fields are those of `Reply`."""

    text: str
    refusal: str
    note: str = ""
    model_version: str = ""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class Service:
    """A behaviour-only system behind HTTP: one POST of JSON for a question; see `BehaviourModel` for the attributes.

    Its row says whether it is asked about clips or about transcripts. A subclass words the requests and reads the
    replies of one interface.

    Args:
        spec: catalogue row.
        settings: the address, the model and how it is asked.
        key: sent with each request; `NO_SECRET` sends none.
        caller: a test hands in one that does not really wait.

    Raises:
        ServiceError: the model id or the base URL cannot be one.
    """

    interface: ClassVar[str]
    settings: Any

    def __init__(self, spec: SystemSpec, settings: Any, key: Secret, caller: Caller | None = None) -> None:
        check_address(spec.name, settings.model, settings.base_url)
        self.spec = spec
        self.settings = settings
        self.fingerprint = fingerprint_of(self.interface, spec.kind, asdict(settings))
        self._key = key
        self._caller = caller or Caller(spec.name, settings.retry)
        self._http = http_client(settings.retry.timeout_s, key)

    def ask(self, given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        """Return the reply to `instruction` about a clip (or a transcript, for a text LLM).

        Raises:
            ServiceError: the clip is too large, or the service gave no reply.
        """
        assert isinstance(given, AudioClip) == (self.spec.kind == "speech_llm"), "the row says what is heard"
        sound = ""
        if isinstance(given, AudioClip):
            wav = wav_of(given)
            check_request_size(self.spec.name, wav, instruction)
            sound = base64.b64encode(wav).decode("ascii")
        body = self._body(sound, given if isinstance(given, str) else "", instruction)
        called = self._caller.call(lambda: self._attempt(body), tell)
        read = called.value
        return Reply(
            text=self._key.hide_in(read.text),
            refusal=read.refusal,
            model_version=self._key.hide_in(read.model_version),
            note=read.note,
            seconds=called.seconds,
            attempts=called.attempts,
            prompt_tokens=read.prompt_tokens,
            answer_tokens=read.answer_tokens,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _body(self, sound: str, words: str, instruction: str) -> dict[str, Any]:
        """Return the request: about a WAV in base64, the clip first as in every other system here, or about words."""
        raise NotImplementedError

    def _address(self) -> tuple[str, dict[str, str]]:
        """Return the URL and the headers, the key in them."""
        raise NotImplementedError

    def _read(self, sent: Any) -> _Read | Failure:
        """Read a reply's JSON."""
        raise NotImplementedError

    def _failed(self, code: int, sent: Any, wait_s: float | None, body: dict[str, Any]) -> _Read | Failure:
        """Read an error's JSON."""
        raise NotImplementedError

    def _attempt(self, body: dict[str, Any]) -> _Read | Failure:
        url, headers = self._address()
        try:
            response = self._http.post(url, json=body, headers=headers)
        except httpx2.HTTPError as error:
            return failure_of_transport(error, self.settings.retry.timeout_s)
        try:
            sent = json.loads(response.content)
        except (ValueError, RecursionError):
            sent = None
        if response.status_code != 200:
            wait_s = wait_asked(response.headers.get("retry-after"))
            return self._failed(response.status_code, sent, wait_s, body)
        read = self._read(sent)
        if isinstance(read, _Read) and not _is_unicode(read.text):
            return malformed("holds an answer that is no text")
        return read


@dataclass(frozen=True)
class EndpointSettings:
    """What shapes an answer, and how patiently it is asked for.

    Attributes:
        base_url: up to and with "/v1".
        model: id, as the endpoint's /models lists it.
        separator: between a transcript and the question, for a text LLM.
        temperature, seed: None leaves the field out. A field that the endpoint refuses is left out by itself.
        max_tokens: of the answer; a reasoning model's thoughts count.
        limit_field: what the endpoint calls it; OpenAI's reasoning models take the second name only, and say so.
    """

    base_url: str
    model: str
    separator: str = "\n"
    temperature: float | None = 0.0
    seed: int | None = 0
    max_tokens: int = 512
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    retry: RetryPolicy = field(default_factory=RetryPolicy)


def endpoint_from(
    prefix: str, environment: Mapping[str, str] = os.environ
) -> tuple[EndpointSettings, Secret]:
    """Return the settings and the key in PREFIX_URL, PREFIX_MODEL and PREFIX_KEY; without a key none is sent.

    The prefix keeps two endpoints apart, so that the key of one never goes to the other.

    Raises:
        ServiceError: URL or model is not set, or the key cannot be one.
    """
    url, model = (environment.get(f"{prefix}_{what}", "").strip() for what in ("URL", "MODEL"))
    if not url or not model:
        raise ServiceError(
            f"The endpoint needs an address and a model; set {prefix}_URL and {prefix}_MODEL in the environment."
        )
    has_key = bool(environment.get(f"{prefix}_KEY", "").strip())
    key = secret_from((f"{prefix}_KEY",), "The endpoint", environment) if has_key else NO_SECRET
    return EndpointSettings(url, model), key


# What a model may refuse to be told, as the field is called; the question can be asked without it.
_OPTIONAL = ("max_tokens", "max_completion_tokens", "seed", "temperature")
# Azure answers a blocked prompt with an error of this code; others end the answer with it.
_BLOCKED = "content_filter"


@dataclass(frozen=True)
class _FieldsRefused(Failure):
    """A request that was rejected with optional fields of it named in the reason."""

    fields: frozenset[str] = frozenset()


class Endpoint(Service):
    """Any OpenAI-compatible endpoint (vLLM, TGI, llama.cpp, OpenAI): a text LLM, or a speech LLM by `input_audio`.

    The reply is checked field by field, since many programs speak this interface in their own way. Behaviour only:
    probabilities that some of them send are not comparable over all labels.
    """

    interface = "endpoint"
    settings: EndpointSettings
    _refused: frozenset[str] = frozenset()

    def _body(self, sound: str, words: str, instruction: str) -> dict[str, Any]:
        content: str | list[dict[str, Any]]
        if sound:
            clip = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
            content = [clip, {"type": "text", "text": instruction}]
        else:
            content = self.settings.separator.join(part for part in (words, instruction) if part)
        chosen = {"temperature": self.settings.temperature, "seed": self.settings.seed}
        return {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": content}],
            "stream": False,
            self.settings.limit_field: self.settings.max_tokens,
            **{name: value for name, value in chosen.items() if value is not None},
        }

    def _address(self) -> tuple[str, dict[str, str]]:
        headers = {"authorization": f"Bearer {self._key.reveal()}"} if self._key.reveal() else {}
        return f"{self.settings.base_url.rstrip('/')}/chat/completions", headers

    def _attempt(self, body: dict[str, Any]) -> _Read | Failure:
        """Ask, and ask again at once without the optional fields that the endpoint refuses, if it names any."""
        refused = self._refused
        while True:
            found = super()._attempt(_without(body, refused))
            more = found.fields - refused if isinstance(found, _FieldsRefused) else None
            if not more:
                break
            refused |= more
        if not isinstance(found, _Read):
            return found
        self._refused = refused  # of this endpoint: the next question goes out without them
        return replace(found, note=" ".join(part for part in (found.note, _left_out(refused)) if part))

    def _failed(self, code: int, sent: Any, wait_s: float | None, body: dict[str, Any]) -> _Read | Failure:
        # An object or a sentence in "error", or flat, as vLLM had it.
        about = sent.get("error", sent) if isinstance(sent, dict) else {}
        message = _words(about) or _words(_object(about).get("message"))
        if _object(about).get("code") == _BLOCKED:
            return _Read("", _BLOCKED)
        failure = failure_of_code(code, message=self._key.hide_in(message), wait_s=wait_s)
        fields = _named_in(sent, body) if code in (400, 422) else frozenset()
        return _FieldsRefused(failure.what, fields=fields) if fields else failure

    def _read(self, sent: Any) -> _Read | Failure:
        choice = _first(_object(sent).get("choices"))
        message = _object(choice).get("message")
        if not isinstance(choice, dict) or not isinstance(message, dict):
            return malformed("cannot be read as a chat completion")
        text, ended = _text_of(message.get("content")), _words(choice.get("finish_reason"))
        refused = _words(message.get("refusal"))
        if text is None or not _is_unicode(refused):
            return malformed("holds an answer that is no text")
        refusal = _BLOCKED if ended == _BLOCKED else "refusal" if refused else ""
        if not text and not refusal and ended not in ("stop", "length", ""):
            return malformed("ended without an answer")
        usage = _object(sent.get("usage"))
        # The model that answered, with the fingerprint of what ran it where the endpoint sends one.
        model, build = (_words(sent.get(name)) for name in ("model", "system_fingerprint"))
        version = f"{model} ({build})" if build else model
        return _Read(
            text or refused,
            refusal,
            "Cut off at the limit of tokens." if ended == "length" else "",
            version if _is_unicode(version) else "",
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
        )


def _without(body: dict[str, Any], refused: frozenset[str]) -> dict[str, Any]:
    """Return the request without these fields; a refused "max_tokens" goes by its other name until that is, too."""
    kept = {name: value for name, value in body.items() if name not in refused}
    if "max_tokens" in refused and "max_completion_tokens" not in refused | body.keys():
        kept["max_completion_tokens"] = body["max_tokens"]
    return kept


def _named_in(sent: Any, body: dict[str, Any]) -> frozenset[str]:
    """Return which optional fields of a request the reason of its rejection names, wherever it does so.

    OpenAI has "param", FastAPI and Mistral a "loc", others the name in a sentence only.
    """
    param = _object(_object(sent).get("error", sent)).get("param")
    words = set(re.findall(r"\w+", param if param in body else json.dumps(sent)))
    return frozenset(name for name in _OPTIONAL if name in body and name in words)


def _left_out(refused: frozenset[str]) -> str:
    """Say which settings the endpoint did not take, "" where it took all."""
    names = sorted(refused - {"max_tokens"} if "max_completion_tokens" not in refused else refused)
    return f"The endpoint refuses {' and '.join(names)}: asked without." if names else ""


def _text_of(content: Any) -> str | None:
    """Return the text of a message: words, nothing, or a list of parts; None for anything else."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return None
    return "".join(_words(part.get("text")) for part in content)


@dataclass(frozen=True)
class GeminiSettings:
    """What shapes an answer, and how patiently it is asked for.

    Attributes:
        model: id of the model; ids are withdrawn within a year or so, thus none is built in.
        base_url: of another server with this interface; None is Google's.
        temperature, seed: the least random that the service offers; it does not promise equal answers.
        max_output_tokens: thoughts count, and a model that thinks past it sends no answer.
    """

    model: str
    base_url: str | None = None
    temperature: float = 0.0
    seed: int = 0
    max_output_tokens: int = 2048
    retry: RetryPolicy = field(default_factory=RetryPolicy)


# Why a candidate ended that mean "will not say", of those that the Gemini API documents.
_REFUSALS = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "ESCALATION")
_SAID = ("STOP", "MAX_TOKENS")


class Gemini(Service):
    """Gemini over its REST interface, `models/{model}:generateContent`; streaming, tools and files are not used."""

    interface = "gemini"
    settings: GeminiSettings

    def _body(self, sound: str, words: str, instruction: str) -> dict[str, Any]:
        parts: list[dict[str, Any]] = [{"text": part} for part in (words, instruction) if part]
        if sound:
            parts.insert(0, {"inlineData": {"data": sound, "mimeType": "audio/wav"}})
        generation = {
            "temperature": self.settings.temperature,
            "seed": self.settings.seed,
            "maxOutputTokens": self.settings.max_output_tokens,
        }
        return {"contents": [{"role": "user", "parts": parts}], "generationConfig": generation}

    def _address(self) -> tuple[str, dict[str, str]]:
        base = (self.settings.base_url or f"https://{GEMINI_HOST}").rstrip("/")
        model = self.settings.model
        place = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        return f"{base}/v1beta/{place}:generateContent", {"x-goog-api-key": self._key.reveal()}

    def _failed(self, code: int, sent: Any, wait_s: float | None, body: dict[str, Any]) -> _Read | Failure:
        about = _object(_object(sent).get("error", sent))
        details = about.get("details")
        details = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
        if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
            return failure_of_code(401)  # Google says 400 for it
        asked = next((_words(detail["retryDelay"]) for detail in details if "retryDelay" in detail), "")
        said_s = wait_asked(asked.removesuffix("s"))
        message = self._key.hide_in(_words(about.get("message")))
        return failure_of_code(code, message=message, wait_s=wait_s if said_s is None else said_s)

    def _read(self, sent: Any) -> _Read | Failure:
        candidate, blocked = _first(_object(sent).get("candidates")), ""
        if candidate is None:
            blocked = _words(_object(_object(sent).get("promptFeedback")).get("blockReason"))
            if not blocked:
                return malformed("holds no answer")
        parts = _object(_object(candidate).get("content")).get("parts")
        text = "".join(
            _words(part.get("text"))
            for part in (parts if isinstance(parts, list) else [])
            if isinstance(part, dict) and not part.get("thought")
        )
        ended = _words(_object(candidate).get("finishReason"))
        refusal = blocked or (ended if ended in _REFUSALS else "")
        if not refusal and ended not in _SAID and not text:
            return malformed(f"ended without an answer ({ended[:40] or 'no reason given'})")
        usage = _object(sent.get("usageMetadata"))
        counts = [_count(usage.get(f"{what}TokenCount")) for what in ("candidates", "thoughts")]
        answered = [count for count in counts if count is not None]
        version = _words(sent.get("modelVersion"))
        return _Read(
            text,
            refusal,
            "Cut off at the limit of tokens, thoughts included." if ended == "MAX_TOKENS" else "",
            version if _is_unicode(version) else "",
            _count(usage.get("promptTokenCount")),
            sum(answered) if answered else None,
        )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _is_unicode(text: str) -> bool:
    """Say whether the text can be written to a table: JSON may hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
