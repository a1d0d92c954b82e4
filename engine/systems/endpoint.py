"""Any OpenAI-compatible endpoint (vLLM, TGI, llama.cpp, OpenAI): a text LLM, or a speech LLM by `input_audio`.

One POST to /chat/completions for a question; the reply is checked field by field, since many programs speak this
interface in their own way. Behaviour only: probabilities that some of them send are not comparable over all labels.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import httpx2

from engine.audio import AudioClip
from engine.errors import ServiceError
from engine.remote import Caller, Failure, Patience, Tell, fingerprint_of
from engine.remote_http import (
    check_address,
    failure_of_code,
    failure_of_transport,
    http_client,
    malformed,
    wait_asked,
)
from engine.secret import NO_SECRET, Secret, secret_from
from engine.systems.base import Reply
from engine.systems.catalogue import SystemSpec
from engine.wav_request import check_request_size, wav_of

# What a model may refuse to be told, as the field is called; the question can be asked without it.
_OPTIONAL = ("max_tokens", "max_completion_tokens", "seed", "temperature")
# Azure answers a blocked prompt with an error of this code; others end the answer with it.
_BLOCKED = "content_filter"


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
    patience: Patience = field(default_factory=Patience)


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


@dataclass(frozen=True)
class _Read:
    text: str
    refusal: str
    note: str = ""
    model_version: str = ""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class Endpoint:
    """A behaviour-only system; its row says whether it is asked about clips or about transcripts.

    Args:
        spec: catalogue row.
        settings: the address, the model and how it is asked.
        key: sent as a bearer token; `NO_SECRET` sends none.
        caller: a test hands in one that does not really wait.

    Raises:
        ServiceError: the model id or the base URL cannot be one.
    """

    def __init__(
        self, spec: SystemSpec, settings: EndpointSettings, key: Secret, caller: Caller | None = None
    ) -> None:
        check_address(spec.name, settings.model, settings.base_url)
        self.spec = spec
        self.settings = settings
        self.fingerprint = fingerprint_of("endpoint", spec.kind, asdict(settings))
        self._key = key
        self._caller = caller or Caller(spec.name, settings.patience)
        self._http = http_client(settings.patience.timeout_s, key)
        self._refused: frozenset[str] = frozenset()

    def ask(self, given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        """Return the reply to `instruction` about a clip (or a transcript, for a text LLM).

        Raises:
            ServiceError: the clip is too large, or the endpoint gave no reply.
        """
        body = self._body(given, instruction)
        called = self._caller.call(lambda: self._ask_without_refused(body), tell)
        read = called.value
        return Reply(
            text=self._key.hide_in(read.text),
            refusal=read.refusal,
            model_version=self._key.hide_in(read.model_version),
            note=" ".join(part for part in (read.note, _left_out(self._refused)) if part),
            seconds=called.seconds,
            attempts=called.attempts,
            prompt_tokens=read.prompt_tokens,
            answer_tokens=read.answer_tokens,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _body(self, given: AudioClip | str, instruction: str) -> dict[str, Any]:
        assert isinstance(given, AudioClip) == (self.spec.kind == "speech_llm"), "the row says what is heard"
        content: str | list[dict[str, Any]]
        if isinstance(given, AudioClip):
            wav = wav_of(given)
            check_request_size(self.spec.name, wav, instruction)
            sound = {"data": base64.b64encode(wav).decode("ascii"), "format": "wav"}
            # The clip stands first, as in every other system here.
            content = [{"type": "input_audio", "input_audio": sound}, {"type": "text", "text": instruction}]
        else:
            content = self.settings.separator.join(part for part in (given, instruction) if part)
        chosen = {"temperature": self.settings.temperature, "seed": self.settings.seed}
        return {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": content}],
            "stream": False,
            self.settings.limit_field: self.settings.max_tokens,
            **{name: value for name, value in chosen.items() if value is not None},
        }

    def _ask_without_refused(self, body: dict[str, Any]) -> _Read | Failure:
        """Ask, and ask again at once without the optional fields that the endpoint refuses, if it names any."""
        refused = self._refused
        while True:
            found = self._attempt(_without(body, refused))
            more = found.fields - refused if isinstance(found, _FieldsRefused) else None
            if not more:
                break
            refused |= more
        if isinstance(found, _Read):
            self._refused = refused  # of this endpoint: the next question goes out without them
        return found

    def _attempt(self, body: dict[str, Any]) -> _Read | Failure:
        headers = {"authorization": f"Bearer {self._key.reveal()}"} if self._key.reveal() else {}
        url = f"{self.settings.base_url.rstrip('/')}/chat/completions"
        try:
            response = self._http.post(url, json=body, headers=headers)
        except httpx2.HTTPError as error:
            return failure_of_transport(error, self.settings.patience.timeout_s)
        try:
            sent = json.loads(response.content)
        except (ValueError, RecursionError):
            sent = None
        if response.status_code == 200:
            return _read(sent)
        message, code = _error_of(sent)
        if code == _BLOCKED:
            return _Read("", _BLOCKED)
        wait_s = wait_asked(response.headers.get("retry-after"))
        failure = failure_of_code(response.status_code, message=self._key.hide_in(message), wait_s=wait_s)
        fields = _named_in(sent, body) if response.status_code in (400, 422) else frozenset()
        return _FieldsRefused(failure.what, fields=fields) if fields else failure


@dataclass(frozen=True)
class _FieldsRefused(Failure):
    """A request that was rejected with optional fields of it named in the reason."""

    fields: frozenset[str] = frozenset()


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
    about = sent.get("error", sent) if isinstance(sent, dict) else sent
    param = about.get("param") if isinstance(about, dict) else None
    words = set(re.findall(r"\w+", param if param in body else json.dumps(sent)))
    return frozenset(name for name in _OPTIONAL if name in body and name in words)


def _left_out(refused: frozenset[str]) -> str:
    """Say which settings the endpoint did not take, "" where it took all."""
    names = sorted(refused - {"max_tokens"} if "max_completion_tokens" not in refused else refused)
    return f"The endpoint refuses {' and '.join(names)}: asked without." if names else ""


def _error_of(sent: Any) -> tuple[str, str]:
    """Return (message, code) of an error's JSON: an object or a sentence in "error", or flat, as vLLM had it."""
    about = sent.get("error", sent) if isinstance(sent, dict) else {}
    if not isinstance(about, dict):
        return _words(about), ""
    return _words(about.get("message")), _words(about.get("code"))


