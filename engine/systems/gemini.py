"""Gemini over google-genai: a clip and a question go out, text comes back; nothing inside can be read.

The wire is REST's `models/{model}:generateContent`. Retries, waits and the rate limit are ours (engine.systems.remote),
so that every attempt counts against the limit; the SDK's own stay off. Streaming, tools and the Files API are
not used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

from engine.audio import AudioClip
from engine.systems.catalogue import SystemSpec
from engine.systems.remote import (
    Caller,
    Failure,
    Patience,
    Reply,
    Secret,
    Tell,
    check_address,
    check_request_size,
    failure_of_code,
    failure_of_transport,
    fingerprint_of,
    http_client,
    malformed,
    wait_asked,
    wav_of,
)

# Why a candidate ended that mean "will not say", of those that the Gemini API documents.
_REFUSALS = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "ESCALATION")
_SAID = ("STOP", "MAX_TOKENS")


@dataclass(frozen=True)
class GeminiSettings:
    """What shapes an answer, and how patiently it is asked for.

    Attributes:
        model: id of the model; ids are withdrawn within a year or so, thus none is built in.
        base_url: of another server with this interface; None is Google's, or GOOGLE_GEMINI_BASE_URL.
        temperature, seed: the least random that the service offers; it does not promise equal answers.
        max_output_tokens: thoughts count, and a model that thinks past it sends no answer.
    """

    model: str
    base_url: str | None = None
    temperature: float = 0.0
    seed: int = 0
    max_output_tokens: int = 2048
    patience: Patience = field(default_factory=Patience)


class Gemini:
    """A behaviour-only speech LLM, or text LLM where its row says so.

    Args:
        spec: catalogue row.
        settings: the model and how it is asked.
        key: see `engine.systems.catalogue.GEMINI_KEYS`.
        caller: a test hands in one that does not really wait.

    Raises:
        ServiceError: the model id or the base URL cannot be one.
    """

    def __init__(
        self, spec: SystemSpec, settings: GeminiSettings, key: Secret, caller: Caller | None = None
    ) -> None:
        check_address(spec.name, settings.model, settings.base_url)
        self.spec = spec
        self.settings = settings
        self.fingerprint = fingerprint_of("gemini", spec.kind, asdict(settings))
        self._key = key
        self._caller = caller or Caller(spec.name, settings.patience)
        self._http = http_client(settings.patience.timeout_s, key)
        self._client = genai.Client(
            vertexai=False,  # whatever the environment says: Vertex takes other keys
            api_key=key.reveal(),
            http_options=types.HttpOptions(
                base_url=settings.base_url,
                timeout=round(settings.patience.timeout_s * 1000),
                httpx_client=self._http,
            ),
        )

    def ask(self, given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        """Return the reply to `instruction` about a clip (or a transcript, for a text LLM).

        Raises:
            ServiceError: the clip is too large, or the service gave no reply.
        """
        assert isinstance(given, AudioClip) == (self.spec.kind == "speech_llm"), "the row says what is heard"
        parts: list[types.PartUnionDict] = [instruction]
        if isinstance(given, AudioClip):
            wav = wav_of(given)
            check_request_size(self.spec.name, wav, instruction)
            parts.insert(0, types.Part.from_bytes(data=wav, mime_type="audio/wav"))
        elif given:
            parts.insert(0, given)
        called = self._caller.call(lambda: self._attempt(parts), tell)
        text, refusal, note, response = called.value
        usage = response.usage_metadata or types.GenerateContentResponseUsageMetadata()
        answered = [n for n in (usage.candidates_token_count, usage.thoughts_token_count) if n is not None]
        return Reply(
            text=self._key.hide_in(text),
            refusal=refusal,
            model_version=self._key.hide_in(response.model_version or ""),
            note=note,
            seconds=called.seconds,
            attempts=called.attempts,
            prompt_tokens=usage.prompt_token_count,
            answer_tokens=sum(answered) if answered else None,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._http.close()

    def _attempt(self, parts: list[types.PartUnionDict]) -> _Read | Failure:
        settings = self.settings
        config = types.GenerateContentConfig(
            temperature=settings.temperature,
            seed=settings.seed,
            max_output_tokens=settings.max_output_tokens,
            automatic_continuation=False,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        try:
            response = self._client.models.generate_content(
                model=settings.model, contents=parts, config=config
            )
        except errors.APIError as error:
            return self._failure(error)
        except httpx2.HTTPError as error:
            return failure_of_transport(error, settings.patience.timeout_s)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            # google-genai 3.4.0 raises one of these for a reply that is no JSON or of another shape.
            return malformed("cannot be read as Gemini's")
        return _read(response)

    def _failure(self, error: errors.APIError) -> Failure:
        about = _error_of(error.details)
        details = [detail for detail in about.get("details") or () if isinstance(detail, dict)]
        if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
            return failure_of_code(401)  # Google says 400 for it
        asked = next((str(detail["retryDelay"]) for detail in details if "retryDelay" in detail), "")
        wait_s = wait_asked(asked.removesuffix("s"))
        headers = getattr(error.response, "headers", None) or {}
        if wait_s is None:
            wait_s = wait_asked(headers.get("retry-after"))
        message = self._key.hide_in(str(about.get("message") or ""))
        return failure_of_code(error.code, message=message, wait_s=wait_s)


# Text, the word for a refusal or "", a note or "", and the whole reply.
_Read = tuple[str, str, str, types.GenerateContentResponse]


def _error_of(details: Any) -> dict[str, Any]:
    """Return the "error" object of an error's JSON, {} where there is none; a proxy may send anything."""
    about = details.get("error", details) if isinstance(details, dict) else {}
    return about if isinstance(about, dict) else {}


def _read(response: types.GenerateContentResponse) -> _Read | Failure:
    """Read the first candidate; a prompt that was blocked has none."""
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason and not response.candidates:
        return "", feedback.block_reason.value, "", response
    if not response.candidates:
        return malformed("holds no answer")
    candidate = response.candidates[0]
    parts = (candidate.content.parts if candidate.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    ended = candidate.finish_reason.value if candidate.finish_reason else ""
    if ended in _REFUSALS:
        return text, ended, "", response
    if ended not in _SAID and not text:
        return malformed(f"ended without an answer ({ended[:40] or 'no reason given'})")
    note = "Cut off at the limit of tokens, thoughts included." if ended == "MAX_TOKENS" else ""
    return text, "", note, response
