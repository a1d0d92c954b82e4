"""What must be set before a service is asked, told without its library and without a value."""

from __future__ import annotations

import pytest

from engine.systems.catalogue import SYSTEMS, get_spec
from engine.systems.services import unset_variables, wanted_variables

TEXT = ("CASCADE_LENS_TEXT_URL", "CASCADE_LENS_TEXT_MODEL")


@pytest.mark.parametrize(
    ("key", "environment", "said"),
    [
        ("gemini", {}, "set GEMINI_MODEL and GOOGLE_API_KEY or GEMINI_API_KEY in the environment"),
        ("gemini", {"GEMINI_API_KEY": "k"}, "set GEMINI_MODEL in the environment"),
        ("gemini", {"GEMINI_MODEL": "m"}, "set GOOGLE_API_KEY or GEMINI_API_KEY in the environment"),
        ("gemini", {"GEMINI_MODEL": "m", "GEMINI_API_KEY": "k"}, ""),
        ("gemini", {"GEMINI_MODEL": "m", "GOOGLE_API_KEY": "k"}, ""),
        ("gemini", {"GEMINI_MODEL": " ", "GOOGLE_API_KEY": "k"}, "set GEMINI_MODEL in the environment"),
        ("endpoint-text", {TEXT[0]: "u"}, f"set {TEXT[1]} in the environment"),
        ("endpoint-text", {TEXT[0]: "u", TEXT[1]: "m"}, ""),
        ("whisper-large-v3-turbo-endpoint", {}, f"set {TEXT[0]} and {TEXT[1]} in the environment"),
        (
            "endpoint-audio",
            {TEXT[0]: "u", TEXT[1]: "m"},
            "set CASCADE_LENS_AUDIO_URL and CASCADE_LENS_AUDIO_MODEL in the environment",
        ),
    ],
)
def test_what_is_unset_is_named_and_an_empty_value_is_none(
    key: str, environment: dict[str, str], said: str
) -> None:
    assert unset_variables(get_spec(key), environment) == said


def test_the_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TEXT:
        monkeypatch.delenv(name, raising=False)
    spec = get_spec("endpoint-text")
    assert unset_variables(spec)
    for name in TEXT:
        monkeypatch.setenv(name, "set")
    assert unset_variables(spec) == ""


def test_services_that_are_one_thing_share_their_variables() -> None:
    """A cascade into an endpoint and its oracle read the same LLM."""
    remote = {key: spec for key, spec in SYSTEMS.items() if spec.is_remote}
    assert set(remote) == {
        "gemini",
        "endpoint-audio",
        "endpoint-text",
        "whisper-large-v3-turbo-endpoint",
    }
    cascade, oracle = remote["whisper-large-v3-turbo-endpoint"], remote["endpoint-text"]
    assert wanted_variables(cascade) == wanted_variables(oracle) != wanted_variables(remote["endpoint-audio"])
