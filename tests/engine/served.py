"""Services in place of systems: the environment that names them, and what the fake ones reply."""

from __future__ import annotations

from typing import Any

import pytest

from engine.systems import loading
from engine.systems.catalogue import AUDIO_ENDPOINT, GEMINI_KEYS, GEMINI_URL, TEXT_ENDPOINT
from tests.engine.fake_service import SENTINEL

GEMINI_KEY, TEXT_KEY, AUDIO_KEY = SENTINEL, "sk-text-" + SENTINEL[::-1], "sk-audio-" + SENTINEL[::-1].lower()
KEYS = (GEMINI_KEY, TEXT_KEY, AUDIO_KEY)
GEMINI_SAYS: dict[str, Any] = {
    "candidates": [{"content": {"parts": [{"text": "Sports"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 2, "thoughtsTokenCount": 5},
    "modelVersion": "gemini-fake-001",
}
ENDPOINT_SAYS: dict[str, Any] = {
    "model": "served-7b",
    "system_fingerprint": "vllm-0.9",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sports"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 2},
}


def point_to(
    monkeypatch: pytest.MonkeyPatch, *, gemini: str = "", text: str = "", audio: str = ""
) -> dict[str, str]:
    """Let the environment name services at these addresses, each with a key of its own; return what was set."""
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        *GEMINI_KEYS,
        "GEMINI_MODEL",
        GEMINI_URL,
    ):
        monkeypatch.delenv(name, raising=False)
    said: dict[str, str] = {"CASCADE_LENS_REQUESTS_PER_MINUTE": "60000"}
    if gemini:
        said |= {GEMINI_URL: gemini, "GEMINI_MODEL": "gemini-fake", GEMINI_KEYS[0]: GEMINI_KEY}
    for prefix, url, key in ((TEXT_ENDPOINT, text, TEXT_KEY), (AUDIO_ENDPOINT, audio, AUDIO_KEY)):
        for what in ("URL", "MODEL", "KEY"):
            monkeypatch.delenv(f"{prefix}_{what}", raising=False)
        if url:
            said |= {f"{prefix}_URL": f"{url}/v1", f"{prefix}_MODEL": "served-7b", f"{prefix}_KEY": key}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    forget_services()
    return said


def forget_services() -> None:
    """Make the registry read the environment anew."""
    loading._service.cache_clear()
    loading._caller.cache_clear()
