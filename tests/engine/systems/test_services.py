"""What the environment says of a service, and what is said of it before it is asked."""

from __future__ import annotations

import pytest

from engine.errors import ServiceError
from engine.systems.catalogue import (
    UNAVAILABLE,
    destination_of,
    get_spec,
    require_states,
    states_away,
    unset_variables,
)
from engine.systems.remote import RATE_VARIABLE, patience_here
from tests.engine.fake_service import SENTINEL

KEYED = {"GEMINI_MODEL": "gemini-2.5-flash", "GOOGLE_API_KEY": SENTINEL}


@pytest.mark.parametrize(
    "key, environment, said",
    [
        ("gemini", {}, "set GEMINI_MODEL and GOOGLE_API_KEY or GEMINI_API_KEY in the environment"),
        ("gemini", {"GEMINI_API_KEY": SENTINEL}, "set GEMINI_MODEL in the environment"),
        ("gemini", KEYED, ""),
        ("endpoint-text", {}, "set CASCADE_LENS_TEXT_URL and CASCADE_LENS_TEXT_MODEL in the environment"),
        ("endpoint-audio", {"CASCADE_LENS_AUDIO_URL": "http://a/v1", "CASCADE_LENS_AUDIO_MODEL": "m"}, ""),
    ],
)
def test_what_is_not_set_is_named(key: str, environment: dict[str, str], said: str) -> None:
    assert unset_variables(get_spec(key), environment) == said


@pytest.mark.parametrize(
    "key, environment, said",
    [
        ("gemini", KEYED, "gemini-2.5-flash at generativelanguage.googleapis.com"),
        ("gemini", KEYED | {"GOOGLE_GEMINI_BASE_URL": "http://here:1"}, "gemini-2.5-flash at here"),
        (
            "endpoint-text",
            {
                "CASCADE_LENS_TEXT_URL": f"https://u:{SENTINEL}@h.org/v1?key={SENTINEL}",
                "CASCADE_LENS_TEXT_MODEL": "m",
            },
            "m at h.org",
        ),
        (
            "endpoint-text",
            {"CASCADE_LENS_TEXT_URL": "http://[", "CASCADE_LENS_TEXT_MODEL": "m"},
            "m at no usable address",
        ),
    ],
)
def test_a_destination_is_a_model_and_a_host_and_never_a_key(
    key: str, environment: dict[str, str], said: str
) -> None:
    assert destination_of(get_spec(key), environment) == said


def test_states_are_away_only_with_a_service() -> None:
    assert states_away(get_spec("mini-ultravox"), "lens") == ""
    require_states(get_spec("mini-ultravox"), "lens")
    assert states_away(get_spec("gemini"), "lens") == (
        "Not with Gemini: the model's states stay with the service, so there is nothing to read layer by layer. "
        "Choose a pair whose speech LLM runs here."
    )
    for what in UNAVAILABLE:
        with pytest.raises(ServiceError, match=r"^Not with Gemini: the "):
            require_states(get_spec("gemini"), what)


@pytest.mark.parametrize("rate, found", [("", 60), ("90", 90), (" 0.25 ", 0.25)])
def test_the_rate_is_read(rate: str, found: float) -> None:
    assert patience_here({RATE_VARIABLE: rate}).requests_per_minute == found


@pytest.mark.parametrize("rate", ["many", "0", "-1", "inf", "nan"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ServiceError, match=f"^{RATE_VARIABLE} must be a number above 0; correct it.$"):
        patience_here({RATE_VARIABLE: rate})