def _read(sent: Any) -> _Read | Failure:
    """Read the first choice of a reply."""
    choices = sent.get("choices") if isinstance(sent, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return malformed("cannot be read as a chat completion")
    content, ended, refused = (
        message.get("content"),
        _words(choice.get("finish_reason")),
        message.get("refusal"),
    )
    text = _text(content)
    if text is None or not _is_unicode(text + _words(refused)):
        return malformed("holds an answer that is no text")
    refusal = _BLOCKED if ended == _BLOCKED else "refusal" if _words(refused) else ""
    if not text and not refusal and ended not in ("stop", "length", ""):
        return malformed("ended without an answer")
    usage = sent.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return _Read(
        text or _words(refused),
        refusal,
        "Cut off at the limit of tokens." if ended == "length" else "",
        _version(sent),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _text(content: Any) -> str | None:
    """Return the text of a message: words, nothing, or a list of parts; None for anything else."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return None
    return "".join(_words(part.get("text")) for part in content)


def _version(sent: dict[str, Any]) -> str:
    """Return the model that answered, with the fingerprint of what ran it where the endpoint sends one."""
    model, build = (_words(sent.get(name)) for name in ("model", "system_fingerprint"))
    version = f"{model} ({build})" if build else model
    return version if _is_unicode(version) else ""


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
